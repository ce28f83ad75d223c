"""The weights file: the array and its receipt in one .npy, so that they always belong together.

The first array is float32 (N + 1, L): rows 0..N-1 are W, the last row is B. `numpy.load` returns it. The
second is the receipt, JSON as uint8. A file with only the first array is read as weights without a receipt.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.errors import WeightsError
from mnist_softmax.files import atomic_write
from mnist_softmax.records import npy
from mnist_softmax.records.receipt import Receipt, decode, encode


class Weights(NamedTuple):
    """The content of a weights file.

    Attributes
    ----------
    array : (N + 1, L), or (N, L) if another program left out B; float32, finite.
    receipt : None where the file has none.
    sha256 : of the file.
    """

    array: NDArray[np.float32]
    receipt: Receipt | None
    sha256: str


def checkpoint_path(weights: Path) -> Path:
    """Path of a run's checkpoint: that of the future weights with ``.checkpoint`` added."""
    return weights.parent / f"{weights.name}.checkpoint"


def array_sha256(array: NDArray[np.float32]) -> str:
    """SHA-256 of an array's bytes as the file has them: little-endian, row by row."""
    return hashlib.sha256(np.ascontiguousarray(array, "<f4").data).hexdigest()


def save(path: Path, array: NDArray[np.float32], receipt: Receipt | None) -> str:
    """Write array and receipt at once; return the SHA-256 of the file.

    Raises
    ------
    WeightsError : `load` would refuse them; an old file is untouched, as after any error.
    UsageError, LocalIOError : see `files.atomic_write`.
    """
    npy.require(_is_weights, array.shape, array.dtype, path)
    text = [encode(receipt)] if receipt else []
    checked, _ = _checked(array, text, path)
    packed = npy.pack(checked.astype("<f4"), *text)
    with atomic_write(path) as file:
        file.write(packed)
    return hashlib.sha256(packed).hexdigest()


def load(path: Path) -> Weights:
    """Read a weights file.

    Without a receipt the array may be float32 or float64, of either byte order.

    Raises
    ------
    UsageError : no such file, or not a regular one.
    WeightsError : a wrong or non-finite array, a damaged receipt, or the receipt of another array.
    LocalIOError : it cannot be read.
    """
    (stored, *text), sha256 = npy.read(
        path, _is_weights, npy.is_text, remedy="make it with mnist-softmax train"
    )
    return Weights(*_checked(stored, [part.tobytes() for part in text], path), sha256)


def _checked(
    stored: NDArray[Any], text: list[bytes], path: Path
) -> tuple[NDArray[np.float32], Receipt | None]:
    """The array as float32, and the receipt; WeightsError if they are damaged or belong to others."""
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(stored, dtype=np.float32)
    if not np.isfinite(array).all():
        raise WeightsError("not finite", path, expected="finite float32 numbers", got="NaN or infinity")
    receipt = decode(text[0], Receipt, path, "the receipt") if text else None
    if receipt is not None:
        _check_pair(array, receipt, path)
    return array, receipt


def _is_weights(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    if dtype.kind != "f" or dtype.itemsize not in {4, 8}:
        return "float32 or float64"
    if len(shape) != 2 or min(shape) < 1 or shape[1] > 256:
        return "shape (N + 1, L) with at most 256 classes L"
    return ""


def _check_pair(array: NDArray[np.float32], receipt: Receipt, path: Path) -> None:
    expected = (receipt.columns + 1, len(receipt.class_names))
    if array.shape != expected:
        raise WeightsError("the receipt does not fit the weights", path, expected=expected, got=array.shape)
    if (found := array_sha256(array)) != receipt.array_sha256:
        raise WeightsError(
            "the receipt is for other weights", path, expected=f"SHA-256 {receipt.array_sha256}", got=found
        )
    epochs, done = receipt.hyperparameters.epochs, len(receipt.history)
    all_done = done == epochs or (receipt.hyperparameters.solver == "lbfgs" and 1 <= done < epochs)
    if not all_done or [entry.epoch for entry in receipt.history] != list(range(1, done + 1)):
        raise WeightsError("the receipt is damaged", path, expected=f"a history of {epochs} epochs")
