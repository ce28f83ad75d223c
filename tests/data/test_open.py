"""From a name or a folder to a split: a dataset through its cache, folders of IDX files, the built-in sample."""

import gzip
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import IMAGE_NAMES, LABEL_NAMES, write_folder
from servers import Server, serving, small_dataset

from mnist_softmax.data import open as module
from mnist_softmax.data.catalog import DATASETS, MNIST_SAMPLE, SPLIT_FILES
from mnist_softmax.data.folder import folder_split
from mnist_softmax.data.idx import write_idx
from mnist_softmax.data.open import open_split
from mnist_softmax.data.split import Source
from mnist_softmax.errors import DataError, DownloadError, UsageError

# A dataset -----------------------------------------------------------------------------------------------------------


def test_a_dataset_is_fetched_once_and_opened_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, contents = small_dataset("mnist")
    monkeypatch.setitem(
        DATASETS, "mnist", replace(small, mirrors=("http://x/",), class_names=tuple("abcdefghij"))
    )
    with pytest.raises(DownloadError, match="offline"):
        open_split("mnist", cache_dir=tmp_path, offline=True)
    with Server(serving(contents)) as server:
        split = open_split("mnist", cache_dir=str(tmp_path), mirrors=[server.url])
        assert len(server.requests) == 4
    test = open_split(split="test", cache_dir=tmp_path, offline=True)  # mnist, where none is named
    for found, (images, labels) in ((split, SPLIT_FILES["train"]), (test, SPLIT_FILES["test"])):
        assert found.images.tobytes() == contents[images][16:]
        assert found.labels.tobytes() == contents[labels][8:]
        assert (found.height, found.width, found.class_names) == (4, 5, tuple("abcdefghij"))
        assert found.files == {name: hashlib.sha256(contents[name]).hexdigest() for name in (images, labels)}
        assert found.source == Source("mnist")
        assert not found.images.flags.owndata, "mapped"
    assert (split.name, test.name) == ("train", "test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "mnist", "data_dir": "."}, "a dataset and a data_dir exclude each other"),
        ({"dataset": "mnits"}, "no such dataset: expected one of mnist, .*mnist-sample, got mnits"),
        ({"dataset": ""}, "no such dataset"),
        ({"split": "validation"}, "no such split: expected train or test, got validation"),
        ({"data_dir": "missing"}, "no such folder: missing"),
    ],
)
def test_names_that_are_not_known_or_exclude_each_other_are_wrong_usage(
    arguments: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        open_split(**arguments, cache_dir=tmp_path, offline=True)


# A folder ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["raw", "raw with a dot", "gz", "gz with a dot"])
def test_a_folder_is_read_under_all_its_usual_names(tmp_path: Path, form: str) -> None:
    images, labels = write_folder(tmp_path / "raw", rows=20, height=5, width=7)
    folder = tmp_path / "as"
    folder.mkdir()
    for path in (tmp_path / "raw").iterdir():
        name = path.name.replace("-idx", ".idx") if "dot" in form else path.name
        raw = path.read_bytes()
        (folder / (name + ".gz" * ("gz" in form))).write_bytes(gzip.compress(raw) if "gz" in form else raw)
    split = open_split(data_dir=folder)
    np.testing.assert_array_equal(split.images, images.reshape(20, 35))
    np.testing.assert_array_equal(split.labels, labels)
    assert (split.height, split.width, split.class_names) == (5, 7, tuple("0123456789"))
    assert split.images.dtype == split.labels.dtype == np.uint8
    assert not split.images.flags.writeable
    assert (split.source, split.name) == (Source(data_dir=folder), "train")
    assert split.files == {
        name: hashlib.sha256((tmp_path / "raw" / name).read_bytes()).hexdigest()
        for name in (IMAGE_NAMES["train"], LABEL_NAMES["train"])
    }


def test_raw_files_are_preferred_and_mapped_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    images, _ = write_folder(folder, rows=20)
    (folder / (IMAGE_NAMES["train"] + ".gz")).write_bytes(b"not even gzip")
    before = sorted(folder.iterdir())
    np.testing.assert_array_equal(folder_split(folder, "train").images, images.reshape(20, -1))
    assert sorted(folder.iterdir()) == before


def test_only_the_files_of_the_split_are_needed(tmp_path: Path) -> None:
    write_folder(tmp_path / "half", "test")
    assert len(open_split(split="test", data_dir=str(tmp_path / "half")).labels) == 60
    with pytest.raises(UsageError, match=f"no such file: .*{IMAGE_NAMES['train']}; --data-dir"):
        open_split(data_dir=tmp_path / "half")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 2, 2), np.uint8), np.zeros(2, np.uint8), "expected 3 labels, got 2"),
        (np.zeros((0, 2, 2), np.uint8), np.zeros(0, np.uint8), "no rows"),
        (np.zeros((3, 0, 2), np.uint8), np.zeros(3, np.uint8), "without pixels"),
        (np.zeros(3, np.uint8), np.zeros((3, 2, 2), np.uint8), "swapped"),
    ],
)
def test_data_that_does_not_fit_together_is_refused_and_the_folder_named(
    tmp_path: Path, images: Any, labels: Any, message: str
) -> None:
    for name, array in ((IMAGE_NAMES["train"], images), (LABEL_NAMES["train"], labels)):
        with open(tmp_path / name, "wb") as file:
            write_idx(file, array)
    with pytest.raises(DataError, match=message) as caught:
        open_split(data_dir=tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / IMAGE_NAMES["train"]).unlink()
    os.mkfifo(tmp_path / IMAGE_NAMES["train"])
    with pytest.raises(DataError, match="a regular file"):
        open_split(data_dir=tmp_path)


NAMES = ("a cat", "na\u00efve", "\u624b", "4", "five", "6", "7", "8", "9", "ten")
LINES = "\n".join(NAMES)


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        LINES + "\n",
        LINES + "\n\n  \n",
        LINES.replace("\n", "\r\n") + "\r\n",
        "\ufeff" + LINES,
        LINES.replace("\n", " \t\n\t"),
    ],
    ids=["no newline at the end", "a newline", "blank lines at the end", "CRLF", "BOM", "spaces around"],
)
def test_classes_txt_names_the_classes(tmp_path: Path, content: str) -> None:
    write_folder(tmp_path)
    (tmp_path / "classes.txt").write_bytes(content.encode())
    split = open_split(data_dir=tmp_path)
    assert split.class_names == NAMES
    assert list(split.files) == [IMAGE_NAMES["train"], LABEL_NAMES["train"]]


@pytest.mark.parametrize("names", [10, 12, 256])
def test_there_may_be_more_names_than_labels(tmp_path: Path, names: int) -> None:
    write_folder(tmp_path)
    (tmp_path / "classes.txt").write_text("\n".join(f"class {k}" for k in range(names)))
    assert open_split(data_dir=tmp_path).class_names == tuple(f"class {k}" for k in range(names))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1 of the class names is blank"),
        (b"a\nb\n \nd\n", "line 3 of the class names is blank"),
        (b"a\nb\nc\nb ", "line 4 of the class names repeats a name: .*: got 'b'"),
        (b"a\nb\rc\nd", "line 2 of the class names has a control character: .*: got 'b.+rc'"),
        ("a\n\u0085".encode(), "line 2 of the class names has a control character"),
        ("a\nb\n".encode("utf-16-le"), "line 1 of the class names has a control character"),
        ("a\nb\n".encode("utf-16"), "not UTF-8: .*: got byte 0xff at 0"),
        ("a\nna\u00efve".encode("latin-1"), "not UTF-8: .*: got byte 0xef at 4"),
        (LINES.encode().rsplit(b"\n", 1)[0], "expected 10 to 256, as the largest label is 9, got 9"),
        ("\n".join(map(str, range(257))).encode(), "wrong number of class names: .*, got 257"),
        (b"a" * 65_537, "too long for class names: .*: expected at most 65536 bytes"),
    ],
)
def test_wrong_class_names_are_refused_and_the_file_named(
    tmp_path: Path, content: bytes, message: str
) -> None:
    write_folder(tmp_path)
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_split(data_dir=tmp_path)
    assert str(tmp_path / "classes.txt") in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_class_names_come_from_a_regular_file(tmp_path: Path, make: Any) -> None:
    write_folder(tmp_path)
    make(tmp_path / "classes.txt")
    with pytest.raises(DataError, match=r"not a regular file: .*classes\.txt"):
        open_split(data_dir=tmp_path)


def test_a_file_of_class_names_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "classes.txt").symlink_to("gone")
    with pytest.raises(FileNotFoundError):
        open_split(data_dir=tmp_path)


# The built-in sample -------------------------------------------------------------------------------------------------


def test_the_sample_has_a_sixth_of_the_training_and_a_fifth_of_the_test_rows() -> None:
    train, test = (open_split("mnist-sample", name) for name in ("train", "test"))
    assert train.images.shape == (10_000, 784)
    assert test.images.shape == (2_000, 784)
    assert set(train.labels) == set(test.labels) == set(range(10))
    assert train.files == {file.name: file.raw_sha256 for file in MNIST_SAMPLE.files[:2]}
    assert (train.source, test.name) == (Source("mnist-sample"), "test")


@pytest.mark.full
@pytest.mark.parametrize(("name", "every"), [("train", 6), ("test", 5)])
def test_the_sample_is_the_named_rows_of_the_real_files(mnist_folder: Path, name: str, every: int) -> None:
    full, sample = open_split(split=name, data_dir=mnist_folder), open_split("mnist-sample", name)
    np.testing.assert_array_equal(sample.images, full.images[::every])
    np.testing.assert_array_equal(sample.labels, full.labels[::every])


def test_an_altered_file_of_the_sample_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in module.sample_files():
        packed = file.packed_path.read_bytes()
        assert (len(packed), hashlib.sha256(packed).hexdigest()) == (file.bytes, file.sha256)
        altered = packed[:-1] + b"?" if "t10k-labels" in file.name else packed
        (tmp_path / file.packed_path.name).write_bytes(altered)
    monkeypatch.setattr(module, "_SAMPLE_FOLDER", tmp_path)
    open_split("mnist-sample", "train")
    for call in (lambda: open_split("mnist-sample", "test"), module.sample_files):
        with pytest.raises(DataError, match="the built-in sample is damaged"):
            call()
