"""A Split: the images and labels of one file pair, one-hot labels, and the rows held out for validation.

Pixels stay uint8 and mapped from the unpacked file: the trainer converts a batch at a time, so a data set
larger than memory loads as fast as a small one.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mnist_softmax.errors import DataError, UsageError


@dataclass(frozen=True)
class Source:
    """Where rows come from: a known dataset, a folder, or, if both are None, the caller's arrays."""

    dataset: str | None = None
    data_dir: Path | None = None

    @property
    def label(self) -> str:
        """The dataset's name, the folder, or "arrays"."""
        return self.dataset or str(self.data_dir or "arrays")

    @property
    def public(self) -> "Source":
        """The same with the folder's own name only: where it lies is nobody else's business."""
        return Source(self.dataset, self.folder and Path(self.folder.name))

    @property
    def folder(self) -> Path | None:
        """The folder, with links followed."""
        # Path.resolve raises where they form a loop.
        return self.data_dir and Path(os.path.realpath(self.data_dir))

    def is_same(self, other: "Source") -> bool:
        """Whether both name the same data."""
        return (self.dataset, self.folder) == (other.dataset, other.folder)


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of one split.

    Attributes
    ----------
    images : (M, N) uint8; N = height * width; each row is an image in C order.
    labels : (M,) uint8.
    height, width : of an image, in pixels.
    class_names : the names of the classes 0, 1, ...; by default the numbers up to the largest label.
    source : where the rows come from.
    name : "train" or "test".
    files : file name (canonical, without .gz) -> SHA-256 of the unpacked IDX file.
    mapped : those names whose file is mapped -> its path, and its status when it was opened.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    height: int
    width: int
    class_names: tuple[str, ...]
    source: Source
    name: str
    files: Mapping[str, str]
    mapped: Mapping[str, tuple[Path, os.stat_result]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        images: NDArray[Any],
        labels: NDArray[Any],
        class_names: Sequence[str] = (),
        *,
        source: Source = Source(),
        name: str = "train",
        files: Mapping[str, str] | None = None,
    ) -> Self:
        """Make a split from two arrays.

        Parameters
        ----------
        images : (M, height, width) or (M, N) uint8; (M, N) are squares if N is a square number, else lines.
        labels : (M,) integers from 0 to 255.
        class_names : strings of Unicode characters; numbers by default.

        Raises
        ------
        TypeError : another dtype or number of dimensions, or a name that is no such string.
        DataError : no rows, no pixels, labels out of range, more than 256 names, or different numbers of
            images and labels.
        """
        where = source.label
        images, labels = np.asarray(images), np.asarray(labels)
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            got = f"{labels.dtype} of shape {labels.shape}"
            raise TypeError(f"labels are integers from 0 to 255, of shape (M,), got {got}")
        rows = flat_images(images)
        height, width = images.shape[1:] if images.ndim == 3 else image_size(rows.shape[1])
        if len(rows) != len(labels):
            raise DataError(
                "images and labels differ in number", where, expected=f"{len(rows)} labels", got=len(labels)
            )
        if len(rows) == 0:
            raise DataError("no rows", where, expected="at least one image")
        if height * width == 0:
            raise DataError("images without pixels", where, got=f"{height} x {width}")
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest > 255:
            raise DataError("wrong labels", where, expected="0 to 255", got=f"{lowest} to {highest}")
        names = tuple(class_names) or tuple(map(str, range(highest + 1)))
        if highest >= len(names):
            raise DataError("wrong labels", where, expected=f"below {len(names)}", got=highest)
        if len(names) > 256:
            raise DataError("too many classes", where, expected="at most 256", got=len(names))
        if not all(map(is_unicode, names)):
            raise TypeError("class names are strings of Unicode characters")
        labels = labels.astype(np.uint8, copy=False)
        return cls(rows, labels, height, width, names, source, name, files or {})


def is_unicode(text: object) -> bool:
    """Whether this is a string that UTF-8, and so a receipt, can hold; a name of a folder may not be."""
    try:
        str.encode(text)  # type: ignore[arg-type]
    except (TypeError, UnicodeEncodeError):
        return False
    return True


def flat_images(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images (M, N) or (M, height, width), 0 black to 255 white, as (M, N).

    Raises
    ------
    TypeError : they are not uint8, or have another number of dimensions.
    """
    if images.dtype != np.uint8 or images.ndim not in (2, 3):
        raise TypeError(
            "images are uint8, 0 to 255, of shape (M, N) or (M, height, width), "
            f"got {images.dtype} of shape {images.shape}"
        )
    return images.reshape(len(images), math.prod(images.shape[1:]))


def image_size(pixels: int) -> tuple[int, int]:
    """Height and width of images with this number of pixels: squares if possible, else one line."""
    side = math.isqrt(pixels)
    return (side, side) if side * side == pixels else (1, pixels)


def one_hot(labels: NDArray[Any], classes: int, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Y (M, L): 1 in the column of each row's label, 0 elsewhere.

    Raises
    ------
    ValueError : a label is negative or not below `classes`.
    """
    for label in (labels.min(), labels.max()) if len(labels) else ():
        if not 0 <= label < classes:
            raise ValueError(f"label {label} with {classes} classes")
    Y: NDArray[Any] = np.eye(classes, dtype=dtype)[labels]
    return Y


def train_validation_rows(
    rows: int, val_size: int, seed: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Row numbers to train on and to validate on, each ascending, drawn by `seed`.

    uint32, because row numbers are the only memory that grows with the data: 4 bytes a row here and 4 for the
    order of an epoch.

    Raises
    ------
    UsageError : `val_size` leaves no row to train on.
    """
    if val_size >= rows:
        raise UsageError(
            "no rows left to train on", "--val-size", expected=f"less than {rows} rows", got=val_size
        )
    everything = np.arange(rows, dtype=np.uint32)
    if val_size == 0:
        return everything, everything[:0]
    # The epochs use [seed, 1], [seed, 2], ... as seeds, so [seed, 0] is free for this.
    drawn = np.random.default_rng([seed, 0]).choice(rows, val_size, replace=False, shuffle=False)
    held_out = np.zeros(rows, bool)
    held_out[drawn] = True
    return everything[~held_out], everything[held_out]
