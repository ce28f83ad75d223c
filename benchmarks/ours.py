"""Our epoch of pixels, of directions and of a sweep, what directions cost, and in the same process our floor.

The floor is what no form of this step can avoid: gather, convert, the two products, and nothing else.
"""

import sys
from pathlib import Path

import numpy as np
from peer import BATCH_SIZE, LR, MOMENTUM, REG, serve

from mnist_softmax import __version__, blas
from mnist_softmax.data.open import open_split
from mnist_softmax.features import prepare
from mnist_softmax.features.steps import SCALE
from mnist_softmax.runs.sweep import grid, sweep
from mnist_softmax.settings import Settings
from mnist_softmax.training.descent import descend
from mnist_softmax.training.kernel import initial_state
from mnist_softmax.training.shuffle import epoch_order

CHAIN = ("deskew", "directions")

split, test = (open_split(data_dir=Path(sys.argv[1]), split=name) for name in ("train", "test"))
rows = np.arange(len(split.labels), dtype=np.uint32)
settings = Settings(lr=LR, reg=REG, momentum=MOMENTUM, batch_size=BATCH_SIZE, epochs=100_000)
epochs = descend(split.images, split.labels, rows, [settings], initial_state(784, 10, SCALE))
features = prepare.prepare(split.images, split.height, split.width, CHAIN)
settings_of_features = Settings.for_features(CHAIN, batch_size=BATCH_SIZE, epochs=100_000)
epochs_of_features = descend(
    features, split.labels, rows, [settings_of_features], initial_state(features.shape[1], 10, SCALE)
)
X, V = blas.zeros(BATCH_SIZE, 785), blas.zeros(blas.padded(10), 785)
F, gradient = np.zeros((len(V), BATCH_SIZE), np.float32), np.empty_like(V)
batch = np.empty((BATCH_SIZE, 784), np.uint8)


def epoch() -> None:
    """One epoch, as `mnist-softmax train` does it, but for the scores of rows held out."""
    next(epochs)


def epoch_of_directions() -> None:
    """The same of the features that `configs/directions.toml` trains on."""
    next(epochs_of_features)


def prepare_all() -> None:
    """Those features of all 70,000 images."""
    for part in (split, test):
        prepare.prepare(part.images, part.height, part.width, CHAIN)


def sweep_of_32() -> None:
    """One epoch of 32 models, as `mnist-softmax sweep` does it; no rows are held out but one."""
    base = Settings(epochs=1, batch_size=BATCH_SIZE, val_size=1)
    lists = {"lr": [0.05, 0.1, 0.2, 0.5], "reg": [0.0, 1e-5, 1e-4, 1e-3], "momentum": [0.0, MOMENTUM]}
    for _ in sweep(split, grid(base, lists)):
        pass


def floor() -> None:
    """The same batches into the same buffers, without softmax, loss and update."""
    order = epoch_order(rows, 0, 1, 784).astype(np.intp)
    with blas.one_thread():
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            split.images.take(order[start : start + BATCH_SIZE], axis=0, out=batch, mode="clip")
            np.copyto(X[:, :784], batch)
            for tile in blas.tiles(BATCH_SIZE, V.size):
                np.matmul(V, X[tile].T, out=F[:, tile])
            for tile in blas.tiles(V.shape[1], len(V) * BATCH_SIZE):
                np.matmul(F, X[:, tile], out=gradient[:, tile])


serve(
    f"mnist-softmax {__version__}, {blas.description()}",
    {
        "epoch": epoch,
        "floor": floor,
        "sweep": sweep_of_32,
        "directions": epoch_of_directions,
        "prepare": prepare_all,
    },
)
