"""Read images and labels from .npz files as Keras, MedMNIST and K49 have them.

Nothing is unpickled, and memory grows with what is there, not with what a header claims.
"""

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.npy import LONGEST_HEADER, read_npy_header
from mnist_softmax.data.patience import Notify
from mnist_softmax.data.zips import open_zip, zip_member
from mnist_softmax.errors import DataError, UsageError, brief
from mnist_softmax.files import open_regular

#: Names of the arrays of images and of labels in one file: Keras', MedMNIST's.
_NAMES = (("x_{}", "y_{}"), ("{}_images", "{}_labels"))
#: A file of one array each, as K49 has.
_PARTS = re.compile(r"(.+-)(?:train|test)-(?:imgs|labels)\.npz")
_CHUNK = 1 << 20


def npz_files(folder: Path, split: str) -> tuple[Path, ...]:
    """The .npz of a folder, or two of them, images and labels; () if there is none.

    Raises
    ------
    UsageError : there are several, and they do not belong together.
    """
    found = sorted(path.name for path in folder.glob("*.npz"))
    parts = [match[1] for match in map(_PARTS.fullmatch, found) if match]
    if found and len(parts) == len(found) and len(set(parts)) == 1:
        return tuple(folder / f"{parts[0]}{split}-{what}.npz" for what in ("imgs", "labels"))
    if len(found) > 1:
        got, remedy = ", ".join(found), "name one of them: --data-dir FILE.npz"
        raise UsageError("several .npz files", folder, expected="one", got=got, remedy=remedy)
    return tuple(folder / name for name in found)


def read_npz(paths: tuple[Path, ...], split: str, notify: Notify) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Images (M, height, width) or (M, N), uint8, and labels (M,), integers, of one .npz or of two.

    `notify` is told of validation rows, which are left out.

    Raises
    ------
    UsageError : there is no such file.
    DataError : not a .npz, damaged, without the arrays, or arrays of another shape or type.
    OSError : a file cannot be read.
    """
    for path in paths:
        if not path.exists():
            raise UsageError("no such file", path)
    if len(paths) == 2:
        places = [(path, "arr_0") for path in paths]
    else:
        names = _names(paths[0])
        pair = next((pair for pair in _pairs(split) if names.issuperset(pair)), None)
        if pair is None:
            expected = ", or ".join(" and ".join(pair) for pair in _pairs(split))
            got = brief(", ".join(sorted(names)))
            raise DataError(f"no arrays for {split}", paths[0], expected=expected, got=got)
        if split == "train" and "val_images" in names:
            notify(f"the validation rows (val_images, val_labels) are left out: {paths[0]}")
        places = [(paths[0], name) for name in pair]
    images, labels = (
        _read(*place, fault)
        for place, fault in zip(places, (_fault_of_images, _fault_of_labels), strict=True)
    )
    return images.reshape(images.shape[:3]), labels.reshape(len(labels))


def _pairs(split: str) -> list[tuple[str, str]]:
    return [(images.format(split), labels.format(split)) for images, labels in _NAMES]


def _names(path: Path) -> set[str]:
    """The names of the arrays in a file."""
    with open_regular(path, DataError) as file:
        return {name.removesuffix(".npy") for name in open_zip(file, path).namelist()}


def _fault_of_images(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """What was expected instead, or "". A last dimension of 1 is that of one channel."""
    if dtype != np.uint8:
        return "pixels of type uint8, 0 to 255"
    if len(shape) == 4 and shape[3] != 1:
        return "grey images, (rows, height, width); these have colours"
    return "" if len(shape) in (2, 3, 4) else "images, (rows, height, width)"


def _fault_of_labels(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    right = dtype.kind in "iu" and shape[1:] in ((), (1,)) and shape
    return "" if right else "one integer a row, (rows,) or (rows, 1)"


def _read(path: Path, name: str, fault: Callable[[tuple[int, ...], np.dtype[Any]], str]) -> NDArray[Any]:
    """One array of a .npz, if `fault` finds none in its shape and type."""
    with open_regular(path, DataError) as file, zip_member(file, f"{name}.npy", path) as (member, size):
        head = io.BytesIO(member.read(LONGEST_HEADER))  # whatever length it claims to have
        try:
            shape, fortran_order, dtype = read_npy_header(head)
        except ValueError as error:
            raise DataError(f"{name} is not an array", path, got=error) from error
        if expected := fault(shape, dtype):
            got = f"{dtype} of shape {shape}"
            raise DataError(f"wrong array {name}", path, expected=expected, got=got)
        left = size - head.tell()
        if math.prod(shape) * dtype.itemsize != left:
            expected = f"{math.prod(shape) * dtype.itemsize} bytes as its header says"
            raise DataError(f"wrong array {name}", path, expected=expected, got=left)
        body = bytearray(head.read())
        while chunk := member.read(_CHUNK):
            body += chunk
    if len(body) != left:
        raise DataError(f"{name} is cut short", path, expected=f"{left} bytes", got=len(body))
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran_order else "C")
