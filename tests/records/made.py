"""Weights, runs and receipts made by hand, and .npy files of any content."""

import io
import json
from typing import Any

import msgspec
import numpy as np

from mnist_softmax.data.split import Source, Split
from mnist_softmax.records import npy
from mnist_softmax.records.receipt import Epoch, Receipt, Run, encode, run_of
from mnist_softmax.records.weights import array_sha256
from mnist_softmax.settings import Settings

MNIST = Source("mnist")
#: Of images of 2 x 2 pixels, with three classes.
PARAMETERS = np.linspace(-1, 1, 5 * 3, dtype=np.float32).reshape(5, 3)


def run(epochs: int = 3, source: Source = MNIST, **changes: Any) -> Run:
    """A run that `PARAMETERS` may come from."""
    split = Split.of(
        np.zeros((20, 2, 2), np.uint8),
        np.arange(20) % 3,
        ("a", "b", "c"),
        source=source,
        files={"train-images-idx3-ubyte": "0" * 64},
    )
    made = run_of(split, Settings(epochs=epochs, val_size=2), (), 18)
    return msgspec.structs.replace(made, **changes)


def history(epochs: int) -> list[Epoch]:
    return [Epoch(i, 1 / i, 2 / (3 * i), 1 - 1 / (i + 1)) for i in range(1, epochs + 1)]


def receipt(array: Any = PARAMETERS, epochs: int = 3, **changes: Any) -> Receipt:
    """A receipt that fits an array, but for some changes of it."""
    of_run = {name: getattr(run(epochs), name) for name in Run.__struct_fields__}
    made = Receipt(
        **of_run,
        array_sha256=array_sha256(array),
        loss=1 / 3,
        train_accuracy=2 / 3,
        validation_accuracy=0.5,
        history=history(epochs),
    )
    return msgspec.structs.replace(made, **changes)


def facts(**changes: Any) -> Any:
    """The receipt as the JSON object that it is written as, with some changes that its type would refuse."""
    return {**json.loads(encode(receipt())), **changes}


def array_bytes(array: Any, **options: Any) -> bytes:
    """A .npy file of any array, also of one that the program would not write."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)
    return file.getvalue()


def claims(size: int) -> bytes:
    """The header of an array of `size` bytes, and none of them."""
    return npy.pack(b"").replace(b"(0,), }" + b" " * 20, f"({size},), }}".encode().ljust(27))
