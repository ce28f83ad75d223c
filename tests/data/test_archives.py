"""EMNIST's and QMNIST's layouts, small, from loopback: fetched, unpacked, trained on; and all that can be wrong."""

import gzip
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import as_idx, learnable, pinned_to, small_emnist, small_qmnist
from conftest import Finished, clean_environment
from servers import Answer, Server, page, stall_after

from mnist_softmax.data.cache import ensure
from mnist_softmax.data.catalog import TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, Dataset
from mnist_softmax.data.open import open_split
from mnist_softmax.data.patience import Patience
from mnist_softmax.errors import DataError, DownloadError

EMNIST, ZIP = small_emnist()
QMNIST, QMNIST_FILES = small_qmnist()
#: The program with small datasets in place of the real ones; at its end it tells its largest resident size.
ENTRY = """
import atexit, os
from mnist_softmax.cli.main import main
from mnist_softmax.data.catalog import DATASETS, DataFile, Dataset
DATASETS |= {datasets!r}
def tell():
    with open("/proc/self/status") as status, open("peak", "w") as peak:
        peak.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
if os.path.exists("/proc/self/status"):
    atexit.register(tell)
main()
"""


def start(
    folder: Path, *arguments: object, datasets: dict[str, Dataset] = EMNIST, **environment: object
) -> subprocess.Popen[str]:
    """A process of the program."""
    variables = {"MNIST_SOFTMAX_CACHE_DIR": folder / "cache"} | environment
    return subprocess.Popen(
        [sys.executable, "-c", ENTRY.format(datasets=datasets), *map(str, arguments)],
        cwd=folder,
        env=clean_environment(PYTHONPATH=Path(__file__).parents[2], **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: object, **options: Any) -> Finished:
    process = start(folder, *arguments, **options)
    out, err = process.communicate(timeout=60)
    return Finished(process.returncode, out, err)


def unpacked(folder: Path) -> list[str]:
    """What a folder of the cache holds, apart from the stamp."""
    return sorted(path.name for path in folder.iterdir() if path.name not in {"stamp.json", ".lock"})


def test_emnist_is_fetched_once_for_all_its_datasets_trained_on_and_scored(tmp_path: Path) -> None:
    with Server({"/gzip.zip": page(ZIP)}) as server:
        done = run(tmp_path, "download", "--dataset", "emnist-letters", "--mirror", server.url, "--json")
        assert done.code == 0, done.err
        digits = run(tmp_path, "download", "--dataset", "emnist-digits", MNIST_SOFTMAX_MIRROR=server.url)
        assert server.requests == ["/gzip.zip"]
    (facts,) = json.loads(done.out)["files"]
    assert facts == {
        "name": "gzip.zip",
        "path": str(tmp_path / "cache" / "emnist" / "gzip.zip"),
        "bytes": len(ZIP),
        "sha256": EMNIST["emnist-letters"].files[0].packed_sha256,
        "source": f"{server.url}gzip.zip",
    }
    assert digits.out.endswith("emnist-digits: the file is there and correct; nothing was fetched\n")
    for name, classes in (("emnist-letters", 26), ("emnist-digits", 10)):
        files = [file.name for file in EMNIST[name].files]
        assert unpacked(tmp_path / "cache" / name) == sorted(files)
        for split, rows in (("train", 10 * classes), ("t10k", 2 * classes)):
            images, labels = learnable(rows, classes, 6, 5, rows)
            for what, array in (("images-idx3", images), ("labels-idx1", labels)):
                path = tmp_path / "cache" / name / f"{split}-{what}-ubyte"
                assert path.read_bytes() == as_idx(array), "upright, and labels from 0"
        assert run(tmp_path, "train", "--dataset", name, "--epochs", 30, "--offline").code == 0
        over = run(tmp_path, "train", "--dataset", name, "--out", tmp_path / "cache" / "emnist" / "gzip.zip")
        assert (over.code, "the command already uses this file" in over.error) == (2, True)
        scores = json.loads(run(tmp_path, "eval", "--json", "--offline").out)
        assert (scores["dataset"], scores["rows"], scores["accuracy"]) == (name, 2 * classes, 1.0)
        assert [row["name"] for row in scores["classes"]] == list(EMNIST[name].class_names)


def test_qmnist_has_labels_in_columns_and_sizes_that_nobody_states(tmp_path: Path) -> None:
    datasets = {"qmnist": QMNIST}
    with Server({f"/{name}": page(content) for name, content in QMNIST_FILES.items()}) as server:
        mirror = {"MNIST_SOFTMAX_MIRROR": server.url, "datasets": datasets}
        done = run(tmp_path, "train", "--dataset", "qmnist", "--epochs", 30, **mirror)
        assert done.code == 0, done.err
        assert "beginning with qmnist-train-images-idx3-ubyte.gz\n" in done.err
    scores = json.loads(run(tmp_path, "eval", "--json", "--offline", datasets=datasets).out)
    assert (scores["rows"], scores["accuracy"]) == (100, 1.0)
    facts = json.loads(
        run(tmp_path, "download", "--dataset", "qmnist", "--json", "--offline", datasets=datasets).out
    )
    assert {file["name"]: file["bytes"] for file in facts["files"]} == {
        name: len(content) for name, content in QMNIST_FILES.items()
    }
    assert {file["source"] for file in facts["files"]} == {"cache"}
    # The folder of the cache is also a --data-dir: the canonical names win.
    folder = tmp_path / "cache" / "qmnist"
    assert open_split(data_dir=folder, split="test").files == json_files(folder, TEST_LABELS)


def json_files(folder: Path, name: str) -> dict[str, str]:
    """The hashes of a split as the stamp has them."""
    entries = json.loads((folder / "stamp.json").read_bytes())["files"]
    return {key: entries[key]["sha256"] for key in (name.replace("labels-idx1", "images-idx3"), name)}


def test_from_a_folder_without_a_socket_and_again_by_force(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "gzip.zip").write_bytes(ZIP)
    for name, content in QMNIST_FILES.items():
        (source / name).write_bytes(content)
    for dataset in (*EMNIST.values(), QMNIST):
        for force in (False, True):
            found = ensure(dataset, tmp_path / "c", from_dir=source, offline=True, force=force)
            assert {Path(file.source).parent for file in found.values()} <= {source, Path()}
    (source / "gzip.zip").unlink()
    with pytest.raises(DownloadError, match=r"no such file: .*gzip\.zip; the folder must hold"):
        ensure(EMNIST["emnist-digits"], tmp_path / "d", from_dir=source)


def test_a_damaged_file_is_unpacked_again_and_a_damaged_zip_fetched_again(tmp_path: Path) -> None:
    dataset = EMNIST["emnist-letters"]
    with Server({"/gzip.zip": page(ZIP)}) as server:
        ensure(dataset, tmp_path, mirrors=[server.url])
        path = tmp_path / dataset.name / TRAIN_LABELS
        good = path.read_bytes()
        path.write_bytes(good[:-1] + b"\x7f")
        ensure(dataset, tmp_path, offline=True)
        assert path.read_bytes() == good
        (tmp_path / "emnist" / "gzip.zip").write_bytes(ZIP[:-1])
        with pytest.raises(DataError, match=r"damaged file in the cache: .*gzip\.zip"):
            ensure(dataset, tmp_path, offline=True)
        ensure(dataset, tmp_path, mirrors=[server.url])
        assert (tmp_path / "emnist" / "gzip.zip").read_bytes() == ZIP
        assert len(server.requests) == 2


def test_two_datasets_at_the_same_time_fetch_one_zip(tmp_path: Path) -> None:
    with Server({"/gzip.zip": page(ZIP)}) as server:
        running = [start(tmp_path, "download", "--dataset", n, "--mirror", server.url) for n in EMNIST]
        assert [process.wait(60) for process in running] == [0, 0]
        for process in running:
            process.communicate()
        assert server.requests == ["/gzip.zip"]


def test_a_process_killed_in_the_middle_of_the_zip_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ZIP)}\r\n\r\n".encode()
    with Server({"/gzip.zip": [stall_after(head + ZIP[: len(ZIP) // 2]), page(ZIP)]}) as server:
        arguments = ("download", "--dataset", "emnist-letters", "--mirror", server.url)
        process = start(tmp_path, *arguments)
        deadline = time.monotonic() + 30
        while not (server.requests and any(tmp_path.rglob(".tmp-*"))):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert unpacked(tmp_path / "cache" / "emnist-letters") == []
        (left,) = tmp_path.rglob(".tmp-*")
        os.utime(left, (1, 1))  # more than ten seconds ago
        assert run(tmp_path, *arguments).code == 0
        assert unpacked(tmp_path / "cache" / "emnist") == ["gzip.zip"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="does not tell the largest resident size")
def test_a_large_zip_is_never_held_in_memory(tmp_path: Path) -> None:
    datasets, packed = small_emnist(padding=200_000_000)
    with Server({"/gzip.zip": page(packed)}) as server:
        arguments = ("download", "--dataset", "emnist-digits", "--mirror", server.url)
        done = run(tmp_path, *arguments, datasets=datasets)
        assert done.code == 0, done.err
    peak = int((tmp_path / "peak").read_text()) / 1e3
    assert peak < 120, f"{peak} MB"
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "gzip.zip").write_bytes(packed)
    assert run(tmp_path, *arguments[:3], "--from", "source", "--force", datasets=datasets).code == 0
    assert int((tmp_path / "peak").read_text()) / 1e3 < 120


def member(dataset: str, what: str) -> str:
    return f"gzip/{dataset}-train-{what}-ubyte.gz"


IMAGES, LABELS = member("emnist-digits", "images-idx3"), member("emnist-digits", "labels-idx1")
RAW_IMAGES, RAW_LABELS = learnable(100, 10, 5, 6, 0)[0], (np.arange(100) % 10).astype(np.uint8)


def packed_as(name: str, array: Any) -> Callable[[dict[str, bytes]], object]:
    return lambda members: members.update({name: gzip.compress(as_idx(array), mtime=0)})


#: What a zip with the right hash may hold in place of the digits, and the words of the error.
WRONG_MEMBERS: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "no images": (lambda members: members.pop(IMAGES), "expected one member gzip/emnist-digits-train-images"),
    "not gzip": (lambda members: members.update({IMAGES: b"hello"}), "damaged gzip file"),
    "a .gz cut short": (lambda members: members.update({IMAGES: members[IMAGES][:-20]}), "damaged gzip file"),
    "labels for images": (packed_as(IMAGES, RAW_LABELS), "swapped"),
    "a row less": (packed_as(IMAGES, RAW_IMAGES[1:]), "expected 100 x 5 x 6, got 99 x 5 x 6"),
    "upright images": (
        packed_as(IMAGES, RAW_IMAGES.transpose(0, 2, 1)),
        "expected 100 x 5 x 6, got 100 x 6 x 5",
    ),
    "bytes after the end": (
        lambda members: members.update({IMAGES: gzip.compress(as_idx(RAW_IMAGES) + b"x")}),
        "bytes after its end",
    ),
    "a bomb": (
        lambda members: members.update({LABELS: gzip.compress(as_idx(RAW_LABELS) + bytes(50_000_000))}),
        "bytes after its end",
    ),
    "labels cut short": (
        lambda members: members.update({LABELS: gzip.compress(as_idx(RAW_LABELS)[:-1])}),
        "truncated IDX file",
    ),
    "a label too large": (packed_as(LABELS, RAW_LABELS + np.uint8(1)), "expected 0 to 9, got 1 to 10"),
    "labels in no columns": (
        packed_as(LABELS, np.zeros((100, 0), np.int32)),
        "expected 100, got 100 x 0",
    ),
    "labels that are no bytes": (packed_as(LABELS, np.full((100, 8), 256, np.int32)), "expected 0 to 255"),
}


@pytest.mark.parametrize("fault", WRONG_MEMBERS)
def test_a_wrong_member_is_one_line_and_leaves_no_file_of_its_name(
    fault: str, tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, words = WRONG_MEMBERS[fault]
    datasets, packed = small_emnist(change)
    done = download(program, monkeypatch, datasets["emnist-digits"], packed)
    assert done.code == 4, done.err
    assert words in done.error
    assert done.err.count("\n") == 2, "the note that something is fetched, and the error"
    wrong = TRAIN_IMAGES if "images" in fault or ".gz" in fault else TRAIN_LABELS
    assert wrong not in unpacked(tmp_path / "cache" / "emnist-digits")
    assert not list(tmp_path.rglob(".tmp-*"))


def download(program: Any, monkeypatch: pytest.MonkeyPatch, dataset: Dataset, packed: bytes) -> Finished:
    from mnist_softmax.data.catalog import DATASETS

    monkeypatch.setitem(DATASETS, dataset.name, dataset)
    with Server({"/gzip.zip": page(packed)}) as server:
        done: Finished = program("download", "--dataset", dataset.name, "--mirror", server.url)
    return done


def test_labels_of_letters_begin_at_1_and_members_with_a_known_hash_must_have_it(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_zero = packed_as(member("emnist-letters", "labels-idx1"), (np.arange(260) % 26).astype(np.uint8))
    letters, packed = small_emnist(from_zero)
    done = download(program, monkeypatch, letters["emnist-letters"], packed)
    assert done.code == 4
    assert "wrong bytes: " in done.error
    assert "gzip/emnist-letters-train-labels-idx1-ubyte.gz: expected SHA-256" in done.error
    known = letters["emnist-letters"]
    free = replace(known, files=tuple(replace(file, member_sha256=None) for file in known.files))
    done = download(program, monkeypatch, free, packed)
    assert done.code == 4
    assert "wrong labels" in done.error
    assert "expected 1 to 26, got 0 to 25" in done.error


def encrypted(packed: bytes) -> bytes:
    """The zip with the flag of encryption set in the directory's entries."""
    return packed.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")


def compressed_by(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(ZIP)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"", "not a zip archive, or damaged"),
        (b"not a zip", "not a zip archive, or damaged"),
        (ZIP[:-30], "not a zip archive, or damaged"),
        (ZIP.replace(b"PK\3\4", b"PK\3?"), "not a zip archive, or damaged"),
        (encrypted(ZIP), "encrypted, or compressed by an unusual method"),
        (compressed_by(zipfile.ZIP_LZMA), "encrypted, or compressed by an unusual method"),
        (struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0), "expected one member"),
    ],
    ids=["empty", "no zip", "cut short", "headers", "encrypted", "LZMA", "no members"],
)
def test_an_archive_that_is_none_is_wrong_data(
    packed: bytes, words: str, tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = pinned_to({"emnist-digits": list(EMNIST["emnist-digits"].files)}, packed)["emnist-digits"]
    done = download(program, monkeypatch, digits, packed)
    assert done.code == 4, done.err
    assert words in done.error
    assert unpacked(tmp_path / "cache" / "emnist-digits") == []


def test_bytes_that_are_not_the_archive_are_wrong_data(
    tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = download(program, monkeypatch, EMNIST["emnist-digits"], ZIP[:-1] + b"?")
    assert done.code == 4
    assert f"expected {len(ZIP)} bytes with SHA-256" in done.error
    assert unpacked(tmp_path / "cache" / "emnist") == []


def test_a_file_of_unknown_size_has_a_largest_size_and_a_hash(tmp_path: Path) -> None:
    images = "qmnist-train-images-idx3-ubyte.gz"
    served: dict[str, Answer | list[Answer]] = {
        f"/{name}": page(content) for name, content in QMNIST_FILES.items()
    }
    patience = Patience(backoff_seconds=0.001)
    for body, got in ((bytes(4001), "more than 4000 bytes"), (bytes(4000), "4000 bytes with SHA-256")):
        message = f"expected at most 4000 bytes with .*, got {got}"
        with Server(served | {f"/{images}": page(body)}) as server, pytest.raises(DataError, match=message):
            ensure(QMNIST, tmp_path, mirrors=[server.url], patience=patience)
        assert unpacked(tmp_path / "qmnist") == []
    with Server(served | {f"/{images}": page(QMNIST_FILES[images], length=None)}) as server:
        ensure(QMNIST, tmp_path, mirrors=[server.url], patience=patience)
    path = tmp_path / "qmnist" / images
    for content in (path.read_bytes()[:-1], bytes(4001)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged file in the cache"):
            ensure(QMNIST, tmp_path, offline=True)
