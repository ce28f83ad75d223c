"""The loader: a Split of uint8 images and labels, one-hot labels, the train/validation split.

Pixels stay uint8 and mapped from the unpacked file: the trainer converts a batch at a time, so a data set
larger than memory loads as fast as a small one.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mnist_softmax.datasets import DATASETS, MNIST_SAMPLE, SPLIT_FILES
from mnist_softmax.errors import DataError, UsageError
from mnist_softmax.files import sha256_of
from mnist_softmax.idx import map_idx, pack_header, read_idx_gz

if TYPE_CHECKING:
    from mnist_softmax.cache import CachedFile

_SAMPLE_FOLDER = Path(__file__).parent / "sample"


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Attributes
    ----------
    images : (M, N) uint8, read-only; N = height * width; one row an image in C order.
    labels : (M,) uint8.
    height, width : of an image, in pixels.
    files : file name (canonical, without .gz) -> SHA-256 of the unpacked IDX file.
    preprocessing : names of the steps of `preprocess` that the images went through.
    known_classes : how many classes the dataset has; None where only the labels could say it.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    height: int
    width: int
    files: dict[str, str]
    preprocessing: tuple[str, ...] = ()
    known_classes: int | None = None

    @property
    def classes(self) -> int:
        """Number of classes that the labels imply: 1 + the largest."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Source:
    """Where rows come from: a known dataset, or a folder of IDX files. Exactly one is not None."""

    dataset: str | None = None
    data_dir: Path | None = None

    @property
    def label(self) -> str:
        """What to call it: the dataset's name, or the folder."""
        return self.dataset or str(self.data_dir)

    def class_names(self, split: Split) -> list[str]:
        """The names of the classes 0, 1, ...; of a folder, as many as the labels of `split` imply."""
        if self.dataset:
            return list(DATASETS[self.dataset].class_names)
        return [str(label) for label in range(split.classes)]


def _split(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], files: Mapping[str, str], where: object
) -> Split:
    rows, height, width = images.shape
    if rows != len(labels):
        raise DataError(
            "images and labels differ in number", where, expected=f"{rows} labels", got=len(labels)
        )
    if rows == 0:
        raise DataError("no rows", where, expected="at least one image")
    if height * width == 0:
        raise DataError("images without pixels", where, got=f"{height} x {width}")
    return Split(images.reshape(rows, height * width), labels, height, width, dict(files))


def cached_split(files: "Mapping[str, CachedFile]", split: str) -> Split:
    """Map a split of a dataset that `cache.ensure` has made sure of.

    Raises
    ------
    DataError : see `idx.map_idx`; images and labels differ in number; no rows.
    """
    images, labels = (files[name] for name in SPLIT_FILES[split])
    hashes = {file.name: file.raw_sha256 for file in (images, labels)}
    return _split(map_idx(images.path, 3), map_idx(labels.path, 1), hashes, images.path.parent)


def sample_split(split: str) -> Split:
    """Unpack a split of the built-in sample in memory (8 MB for "train").

    Raises
    ------
    DataError : a file of the installed package was altered.
    """
    hashes = {file.name: file.raw_sha256 or "" for file in MNIST_SAMPLE.files}
    for file in MNIST_SAMPLE.files:
        if file.name in SPLIT_FILES[split] and sha256_of(_SAMPLE_FOLDER / file.gz_name) != file.gz_sha256:
            raise DataError("the built-in sample is damaged", _SAMPLE_FOLDER, remedy="reinstall the package")
    images, labels = SPLIT_FILES[split]
    return _split(
        read_idx_gz(_SAMPLE_FOLDER / f"{images}.gz", 3),
        read_idx_gz(_SAMPLE_FOLDER / f"{labels}.gz", 1),
        {name: hashes[name] for name in (images, labels)},
        _SAMPLE_FOLDER,
    )


def sample_files() -> list[tuple[str, Path, int, str]]:
    """(name, path, bytes, SHA-256) of the built-in sample's four .gz files."""
    return [
        (file.gz_name, _SAMPLE_FOLDER / file.gz_name, file.gz_bytes, file.gz_sha256)
        for file in MNIST_SAMPLE.files
    ]


def _find(folder: Path, name: str) -> Path:
    dotted = name.replace("-idx", ".idx")
    for candidate in (name, dotted, f"{name}.gz", f"{dotted}.gz"):
        if (folder / candidate).exists():
            return folder / candidate
    raise UsageError(
        "no such file", folder / name, remedy="--data-dir takes a folder with IDX files, raw or .gz"
    )


def _read(path: Path, rank: int) -> NDArray[np.uint8]:
    read: Callable[[Path, int], NDArray[np.uint8]] = read_idx_gz if path.suffix == ".gz" else map_idx
    return read(path, rank)


def folder_split(folder: Path, split: str) -> Split:
    """Read a split from a folder of IDX files; nothing is written there.

    Raw files are preferred and mapped, .gz ones unpacked in memory; the name may have ``-`` or ``.`` before
    ``idx``. Images may have any size.

    Raises
    ------
    UsageError : the folder or a file does not exist.
    DataError : a file is wrong, images and labels differ in number, no rows.
    OSError : a file cannot be read.
    """
    if not folder.is_dir():
        raise UsageError("no such folder", folder)
    names = SPLIT_FILES[split]
    images_path, labels_path = (_find(folder, name) for name in names)
    images, labels = _read(images_path, 3), _read(labels_path, 1)
    checked = _split(images, labels, {}, folder)  # before the hashing, which takes a second per gigabyte
    hashes = (_raw_sha256(images_path, images), _raw_sha256(labels_path, labels))
    return replace(checked, files=dict(zip(names, hashes, strict=True)))


def _raw_sha256(path: Path, array: NDArray[np.uint8]) -> str:
    if path.suffix != ".gz":
        return sha256_of(path)
    digest = hashlib.sha256(pack_header(array.shape))
    digest.update(array.data)
    return digest.hexdigest()


def one_hot(labels: NDArray[Any], classes: int, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Y (M, L): 1 in the column of each row's label, 0 elsewhere.

    Raises
    ------
    ValueError : a label is not below `classes`.
    """
    if len(labels) and int(labels.max()) >= classes:
        raise ValueError(f"label {labels.max()} with {classes} classes")
    Y: NDArray[Any] = np.eye(classes, dtype=dtype)[labels]
    return Y


def train_validation_rows(
    rows: int, val_size: int, seed: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Row numbers to train on and to validate on, each ascending, drawn by `seed`.

    uint32, because row numbers are the only memory that grows with the data: 4 bytes a row here and 4 for
    the order of an epoch.

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
    # Epochs draw from [seed, 1], [seed, 2], ...; the split has the number 0 to itself.
    drawn = np.random.default_rng([seed, 0]).choice(rows, val_size, replace=False, shuffle=False)
    held_out = np.zeros(rows, bool)
    held_out[drawn] = True
    return everything[~held_out], everything[held_out]
