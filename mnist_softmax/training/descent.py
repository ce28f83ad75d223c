"""Minibatch gradient descent: the epochs around the step of `kernel`. Scoring is left to the caller."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas
from mnist_softmax.settings import Settings
from mnist_softmax.training.kernel import State, Step
from mnist_softmax.training.shuffle import ReadAhead, epoch_order

#: The most batches whose order, labels and losses are handled at once, and the most rows, times the models.
_BLOCK, _BLOCK_ROWS = 256, 1 << 18
#: Called with the number of rows that were just trained on, a few times an epoch.
OnRows = Callable[[int], object]
#: The dtypes that rows may have.
_STORED = (np.dtype(np.uint8), np.dtype(np.float32))


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """The factor of lr at `step` of `steps` (from 0): 1, or half a cosine wave from 1 down to 0, Eq. 19.

    Source: I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, without
    the restarts.
    """
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * step / steps))


def descend(
    stored: NDArray[Any],
    labels: NDArray[Any],
    rows: NDArray[np.uint32],
    models: Sequence[Settings],
    state: State,
    *,
    on_rows: OnRows = lambda _: None,
) -> Iterator[NDArray[np.float64]]:
    """Train K models side by side, from `state` on, an epoch at a time.

    `state` is updated in place and holds the end of an epoch whenever a loss is yielded. A model that
    diverged has NaN for its loss and does not affect the others; when all have, the epoch ends early.

    Parameters
    ----------
    stored : (M, N) uint8 or float32; `state.scale` in it stands for 1.
    labels : (M,) integers from 0 to L - 1.
    rows : ascending row numbers to train on, at least one.
    models : settings of the K models; lr, reg and momentum may differ, the rest is taken from the first.
    on_rows : called with the number of rows that were just trained on, a few times an epoch.

    Yields
    ------
    (K,) float64 after each epoch, the running loss: the mean cross-entropy of the batches, each computed
    before its own step, without the penalty.

    Raises
    ------
    TypeError : `stored` or `labels` has another dtype.
    """
    if stored.dtype not in _STORED or labels.dtype.kind not in "iu":
        raise TypeError(
            f"rows are uint8 or float32 and labels are integers, got {stored.dtype} and {labels.dtype}"
        )
    first = models[0]
    batch_size = min(first.batch_size, len(rows))
    full, short = divmod(len(rows), batch_size)
    sizes = [batch_size] + [short] * bool(short)
    with np.errstate(over="ignore"):  # an lr or reg too large for float32 diverges, as it should
        steps = [Step(state, models, batch_size, size) for size in sizes]
    batches = full + bool(short)
    while state.epoch < first.epochs:
        done, total = state.epoch * batches, first.epochs * batches
        factors = [learning_rate_factor(first.schedule, done + b, total) for b in range(batches)]
        order = epoch_order(rows, first.seed, state.epoch + 1, stored[0].nbytes)
        with blas.one_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss = _run_epoch(stored, labels, order, steps, factors, on_rows)
        # Losses are computed before each step: only V shows that the last step of an epoch diverged.
        finite = np.isfinite(state.V.reshape(len(models), -1)).all(axis=1) & np.isfinite(loss)
        state.epoch += 1
        yield np.where(finite, loss, np.nan)


def _blocks(steps: Sequence[Step], rows: int) -> Iterator[tuple[Step, int, int]]:
    """The blocks of an epoch: the step to use, the first row, and the one past the last.

    `steps` holds the step of full batches, then that of the short batch, if there is one.
    """
    start = 0
    for step in steps:
        end = rows - (rows - start) % step.batch_rows
        most = min(_BLOCK, _BLOCK_ROWS // step.batch_rows)
        size = max(1, most // step.models) * step.batch_rows
        for first in range(start, end, size):
            yield step, first, min(first + size, end)
        start = end


def _run_epoch(
    stored: NDArray[Any],
    labels: NDArray[Any],
    order: NDArray[np.uint32],
    steps: Sequence[Step],
    rate_factors: Sequence[float],
    on_rows: OnRows,
) -> NDArray[np.float64]:
    """Train on `order` once, in batches of the sizes of `steps`; return each model's running loss, (K,)."""
    nats, batch = np.zeros(steps[0].models), 0
    with ReadAhead(stored, order) as read_ahead:
        for step, start, stop in _blocks(steps, len(order)):
            read_ahead.reached(start)
            batches = (stop - start) // step.batch_rows
            factors = rate_factors[batch : batch + batches]
            nats = nats + _run_batches(stored, labels, order[start:stop], step, factors)
            batch += batches
            on_rows(stop - start)
            if not np.isfinite(nats).any():
                break
    return nats / len(order)


def _run_batches(
    stored: NDArray[Any],
    labels: NDArray[Any],
    order: NDArray[np.uint32],
    step: Step,
    rate_factors: Sequence[float],
) -> NDArray[np.float64]:
    """Train on ``len(rate_factors)`` batches; return each model's summed cross-entropy, (K,)."""
    batches = len(rate_factors)
    rows = order.astype(np.intp).reshape(batches, -1)
    label_index = step.place(labels[order])
    label_logits, sums = step.workspace(batches)
    for batch, rate_factor in enumerate(rate_factors):
        step.gradient(stored, rows[batch], label_index[batch], label_logits[batch], sums[batch])
        step.update(rate_factor)
    nats: NDArray[np.float64] = step.nats(label_logits, sums).sum(axis=(0, 2))
    return nats
