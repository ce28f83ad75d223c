"""Minibatch gradient descent: the epochs around the step of `kernel`. Scoring is left to the caller."""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas
from mnist_softmax.rows import Gatherer, OnRows, OnStep, check_stored, cores, prefetched
from mnist_softmax.settings import Settings
from mnist_softmax.training.batches import blocks
from mnist_softmax.training.kernel import Block, State, Step


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """The factor of lr at `step` of `steps` (from 0): 1, or half a cosine wave from 1 down to 0, Eq. 19.

    Source: I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, without
    the restarts.
    """
    return 1.0 if schedule == "constant" else math.cos(math.pi * step / (2 * steps)) ** 2


def learning_rate_factors(schedule: str, first: int, steps: int) -> Iterator[tuple[float, float]]:
    """Of each step from `first` on, the factor of lr, and that over the factor of the step before, Eq. 22."""
    before = learning_rate_factor(schedule, max(first - 1, 0), steps)
    for step in range(first, steps):
        factor = learning_rate_factor(schedule, step, steps)
        yield factor, factor / before
        before = factor


def descend(
    stored: NDArray[Any],
    labels: NDArray[Any],
    rows: NDArray[np.uint32],
    models: Sequence[Settings],
    state: State,
    *,
    on_rows: OnRows = lambda _: None,
    on_step: OnStep | None = None,
    threads: int | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Train K models side by side, from `state` on, an epoch at a time.

    `state` is read once and updated in place: it holds the end of an epoch whenever a loss is yielded. A
    model that diverged has NaN for its loss and does not affect the others; when all have, the training ends.

    Parameters
    ----------
    stored : (M, N) uint8 or float32; `state.scale` in it stands for 1.
    labels : (M,) integers from 0 to L - 1.
    rows : ascending row numbers to train on, at least one.
    models : settings of the K models; lr, reg and momentum may differ, the rest is taken from the first.
    on_rows : called with the number of rows that were just trained on, after each block of at most 4,096.
    on_step : called before each step; see `rows.OnStep`. It has no effect on the result.
    threads : with 2, one gathers the rows ahead of the one that trains; None for the number of cores. It
        affects only the speed.

    Yields
    ------
    (K,) float64 after each epoch, the running loss: the mean cross-entropy of the batches, each computed
    before its own step, without the penalty.

    Raises
    ------
    TypeError : `stored` or `labels` has another dtype.
    """
    check_stored(stored, labels)
    first = models[0]
    with np.errstate(over="ignore"):  # an lr too large for float32 diverges, as it should
        step = Step(state, models)
    batches = -(-len(rows) // first.batch_size)
    rates = learning_rate_factors(first.schedule, state.epoch * batches, first.epochs * batches)
    if on_step:
        rates = _watched(rates, state, step, state.epoch * batches, on_step)
    threads = min(threads or cores(), 2)
    to_come = blocks(Gatherer(stored, threads), labels, rows, first, state.epoch)
    with closing(prefetched(to_come, threads)) as coming:
        while state.epoch < first.epochs:
            loss = _run_epoch(coming, step, rates, on_rows) / len(rows)
            step.store()
            # Losses are computed before each step: only V shows that the last step of an epoch diverged.
            finite = np.isfinite(state.V.reshape(len(models), -1)).all(axis=1) & np.isfinite(loss)
            state.epoch += 1
            yield np.where(finite, loss, np.nan)
            if not finite.any():
                break


def _watched(
    rates: Iterator[tuple[float, float]], state: State, step: Step, done: int, on_step: OnStep
) -> Iterator[tuple[float, float]]:
    """The same rates; each is asked for when the next step begins, which is when `on_step` is called."""

    def parameters() -> NDArray[np.float32]:
        step.store()  # the caller of `descend` looks at the state only at the end of an epoch
        return state.parameters()

    for number, rate in enumerate(rates, done):
        on_step(number, parameters)
        yield rate


def _run_epoch(
    coming: Iterator[Block], step: Step, rates: Iterator[tuple[float, float]], on_rows: OnRows
) -> NDArray[np.float64]:
    """Train on the blocks of an epoch; return each model's summed cross-entropy, (K,)."""
    nats: Any = 0.0
    with blas.one_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for block in coming:
            nats = nats + step.run(block, rates).sum(axis=(0, 2), dtype=np.float64)
            on_rows(block.labels.size)
            if block.ends_epoch or not np.isfinite(nats).any():
                break
    return np.asarray(nats)
