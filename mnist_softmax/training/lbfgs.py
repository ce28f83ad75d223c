"""L-BFGS: every step uses all rows, and what earlier steps showed about the curvature of the loss.

The gradient of a mean over all rows is put together from those of its blocks (`blocks`), Eq. 26. A step goes
in the direction of Eq. 27, and is tried again, shorter, where the loss does not fall enough. Each try is a
pass over the rows.

At the start, where every probability is 1 / L, the curvature is known, Eq. 28. A sample of the rows gives it,
and with its inverse Eq. 27 begins. So the first step is nearly Newton's, and features of very different
scales, or that go together, take no more passes.

Source: D. C. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization", 1989.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas, softmax
from mnist_softmax.rows import OnRows, OnStep
from mnist_softmax.settings import Settings
from mnist_softmax.training.blocks import Blocks
from mnist_softmax.training.curvature import inverse_at_start
from mnist_softmax.training.kernel import Gradient

#: How many steps are remembered. A change of it changes the bits of a result.
MEMORY = 40
#: Rows, and numbers, that are multiplied at once, at most.
_PART_ROWS, _PART_NUMBERS = 512, 1 << 20
#: The least part that the loss must fall by of what the slope promises (Armijo's condition).
_LEAST_FALL = 1e-4
#: A promise below this part of the loss is lost in the rounding of float32.
_LEAST_PROMISE = 1e-9
_NO_CURVATURE = np.ones(1)

#: A step, and by how much it changed the gradient, each (L, N + 1) float64.
Pair: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Point:
    """Parameters, and the loss there.

    Attributes
    ----------
    V : (L, N + 1) float32; (W, B) / scale, transposed.
    cross_entropy : the mean over the rows, without the penalty; infinity before the first pass.
    loss, gradient : with the penalty; the gradient by (W, B), (L, N + 1) float64.
    """

    V: NDArray[np.float32]
    cross_entropy: float
    loss: float
    gradient: NDArray[np.float64]


@dataclass
class State:
    """What the next pass needs. Its arrays are replaced, not changed.

    Attributes
    ----------
    best : the point with the least loss so far.
    scale : the stored value that stands for 1: 255 for pixels.
    pairs : the last steps, at most `MEMORY`.
    length : of the step to try next, in units of the direction.
    epoch : how many passes are done.
    """

    best: Point
    scale: float
    pairs: tuple[Pair, ...] = ()
    length: float = 0.0
    epoch: int = 0

    def copy(self) -> "State":
        """A copy that later passes do not change."""
        return replace(self)

    def parameters(self) -> NDArray[np.float32]:
        """(N + 1, L) float32: rows 0..N-1 are W, the last is B."""
        return np.ascontiguousarray(self.best.V.T * np.float32(self.scale))


def initial_state(columns: int, classes: int, scale: float) -> State:
    """All zeros, as `kernel.initial_state`; the first pass computes the loss there."""
    shape = (classes, columns + 1)
    return State(Point(np.zeros(shape, np.float32), math.inf, math.inf, np.zeros(shape)), scale)


def minimise(
    blocks: Blocks,
    settings: Settings,
    state: State,
    *,
    on_rows: OnRows = lambda _: None,
    on_step: OnStep | None = None,
) -> Iterator[float]:
    """Lower the loss, from `state` on, a pass at a time.

    It ends when `settings.epochs` passes are done, or when rounding hides the next step. The first pass is
    spent at the start: after it the parameters are still those of `state`, which is updated in place.

    Parameters
    ----------
    blocks : the rows to train on, features as they are stored: `state.scale` in them stands for 1.
    on_rows : called with the number of rows just passed over.
    on_step : called before each pass; see `rows.OnStep`. It has no effect on the result.

    Yields
    ------
    The mean cross-entropy at the best point, after each pass, without the penalty; the loss never rises.
    """
    with blas.one_thread(), np.errstate(over="ignore", invalid="ignore"):
        inverse = inverse_at_start(blocks, state.scale, len(state.best.V), settings.reg)
        while state.epoch < settings.epochs:
            way = direction(state.best.gradient, state.pairs, inverse)
            slope = float(np.vdot(way, state.best.gradient))
            if state.epoch and not -slope * state.length > _LEAST_PROMISE * state.best.loss:
                return
            if on_step:
                on_step(state.epoch, state.parameters)
            V = (state.best.V + way * (state.length / state.scale)).astype(np.float32)
            total = blocks.total(sum_of_block, V, state.scale, on_rows=on_rows)
            _try(state, _point(total, V, len(blocks.rows), settings.reg, state.scale), slope)
            yield state.best.cross_entropy


def _try(state: State, point: Point, slope: float) -> None:
    """Go to the point that was tried, if the loss fell enough; else shorten the step."""
    best, length = state.best, state.length
    if not state.epoch:
        state.best, state.length = point, 1.0
    elif point.loss <= best.loss + _LEAST_FALL * length * slope:
        step = (point.V.astype(np.float64) - best.V) * state.scale
        change = point.gradient - best.gradient
        if np.vdot(step, change) > 0:  # else rounding hides the curvature, which is never negative
            state.pairs = (*state.pairs, (step, change))[-MEMORY:]
        state.best, state.length = point, 1.0
    else:  # the lowest point of the parabola through what is known, within limits
        lowest = -slope * length**2 / (2 * (point.loss - best.loss - slope * length))
        state.length = min(max(lowest, 0.1 * length), 0.5 * length) if lowest > 0 else 0.1 * length
    state.epoch += 1


def direction(
    gradient: NDArray[np.float64], pairs: Sequence[Pair], inverse: NDArray[np.float64] = _NO_CURVATURE
) -> NDArray[np.float64]:
    """Minus the gradient, times the inverse curvature that the pairs show, Eq. 27; of the gradient's shape.

    `inverse` is that of the curvature at the start, and stands for what no pair shows. The "two-loop
    recursion" of Liu and Nocedal never forms the matrix.
    """
    way = -gradient
    parts = []
    for step, change in reversed(pairs):
        part = np.vdot(step, way) / np.vdot(step, change)
        way -= part * change
        parts.append(part)
    way = _times(way, inverse)
    if pairs:
        step, change = pairs[-1]
        way *= np.vdot(step, change) / np.vdot(change, _times(change, inverse))
    for (step, change), part in zip(pairs, reversed(parts), strict=True):
        way += (part - np.vdot(change, way) / np.vdot(step, change)) * step
    return way


def _times(array: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = array @ inverse if inverse.ndim == 2 else array * inverse
    return product


class Sum(NamedTuple):
    """Over some rows: the cross-entropy, and (S - Y)^T X as the rows are stored, (L, N + 1) float64."""

    nats: float
    product: NDArray[np.float64]

    def plus(self, other: "Sum") -> "Sum":
        """The sum over the rows of both."""
        return Sum(self.nats + other.nats, self.product + other.product)


def _point(total: Sum, V: NDArray[np.float32], rows: int, reg: float, scale: float) -> Point:
    """The loss and its gradient at V from the sum over all rows, Eq. 26."""
    W = V.astype(np.float64) * scale
    W[:, -1] = 0  # the bias is not penalised
    cross_entropy = total.nats / rows
    loss = cross_entropy + float(softmax.penalty(W, reg))
    return Point(V, cross_entropy, loss, total.product / (rows * scale) + reg * W)


def sum_of_block(
    stored: NDArray[Any], labels: NDArray[Any], rows: NDArray[np.uint32], V: NDArray[np.float32], scale: float
) -> Sum:
    """The sum over the rows of a block. The calling process must have set one BLAS thread."""
    gradient, columns = Gradient(V, scale), V.shape[1]
    nats, product = 0.0, np.zeros(V.shape)
    most = max(1, min(_PART_ROWS, _PART_NUMBERS // columns))
    buffer = np.empty((min(most, len(rows)), columns - 1), stored.dtype)
    for start in range(0, len(rows), most):
        part = rows[start : start + most]
        work = gradient.workspace(len(part))
        taken = stored.take(part, axis=0, out=buffer[: len(part)], mode="clip")
        true_class = work.first_class + labels[part].astype(np.intp) * len(part)
        logits, sums = np.empty((2, 1, 1, len(part)), np.float32)
        gradient.run(work, taken, true_class[:, None], logits, sums, 1.0)
        product += gradient.product[:, :columns]
        nats += float((np.log(sums) - logits).sum(dtype=np.float64))
    return Sum(nats, product)
