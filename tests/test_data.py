"""The loader: splits from folders, the sample, one-hot labels, the validation rows."""

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import IMAGE_NAMES, LABEL_NAMES, write_folder

from mnist_softmax import data
from mnist_softmax.errors import DataError, UsageError
from mnist_softmax.idx import write_idx


@pytest.mark.parametrize("form", ["raw", "raw with a dot", "gz", "gz with a dot"])
def test_a_folder_is_read_under_all_its_usual_names(tmp_path: Path, form: str) -> None:
    images, labels = write_folder(tmp_path / "raw", rows=20, height=5, width=7)
    folder = tmp_path / "as"
    folder.mkdir()
    for path in (tmp_path / "raw").iterdir():
        name = path.name.replace("-idx", ".idx") if "dot" in form else path.name
        raw = path.read_bytes()
        (folder / (name + ".gz" * ("gz" in form))).write_bytes(gzip.compress(raw) if "gz" in form else raw)
    split = data.folder_split(folder, "train")
    np.testing.assert_array_equal(split.images, images.reshape(20, 35))
    np.testing.assert_array_equal(split.labels, labels)
    assert (split.height, split.width, split.classes) == (5, 7, 10)
    assert split.images.dtype == split.labels.dtype == np.uint8
    raw_images = (tmp_path / "raw" / IMAGE_NAMES["train"]).read_bytes()
    assert split.files[IMAGE_NAMES["train"]] == hashlib.sha256(raw_images).hexdigest()


def test_raw_files_are_preferred_and_mapped_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    images, _ = write_folder(folder, rows=20)
    (folder / (IMAGE_NAMES["train"] + ".gz")).write_bytes(b"not even gzip")
    before = sorted(folder.iterdir())
    np.testing.assert_array_equal(data.folder_split(folder, "train").images, images.reshape(20, -1))
    assert sorted(folder.iterdir()) == before


def test_only_the_files_of_the_split_are_needed(tmp_path: Path) -> None:
    write_folder(tmp_path / "half", "test")
    assert len(data.folder_split(tmp_path / "half", "test").labels) == 60
    with pytest.raises(UsageError, match=IMAGE_NAMES["train"]):
        data.folder_split(tmp_path / "half", "train")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 2, 2), np.uint8), np.zeros(2, np.uint8), "expected 3 labels, got 2"),
        (np.zeros((0, 2, 2), np.uint8), np.zeros(0, np.uint8), "no rows"),
        (np.zeros((3, 0, 2), np.uint8), np.zeros(3, np.uint8), "without pixels"),
        (np.zeros(3, np.uint8), np.zeros((3, 2, 2), np.uint8), "swapped"),
    ],
)
def test_data_that_does_not_fit_together_is_refused(
    tmp_path: Path, images: Any, labels: Any, message: str
) -> None:
    for name, array in ((IMAGE_NAMES["train"], images), (LABEL_NAMES["train"], labels)):
        with open(tmp_path / name, "wb") as file:
            write_idx(file, array)
    with pytest.raises(DataError, match=message):
        data.folder_split(tmp_path, "train")


def test_the_sample_has_a_sixth_of_the_training_and_a_fifth_of_the_test_rows() -> None:
    train, test = data.sample_split("train"), data.sample_split("test")
    assert train.images.shape == (10_000, 784)
    assert test.images.shape == (2_000, 784)
    assert set(train.labels) == set(test.labels) == set(range(10))


@pytest.mark.full
@pytest.mark.parametrize(("split", "every"), [("train", 6), ("test", 5)])
def test_the_sample_is_the_named_rows_of_the_real_files(mnist_folder: Path, split: str, every: Any) -> None:
    full, sample = data.folder_split(mnist_folder, split), data.sample_split(split)
    np.testing.assert_array_equal(sample.images, full.images[::every])
    np.testing.assert_array_equal(sample.labels, full.labels[::every])


def test_one_hot_has_a_one_in_the_column_of_the_label() -> None:
    np.testing.assert_array_equal(
        data.one_hot(np.array([2, 0], np.uint8), 3, np.float32), [[0, 0, 1], [1, 0, 0]]
    )
    assert data.one_hot(np.array([255], np.uint8), 256).shape == (1, 256)
    with pytest.raises(ValueError, match="label 3"):
        data.one_hot(np.array([3], np.uint8), 3)


def test_validation_rows_are_drawn_by_the_seed_and_share_no_row_with_training() -> None:
    train, held_out = data.train_validation_rows(1000, 100, seed=3)
    assert len(held_out) == 100
    assert sorted([*train, *held_out]) == list(range(1000))
    again = data.train_validation_rows(1000, 100, seed=3)
    other = data.train_validation_rows(1000, 100, seed=4)
    np.testing.assert_array_equal(held_out, again[1])
    assert set(held_out) != set(other[1])
    assert held_out.max() > 900, "drawn from all over the file"


def test_no_validation_rows_are_allowed_but_no_training_rows_are_not() -> None:
    train, held_out = data.train_validation_rows(10, 0, seed=0)
    assert (len(train), len(held_out)) == (10, 0)
    with pytest.raises(UsageError, match="--val-size"):
        data.train_validation_rows(10, 10, seed=0)
