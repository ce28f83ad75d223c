"""A split made of arrays and what is refused, one-hot labels, and the validation rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_softmax.data.split import Source, Split, image_size, one_hot, train_validation_rows
from mnist_softmax.errors import DataError, UsageError

IMAGES = np.arange(6 * 35, dtype=np.uint8).reshape(6, 5, 7)
LABELS = np.array([2, 0, 1, 2, 4, 0], np.uint8)


def test_a_split_of_images_in_three_dimensions_has_their_size() -> None:
    split = Split.of(IMAGES, LABELS)
    np.testing.assert_array_equal(split.images, IMAGES.reshape(6, 35))
    np.testing.assert_array_equal(split.labels, LABELS)
    assert split.images.base is not None, "a view, not a copy"
    assert (split.height, split.width) == (5, 7)
    assert split.class_names == ("0", "1", "2", "3", "4"), "as many as the labels imply"
    assert (split.source.label, split.name, split.files) == ("arrays", "train", {})


@pytest.mark.parametrize(
    ("columns", "size"),
    [(784, (28, 28)), (1, (1, 1)), (35, (1, 35)), (783, (1, 783)), (10**12, (10**6,) * 2)],
)
def test_images_in_two_dimensions_are_squares_or_else_one_line(columns: int, size: tuple[int, int]) -> None:
    assert image_size(columns) == size
    if columns < 1000:
        split = Split.of(np.zeros((2, columns), np.uint8), LABELS[:2])
        assert (split.height, split.width) == size


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, ">i4"])
def test_labels_of_any_integer_dtype_become_uint8(dtype: Any) -> None:
    split = Split.of(IMAGES, LABELS.astype(dtype))
    assert split.labels.dtype == np.uint8
    np.testing.assert_array_equal(split.labels, LABELS)


def test_labels_in_a_list_will_do() -> None:
    labels: Any = LABELS.tolist()
    np.testing.assert_array_equal(Split.of(IMAGES, labels).labels, LABELS)


def test_splits_are_equal_to_themselves_only() -> None:
    split = Split.of(IMAGES, LABELS)
    assert {split: 1}[split]
    assert split != Split.of(IMAGES, LABELS)


@pytest.mark.parametrize("names", [range(5), [None] * 5, ["a", "b", "c", "d", "\udcff"], [b"a"] * 5])
def test_class_names_that_no_receipt_can_hold_are_refused(names: Any) -> None:
    with pytest.raises(TypeError, match="class names are strings of Unicode characters"):
        Split.of(IMAGES, LABELS, names)


def test_more_classes_than_a_receipt_can_hold_are_refused() -> None:
    assert len(Split.of(IMAGES, LABELS, ["x"] * 256).class_names) == 256
    with pytest.raises(DataError, match="too many classes: arrays: expected at most 256, got 257"):
        Split.of(IMAGES, LABELS, ["x"] * 257)


def test_classes_can_be_named_more_than_occur() -> None:
    names = tuple("abcdefg")
    split = Split.of(IMAGES, LABELS, names, source=Source("x"), name="test", files={"f": "0"})
    assert split.class_names == names
    assert (split.source, split.name, split.files) == (Source("x"), "test", {"f": "0"})


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES / 255, LABELS, "images are uint8, 0 to 255, .* got float64 of shape"),
        (IMAGES.astype(np.float32), LABELS, "got float32"),
        (IMAGES.astype(np.int64), LABELS, "got int64"),
        (IMAGES > 9, LABELS, "got bool"),
        (IMAGES[0, 0], LABELS, r"of shape \(M, N\) or \(M, height, width\), got uint8 of shape \(7,\)"),
        (IMAGES[None], LABELS, r"got uint8 of shape \(1, 6, 5, 7\)"),
        (IMAGES, LABELS.astype(float), "labels are integers from 0 to 255, .*, got float64"),
        (IMAGES, LABELS.astype(str), "labels are integers from 0 to 255, .*, got <U"),
        (IMAGES, LABELS > 1, "labels are integers from 0 to 255, .*, got bool"),
        (IMAGES.tolist(), LABELS, "got int64"),
        (None, LABELS, "got object"),
        (IMAGES, None, "labels are integers from 0 to 255, .*, got object"),
        (IMAGES, LABELS[:, None], "labels are integers from 0 to 255, of shape .M,., got uint8 of shape"),
    ],
)
def test_arrays_of_another_dtype_or_shape_are_refused_in_one_sentence(
    images: Any, labels: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        Split.of(images, labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (IMAGES, LABELS[:5], (), "differ in number: arrays: expected 6 labels, got 5"),
        (IMAGES[:5], LABELS, (), "expected 5 labels, got 6"),
        (IMAGES[:0], LABELS[:0], (), "no rows: arrays: expected at least one image"),
        (IMAGES[:, :0], LABELS, (), "images without pixels: arrays: got 0 x 7"),
        (IMAGES, LABELS + np.int64(252), (), "wrong labels: arrays: expected 0 to 255, got 252 to 256"),
        (IMAGES, LABELS - np.int64(1), (), "wrong labels: arrays: expected 0 to 255, got -1 to 3"),
        (IMAGES, LABELS, ("a", "b", "c"), "wrong labels: arrays: expected below 3, got 4"),
    ],
)
def test_arrays_that_do_not_fit_together_are_wrong_data(
    images: Any, labels: Any, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Split.of(images, labels, names)


def test_a_source_is_called_by_its_dataset_or_its_folder_and_compared_by_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    folder, relative, link = (Source(data_dir=Path(path)) for path in (tmp_path / "data", "data", "link"))
    assert Source("mnist").label == "mnist"
    assert relative.label == "data"
    assert folder.is_same(relative)
    assert link.is_same(folder)
    assert not folder.is_same(Source(data_dir=tmp_path))
    assert not folder.is_same(Source("mnist"))
    assert not Source("mnist").is_same(Source("fashion-mnist"))


def test_one_hot_has_a_one_in_the_column_of_the_label() -> None:
    np.testing.assert_array_equal(one_hot(np.array([2, 0], np.uint8), 3, np.float32), [[0, 0, 1], [1, 0, 0]])
    assert one_hot(np.array([255], np.uint8), 256).shape == (1, 256)
    with pytest.raises(ValueError, match="label 3"):
        one_hot(np.array([3], np.uint8), 3)
    with pytest.raises(ValueError, match="label -1 with 3 classes"):
        one_hot(np.array([2, -1]), 3)


def test_validation_rows_are_drawn_by_the_seed_and_share_no_row_with_training() -> None:
    train, held_out = train_validation_rows(1000, 100, seed=3)
    assert len(held_out) == 100
    assert sorted([*train, *held_out]) == list(range(1000))
    for part in (train, held_out):
        assert (np.diff(part) > 0).all()
    again = train_validation_rows(1000, 100, seed=3)
    other = train_validation_rows(1000, 100, seed=4)
    np.testing.assert_array_equal(held_out, again[1])
    assert set(held_out) != set(other[1])
    assert held_out.max() > 900, "drawn from all over the file"


def test_no_validation_rows_are_allowed_but_no_training_rows_are_not() -> None:
    train, held_out = train_validation_rows(10, 0, seed=0)
    assert (len(train), len(held_out)) == (10, 0)
    with pytest.raises(UsageError, match="--val-size"):
        train_validation_rows(10, 10, seed=0)
