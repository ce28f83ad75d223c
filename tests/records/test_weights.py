"""The weights file: array and receipt always together, read by NumPy alone, and nothing hostile gets in."""

import hashlib
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records.made import PARAMETERS, array_bytes, claims, facts, receipt

from mnist_softmax.errors import LocalIOError, UsageError, WeightsError
from mnist_softmax.records import npy, weights
from mnist_softmax.records.receipt import encode

GOOD = encode(receipt())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.npy"


def refused(path: Path, match: str | None = None) -> None:
    """Loading `path` fails with one line that names it."""
    with pytest.raises(WeightsError, match=match) as caught:
        weights.load(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize("known", [receipt(), None], ids=["with a receipt", "without"])
def test_what_is_saved_is_loaded(path: Path, known: Any) -> None:
    sha256 = weights.save(path, PARAMETERS, known)
    array, read, loaded_sha256 = weights.load(path)
    np.testing.assert_array_equal(array, PARAMETERS)
    assert read == known
    assert sha256 == loaded_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [file.name for file in path.parent.iterdir()] == ["weights.npy"]


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_numpy_alone_reads_the_array(path: Path, mmap_mode: Any) -> None:
    weights.save(path, PARAMETERS, receipt())
    array = np.load(path, mmap_mode=mmap_mode)
    assert array.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(array, PARAMETERS)


def test_the_receipt_is_a_second_array_of_json(path: Path) -> None:
    weights.save(path, PARAMETERS, receipt())
    with path.open("rb") as file:
        np.load(file)
        assert json.loads(np.load(file).tobytes()) == facts()
        assert file.read() == b""


def test_the_bytes_depend_on_the_numbers_alone(path: Path) -> None:
    weights.save(path, PARAMETERS, receipt())
    first = path.read_bytes()
    for array in (
        np.asfortranarray(PARAMETERS),
        PARAMETERS.astype(">f4"),
        np.repeat(PARAMETERS, 2, 1)[:, ::2],
    ):
        assert weights.array_sha256(array) == hashlib.sha256(PARAMETERS.tobytes()).hexdigest()
        weights.save(path, array, receipt(array))
        assert path.read_bytes() == first


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", [5, 4], ids=["with a bias", "without"])
def test_floats_of_either_size_byte_order_and_layout_are_read(
    path: Path, dtype: str, order: Any, rows: int
) -> None:
    np.save(path, np.array(PARAMETERS[:rows], dtype=dtype, order=order))
    array, read, _ = weights.load(path)
    assert (array.dtype, array.flags.c_contiguous, read) == (np.dtype("=f4"), True, None)
    np.testing.assert_array_equal(array, PARAMETERS[:rows])


def test_a_symbolic_link_and_a_copy_under_another_name_keep_the_receipt(path: Path) -> None:
    link, copy = path.with_name("link.npy"), path.with_name("copy")
    weights.save(path, PARAMETERS, receipt())
    link.symlink_to(path.name)
    shutil.copy(path, copy)
    assert weights.load(link).receipt == weights.load(copy).receipt == receipt()
    doubled = receipt(PARAMETERS * 2)
    weights.save(link, PARAMETERS * 2, doubled)  # goes to the file that the link names
    assert link.is_symlink()
    assert weights.load(path).receipt == doubled


# What is refused --------------------------------------------------------------------------------------------


def claiming(shape: str, descr: str = "'<f4'") -> bytes:
    """An array whose header has these texts."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(60)


HOSTILE = {
    "a bool for a size": claiming("True, 15"),
    "a size of thousands of digits": claiming(f"0x{'f' * 4000}, 10"),
    "sizes of Python 2": claiming("5L, 4L"),
    "an empty tuple for a dtype": claiming("5, 3", "()"),
    "a nested dtype": claiming("5, 3", "[('a', [('b', ())])]"),
    "None for a dtype": claiming("5, 3", "None"),
    "empty": b"",
    "no npy": b"PK\x03\x04 a zip file",
    "text": b"hello\n" * 100,
    "only a magic": b"\x93NUMPY\x01\x00",
    "a huge header length": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "a header that is code": b"\x93NUMPY\x01\x00\x20\x00__import__('os').system('true')\n ",
    "a header of nested brackets": b"\x93NUMPY\x01\x00\x00\x20" + b"(" * 8192,
    "version 9": b"\x93NUMPY\x09\x00" + array_bytes(PARAMETERS)[8:],
    "objects": array_bytes(np.array([[{}, []]], dtype=object), allow_pickle=True),
    "integers": array_bytes(np.ones((5, 3), np.int64)),
    "half floats": array_bytes(np.ones((5, 3), np.float16)),
    "complex": array_bytes(np.ones((5, 3), np.complex64)),
    "structured": array_bytes(np.zeros((5, 3), [("a", "f4")])),
    "one dimension": array_bytes(np.ones(15, np.float32)),
    "three dimensions": array_bytes(np.ones((5, 3, 1), np.float32)),
    "no rows": array_bytes(np.ones((0, 3), np.float32)),
    "no classes": array_bytes(np.ones((5, 0), np.float32)),
    "257 classes": array_bytes(np.ones((5, 257), np.float32)),
    "cut short": array_bytes(PARAMETERS)[:-1],
    "a stray byte": array_bytes(PARAMETERS) + b"\0",
    "a claim of terabytes": array_bytes(PARAMETERS).replace(b"(5, 3)", b"(5000000000, 200)")[:200],
    "a claim beyond 64 bits": array_bytes(PARAMETERS).replace(b"(5, 3)", b"(" + b"9" * 30 + b", 200)")[:200],
    "negative shape": array_bytes(PARAMETERS).replace(b"(5, 3)", b"(-5,-3)"),
    "NaN": array_bytes(np.full((5, 3), np.nan, np.float32)),
    "infinity": array_bytes(np.full((5, 3), np.inf, np.float32)),
    "too large for float32": array_bytes(np.full((5, 3), 1e300)),
}


def test_a_header_that_python_2_wrote_is_read_without_a_warning(
    path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path.write_bytes(claiming("5L, 3L"))
    assert weights.load(path).array.shape == (5, 3)
    assert not recwarn.list


@pytest.mark.parametrize("behind", [b"", npy.pack(GOOD)], ids=["alone", "with a receipt behind"])
@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_array_is_one_line(path: Path, fault: str, behind: bytes) -> None:
    path.write_bytes(HOSTILE[fault] + behind)
    refused(path)


BEHIND = {
    "a third array": npy.pack(GOOD, GOOD),
    "a stray byte": npy.pack(GOOD) + b"\0",
    "a receipt cut short": npy.pack(GOOD)[:-1],
    "half a header": npy.pack(GOOD)[:60],
    "a receipt of floats": npy.pack(PARAMETERS),
    "a receipt in two dimensions": npy.pack(np.frombuffer(GOOD, np.uint8)[None]),
    "objects": array_bytes(np.array([{}], dtype=object), allow_pickle=True),
    "a claim of terabytes": claims(5 << 40) + GOOD,
    "more than a receipt may hold": claims((64 << 20) + 1) + GOOD,
    "nothing": npy.pack(b""),
    "no JSON": npy.pack(b"nonsense"),
    "bytes that are no UTF-8": npy.pack(b'"\xff\xfe"'),
    "a list": npy.pack(b"[]"),
    "brackets without end": npy.pack(b"[" * 1_000_000),
    "objects without end": npy.pack(b'{"settings":' * 100_000),
    "a number without end": npy.pack(b"1" * 5000),
    "JSON twice": npy.pack(GOOD + GOOD),
    "JSON cut short": npy.pack(GOOD[:-1]),
    "NaN": npy.pack(json.dumps(facts(loss=math.nan)).encode()),
    "infinity": npy.pack(json.dumps(facts(loss=math.inf)).encode()),
    "a number beyond floats": npy.pack(json.dumps(facts(loss="?")).replace('"?"', "1e999").encode()),
}


@pytest.mark.parametrize("fault", BEHIND)
def test_bytes_behind_the_array_that_are_no_receipt_are_one_line(path: Path, fault: str) -> None:
    path.write_bytes(npy.pack(PARAMETERS) + BEHIND[fault])
    refused(path)


@pytest.mark.skipif(os.name != "posix", reason="needs files with holes")
def test_a_file_of_gigabytes_is_read_no_further_than_its_headers_say(path: Path) -> None:
    np.save(path, PARAMETERS)
    os.truncate(path, 1 << 36)  # takes no room on the disk
    refused(path, r"not a \.npy file")
    longest = 64 << 20
    path.write_bytes(npy.pack(PARAMETERS) + claims(longest + 1))
    os.truncate(path, path.stat().st_size + longest + 1)
    refused(path, f"at most {longest} bytes")


SETTINGS = facts()["settings"]
FIRST, *REST = facts()["history"]

#: What a receipt may not say of `PARAMETERS`, and a word of the reason.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"array_sha256": "0" * 64}, "other weights"),
    ({"array_sha256": 1}, "array_sha256"),
    ({"format": 2}, "format"),
    ({"format": None}, "format"),
    ({"note": "mine"}, "note"),
    ({"dataset": "no-such-set"}, "an unknown dataset"),
    ({"dataset": 3}, "dataset"),
    ({"dataset": ["mnist"]}, "dataset"),
    ({"data_dir": "data"}, "dataset"),  # beside a dataset
    ({"dataset": None, "data_dir": "da\0ta"}, "NUL"),
    ({"files": None}, "files"),
    ({"files": {"train-images-idx3-ubyte": 1}}, "files"),
    ({"image_height": 3}, "does not fit"),
    ({"image_height": 0}, "image_height"),
    ({"image_height": 2.5}, "image_height"),
    ({"image_height": 1 << 32}, "image_height"),
    ({"image_height": 10**400}, "damaged"),
    ({"image_width": True}, "image_width"),
    ({"rows": -1}, "rows"),
    ({"class_names": ["a"]}, "does not fit"),
    ({"class_names": []}, "class_names"),
    ({"class_names": [1, 2, 3]}, "class_names"),
    ({"class_names": ["a"] * 257}, "class_names"),
    ({"features": ["from-the-future"]}, "from-the-future"),
    ({"features": ["deskew", "deskew"]}, "at most once"),
    ({"features": "deskew"}, "features"),
    ({"features": None}, "features"),
    ({"settings": []}, "settings"),
    ({"settings": {**SETTINGS, "lr": 0}}, "lr"),
    ({"settings": {**SETTINGS, "lr": "0.2"}}, "lr"),
    ({"settings": {**SETTINGS, "reg": True}}, "reg"),
    ({"settings": {**SETTINGS, "momentum": 1}}, "momentum"),
    ({"settings": {**SETTINGS, "schedule": "linear"}}, "schedule"),
    ({"settings": {**SETTINGS, "schedule": ["cosine"]}}, "schedule"),
    ({"settings": {**SETTINGS, "epochs": 100_001}}, "epochs"),
    ({"settings": {**SETTINGS, "epochs": 3.0}}, "epochs"),
    ({"settings": {**SETTINGS, "seed": -1}}, "seed"),
    ({"settings": {**SETTINGS, "val_size": None}}, "settings"),
    ({"settings": {**SETTINGS, "nesterov": True}}, "settings"),
    ({"settings": {name: value for name, value in SETTINGS.items() if name != "reg"}}, "settings"),
    ({"train_accuracy": 1.1}, "train_accuracy"),
    ({"validation_accuracy": "high"}, "validation_accuracy"),
    ({"loss": None}, "loss"),
    ({"history": {}}, "history"),
    ({"history": []}, "history of 3 epochs"),
    ({"history": [FIRST, *REST[:-1]]}, "history of 3 epochs"),
    ({"history": [FIRST, *REST, {**FIRST, "epoch": 4}]}, "history of 3 epochs"),
    ({"history": [FIRST, *REST[::-1]]}, "history of 3 epochs"),
    ({"history": [{**FIRST, "epoch": 0}, *REST]}, "history"),
    ({"history": [{**FIRST, "seconds": 0.1}, *REST]}, "seconds"),
    ({"history": [{"epoch": 1}, *REST]}, "running_loss"),
    ({"versions": "new"}, "versions"),
    ({"versions": {"numpy": 2}}, "versions"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG)
def test_a_receipt_that_cannot_be_of_these_weights_is_one_line(
    path: Path, changes: dict[str, Any], reason: str
) -> None:
    path.write_bytes(npy.pack(PARAMETERS, json.dumps(facts(**changes)).encode()))
    refused(path, reason)


@pytest.mark.parametrize("key", sorted(facts().keys() - {"format"}))
def test_a_receipt_that_lacks_a_key_is_one_line(path: Path, key: str) -> None:
    lacking = {name: value for name, value in facts().items() if name != key}
    path.write_bytes(npy.pack(PARAMETERS, json.dumps(lacking).encode()))
    refused(path, key)


def test_another_array_before_the_receipt_is_one_line(path: Path) -> None:
    changed = PARAMETERS.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(0))
    path.write_bytes(npy.pack(changed, encode(receipt())))
    refused(path, "other weights")
    path.write_bytes(npy.pack(PARAMETERS[:4], encode(receipt(PARAMETERS[:4]))))  # a receipt speaks of a bias
    refused(path, "does not fit")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.where(PARAMETERS[0, 0] == PARAMETERS, np.float32(np.nan), PARAMETERS), "not finite"),
        (PARAMETERS[0], "expected shape"),
        (PARAMETERS.astype(np.int64), "expected float32 or float64"),
        (PARAMETERS + 1, "other weights"),
        (PARAMETERS[:-1], "does not fit"),
    ],
)
def test_nothing_is_written_that_could_not_be_read(path: Path, array: Any, message: str) -> None:
    weights.save(path, PARAMETERS, receipt())
    before = path.read_bytes()
    with pytest.raises(WeightsError, match=message):
        weights.save(path, array, receipt())
    assert path.read_bytes() == before


def test_a_receipt_of_another_dtype_is_told_from_one_too_long(path: Path) -> None:
    path.write_bytes(npy.pack(PARAMETERS, PARAMETERS))
    refused(path, "expected JSON as uint8, got float32 of shape")
    path.write_bytes(npy.pack(PARAMETERS, bytes((64 << 20) + 1)))
    refused(path, "expected at most 67108864 bytes, got uint8 of shape")


@pytest.mark.parametrize("kind", ["a pipe", "a device without end", "a folder", "nothing"])
def test_what_is_no_regular_file_is_refused_without_waiting(path: Path, kind: str) -> None:
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device without end":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    with pytest.raises(UsageError, match="no such file" if kind == "nothing" else "not a regular file"):
        weights.load(path)
    if kind != "nothing":
        with pytest.raises(UsageError, match="not a regular file"):
            weights.save(path, PARAMETERS, receipt())


def test_a_folder_that_does_not_exist_is_named(path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such folder: .*missing"):
        weights.save(path.parent / "missing" / "w.npy", PARAMETERS, receipt())


# What a stop leaves -----------------------------------------------------------------------------------------


class Stop(BaseException):
    """Stands for a kill: nothing in the program catches it."""


@pytest.mark.parametrize(
    "error", [Stop(), OSError(28, "No space left on device")], ids=["a kill", "a full disk"]
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("old", [receipt(), None, "nothing"], ids=["weights", "no receipt", "no file"])
def test_whatever_stops_a_save_leaves_the_old_file_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException, old: Any
) -> None:
    if old != "nothing":
        weights.save(path, PARAMETERS, old)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}

    def stopped(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, stopped)
        with pytest.raises(Stop if isinstance(error, Stop) else LocalIOError):
            weights.save(path, PARAMETERS * 2, receipt(PARAMETERS * 2))
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    weights.save(path, PARAMETERS * 2, receipt(PARAMETERS * 2))
    assert weights.load(path).receipt == receipt(PARAMETERS * 2)
