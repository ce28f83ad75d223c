"""Reading a receipt, and changing what a weights file says of itself."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mnist_softmax.records import npy, weights
from mnist_softmax.records.receipt import Receipt
from mnist_softmax.runs.model import load


def receipt_of(path: Path) -> Receipt:
    receipt = load(path).receipt
    assert receipt is not None
    return receipt


def change(path: Path, by: float = 0.0, **receipt: Any) -> None:
    """Change a weight, by a fraction of the largest, and entries of the receipt; its hash fits again."""
    array = np.load(path)
    array[0, 0] += np.float32(by * np.abs(array).max())
    receipt["array_sha256"] = weights.array_sha256(array)
    weights.save(path, array, msgspec.structs.replace(receipt_of(path), **receipt))


def json_of(path: Path) -> bytes:
    """The receipt as it stands in the file, read by NumPy alone."""
    with open(path, "rb") as file:
        np.load(file)
        return bytes(np.load(file).tobytes())


def change_json(path: Path, **receipt: Any) -> None:
    """Put other entries into the receipt, whatever its schema says of them."""
    text = json.dumps({**json.loads(json_of(path)), **receipt})
    path.write_bytes(npy.pack(np.load(path), text.encode()))


def strip(path: Path) -> None:
    """Leave the array alone in a file, as `numpy.save` writes it."""
    np.save(path, np.load(path))
