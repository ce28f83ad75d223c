"""The weights file and its receipt: a pair at every instant, and nothing hostile gets in."""

import contextlib
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_softmax import weights
from mnist_softmax.errors import LocalIOError, UsageError, WeightsError

PARAMETERS = np.linspace(-1, 1, 5 * 3, dtype=np.float32).reshape(5, 3)


def receipt(**changes: Any) -> Any:
    facts = {
        "format": weights.RECEIPT_FORMAT,
        "dataset": "mnist",
        "data_dir": None,
        "files": {},
        "image_height": 2,
        "image_width": 2,
        "class_names": ["a", "b", "c"],
        "preprocessing": [],
        "settings": {},
        "history": [],
    }
    return {**facts, **changes}


def npy(array: Any, **options: Any) -> Any:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)
    return file.getvalue()


def test_saved_weights_are_read_by_numpy_alone_and_by_load(tmp_path: Path) -> None:
    path = tmp_path / "weights.npy"
    sha256 = weights.save(path, PARAMETERS, receipt(note="mine"))
    np.testing.assert_array_equal(np.load(path), PARAMETERS)
    assert np.load(path).dtype == np.float32
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    loaded = weights.load(path)
    assert loaded.sha256 == sha256 == json.loads((tmp_path / "weights.json").read_text())["weights_sha256"]
    assert loaded.receipt is not None
    assert loaded.receipt["note"] == "mine"
    np.testing.assert_array_equal(loaded.parameters(4), PARAMETERS)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_of_either_size_byte_order_and_layout_are_read(tmp_path: Path, dtype: Any, order: Any) -> None:
    path = tmp_path / "w.npy"
    path.write_bytes(npy(np.array(PARAMETERS, dtype=dtype, order=order)))
    loaded = weights.load(path)
    assert loaded.array.dtype == np.float32
    np.testing.assert_array_equal(loaded.parameters(4), PARAMETERS)


def test_weights_made_elsewhere_without_a_bias_get_one_of_zero(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, PARAMETERS[:4])
    parameters = weights.load(path).parameters(4)
    np.testing.assert_array_equal(parameters, np.vstack([PARAMETERS[:4], [[0, 0, 0]]]))
    with pytest.raises(WeightsError, match="do not fit"):
        weights.load(path).parameters(9)


HOSTILE = {
    "empty": b"",
    "no npy": b"PK\x03\x04 a zip file",
    "text": b"hello\n" * 100,
    "only a magic": b"\x93NUMPY\x01\x00",
    "a huge header length": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "a header that is code": b"\x93NUMPY\x01\x00\x20\x00__import__('os').system('true')\n ",
    "a header of nested brackets": b"\x93NUMPY\x01\x00\x00\x20" + b"(" * 8192,
    "version 9": b"\x93NUMPY\x09\x00" + npy(PARAMETERS)[8:],
    "objects": npy(np.array([[{}, []]], dtype=object), allow_pickle=True),
    "integers": npy(np.ones((5, 3), np.int64)),
    "half floats": npy(np.ones((5, 3), np.float16)),
    "complex": npy(np.ones((5, 3), np.complex64)),
    "structured": npy(np.zeros((5, 3), [("a", "f4")])),
    "one dimension": npy(np.ones(15, np.float32)),
    "three dimensions": npy(np.ones((5, 3, 1), np.float32)),
    "no rows": npy(np.ones((0, 3), np.float32)),
    "no classes": npy(np.ones((5, 0), np.float32)),
    "257 classes": npy(np.ones((5, 257), np.float32)),
    "cut short": npy(PARAMETERS)[:-1],
    "trailing bytes": npy(PARAMETERS) + b"\0",
    "a claim of terabytes": npy(PARAMETERS).replace(b"(5, 3)", b"(5000000000, 200)")[:200],
    "negative shape": npy(PARAMETERS).replace(b"(5, 3)", b"(-5,-3)"),
    "NaN": npy(np.full((5, 3), np.nan, np.float32)),
    "infinity": npy(np.full((5, 3), np.inf, np.float32)),
    "too large for float32": npy(np.full((5, 3), 1e300)),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_weights_file_is_one_line(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "w.npy"
    path.write_bytes(HOSTILE[fault])
    with pytest.raises(WeightsError) as caught:
        weights.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        "[" * 100_000,
        '{"weights_sha256": NaN}',
        '{"weights_sha256": 1}',
        "1" * 5000,
        b"\xff\xfe".decode("latin-1"),
    ],
)
def test_a_damaged_receipt_is_an_error_and_never_ignored(tmp_path: Path, text: str) -> None:
    path = tmp_path / "w.npy"
    np.save(path, PARAMETERS)
    path.with_suffix(".json").write_text(text, encoding="latin-1")
    with pytest.raises(WeightsError):
        weights.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 99},
        {"dataset": "no-such-set"},
        {"dataset": 3},
        {"dataset": ["mnist"]},
        {"image_height": 10**4000},
        {"image_height": 3},
        {"image_width": True},
        {"class_names": ["a"]},
        {"class_names": [1, 2, 3]},
        {"preprocessing": ["from-the-future"]},
        {"preprocessing": "deskew"},
        {"history": {}},
        {"settings": []},
        {"files": None},
    ],
)
def test_a_receipt_that_does_not_fit_its_weights_is_an_error(tmp_path: Path, changes: Any) -> None:
    path = tmp_path / "w.npy"
    weights.save(path, PARAMETERS, receipt(**changes))
    with pytest.raises(WeightsError):
        weights.load(path)


def test_a_receipt_that_names_other_weights_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    weights.save(path, PARAMETERS, receipt())
    np.save(path, PARAMETERS + 1)
    with pytest.raises(WeightsError, match="names other weights"):
        weights.load(path)


def test_new_weights_replace_the_old_pair_and_leave_no_trace_of_it(tmp_path: Path) -> None:
    path, fresh = tmp_path / "w.npy", tmp_path / "fresh.npy"
    weights.save(path, PARAMETERS, receipt(note="old"))
    weights.save(path, PARAMETERS * 2, receipt(note="new"))
    weights.save(fresh, PARAMETERS * 2, receipt(note="new"))
    assert path.with_suffix(".json").read_bytes() == fresh.with_suffix(".json").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fresh.json", "fresh.npy", "w.json", "w.npy"]


class Stop(BaseException):
    """Stands for a kill: nothing in the program catches it."""


@pytest.mark.parametrize("old", ["pair", "weights alone", "mismatch", "nothing"])
def test_a_kill_between_any_two_renames_leaves_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: Any
) -> None:
    real_replace = os.replace
    for survive in range(4):
        folder = tmp_path / f"{survive}"
        folder.mkdir()
        path = folder / "w.npy"
        if old == "pair":
            weights.save(path, PARAMETERS, receipt(note="old"))
        elif old != "nothing":
            np.save(path, PARAMETERS)
            if old == "mismatch":
                path.with_suffix(".json").write_text('{"weights_sha256": "other"}')
        done: list[Any] = []

        def replace(*names: Any, done: Any = done, survive: Any = survive) -> None:
            if len(done) == survive:
                raise Stop
            real_replace(*names)
            done.append(names)

        monkeypatch.setattr(os, "replace", replace)
        with contextlib.suppress(Stop):
            weights.save(path, PARAMETERS * 2, receipt(note="new"))
        monkeypatch.setattr(os, "replace", real_replace)
        if not path.exists():
            assert old == "nothing"
            continue
        if old == "mismatch" and survive == 0:
            continue  # it was no pair to begin with
        loaded = weights.load(path)
        is_new = bool((loaded.array == PARAMETERS * 2).all())
        assert is_new == (len(done) >= 2)
        note = (loaded.receipt or {}).get("note")
        assert note == ("new" if is_new else {"pair": "old"}.get(old))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a file without end")
def test_a_weights_file_without_end_is_read_no_further_than_its_header_says(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"not a \.npy file"):
        weights.load(Path("/dev/zero"))
    endless = tmp_path / "w.npy"
    np.save(endless, PARAMETERS)
    os.truncate(endless, 1 << 33)  # takes no room on the disk
    with pytest.raises(WeightsError, match="got more"):
        weights.load(endless)


@pytest.mark.parametrize("name", [".", "/", ""])
def test_weights_need_a_name(name: str) -> None:
    with pytest.raises(UsageError, match="not a file"):
        weights.receipt_path(Path(name))


def test_weights_cannot_take_the_receipts_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="json"):
        weights.save(tmp_path / "w.json", PARAMETERS, receipt())


def test_a_device_or_a_folder_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        weights.save(tmp_path, PARAMETERS, receipt())
    with pytest.raises(UsageError, match="no such folder"):
        weights.save(tmp_path / "missing" / "w.npy", PARAMETERS, receipt())


def test_a_failed_write_keeps_the_old_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.npy"
    weights.save(path, PARAMETERS, receipt(note="old"))

    def fail(_fd: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LocalIOError, match="No space left"):
        weights.save(path, PARAMETERS * 2, receipt(note="new"))
    monkeypatch.undo()
    assert (weights.load(path).receipt or {})["note"] == "old"
    assert len(list(tmp_path.iterdir())) == 2
