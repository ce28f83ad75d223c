"""Our epoch, and in the same process its floor: gather, convert, the two products and nothing else."""

import sys
from pathlib import Path

import numpy as np
from peer import BATCH_SIZE, LR, MOMENTUM, REG, serve

from mnist_softmax import __version__, blas
from mnist_softmax.data import folder_split
from mnist_softmax.train import Model, Schedule, Step, epoch_order, initial_state, train

split = folder_split(Path(sys.argv[1]), "train")
rows = np.arange(len(split.labels), dtype=np.uint32)
model = Model(LR, REG, MOMENTUM)
epochs = train(split, rows, rows[:0], [model], Schedule(1_000_000, BATCH_SIZE), initial_state(784, 10))
step = Step(initial_state(784, 10), [model], BATCH_SIZE, BATCH_SIZE)


def epoch() -> None:
    """One epoch, as `mnist-softmax train` does it."""
    next(epochs)


def floor() -> None:
    """The same batches through the same buffers, without softmax, loss and update."""
    order = epoch_order(rows, 0, 1).astype(np.intp)
    with blas.threads(1):
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            split.images.take(order[start : start + BATCH_SIZE], axis=0, out=step.batch, mode="clip")
            np.copyto(step.X_pixels, step.batch)
            np.matmul(step.V, step.X_T, out=step.F)
            np.matmul(step.F, step.X, out=step.gradients)


serve(f"mnist-softmax {__version__}, {blas.description()}", {"epoch": epoch, "floor": floor})
