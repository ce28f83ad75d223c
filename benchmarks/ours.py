"""Our epoch, an epoch of a sweep, and in the same process our floor.

The floor is what no form of this step can avoid: gather, convert, the two products, and nothing else.
"""

import sys
from pathlib import Path

import numpy as np
from peer import BATCH_SIZE, LR, MOMENTUM, REG, serve

from mnist_softmax import __version__, blas
from mnist_softmax.data import Source, folder_split
from mnist_softmax.run import Settings
from mnist_softmax.shuffle import epoch_order
from mnist_softmax.sweep import grid, sweep
from mnist_softmax.train import Model, Schedule, Step, initial_state, train

split = folder_split(Path(sys.argv[1]), "train")
rows = np.arange(len(split.labels), dtype=np.uint32)
model = Model(LR, REG, MOMENTUM)
epochs = train(split, rows, rows[:0], [model], Schedule(1_000_000, BATCH_SIZE), initial_state(784, 10))
step = Step(initial_state(784, 10), [model], BATCH_SIZE, BATCH_SIZE)


def epoch() -> None:
    """One epoch, as `mnist-softmax train` does it."""
    next(epochs)


def sweep_of_32() -> None:
    """One epoch of 32 models, as `mnist-softmax sweep` does it; no rows are held out but one."""
    base = Settings(epochs=1, batch_size=BATCH_SIZE, val_size=1)
    models = grid(base, [0.05, 0.1, 0.2, 0.5], [0.0, 1e-5, 1e-4, 1e-3], [0.0, MOMENTUM], [0])
    for _ in sweep(split, Source(data_dir=Path(sys.argv[1])), models):
        pass


def floor() -> None:
    """The same batches through the same buffers, without softmax, loss and update."""
    order = epoch_order(rows, 0, 1, 784).astype(np.intp)
    with blas.threads(1):
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            split.images.take(order[start : start + BATCH_SIZE], axis=0, out=step.batch, mode="clip")
            np.copyto(step.X_pixels, step.batch)
            np.matmul(step.V, step.X_T, out=step.F)
            np.matmul(step.F, step.X, out=step.gradients)


serve(
    f"mnist-softmax {__version__}, {blas.description()}",
    {"epoch": epoch, "floor": floor, "sweep": sweep_of_32},
)
