"""Minibatch gradient descent, and the fast form of one step. `softmax` has the formulas and the letters.

"Eq. 7" is an equation of docs/derivation.md. The step is the reference gradient, rearranged so that a batch
costs little more than its two matrix products:

- Pixels stay uint8 in memory. A batch is gathered into one reused buffer and converted to float32 there.
- X here holds pixels in 0..255 and a last column of 255, so the parameters are held as V = (W, B)^T / 255 and
  the logits V @ X.T need neither a scaling nor a bias of their own. Eq. 20, Eq. 21.
- Classes come first and rows last, (L, rows), so max and sum over the classes run over contiguous memory.
- K models that see the same batches stand stacked, V (K * L, N + 1): one gather, one product for all.
- Rows are multiplied in chunks small enough for BLAS's path for small products.

A descent step is momentum's: velocity = momentum * velocity + gradient, Eq. 17; W = W - rate * velocity,
Eq. 18. With momentum 0 that is W = W - rate * gradient, plain gradient descent.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas
from mnist_softmax.data import Split
from mnist_softmax.metrics import cross_entropy_and_accuracy
from mnist_softmax.shuffle import ReadAhead, epoch_order

#: OpenBLAS multiplies small matrices without packing them up to 100**3 multiplications (its
#: interface/gemm.c, "small matrix"): half of the time of the general path for 10 classes of 784 pixels.
_SMALL_PRODUCT = 100**3
#: Fewer rows than this in a chunk cost more in calls than the small path saves.
_FEWEST_ROWS = 16
#: Batches whose order, labels and losses are prepared at once.
_BLOCK = 256


@dataclass(frozen=True)
class Model:
    """What may differ between models that are trained side by side: lr > 0, reg >= 0, 0 <= momentum < 1."""

    lr: float = 0.2
    reg: float = 1e-4
    momentum: float = 0.9


@dataclass(frozen=True)
class Schedule:
    """What models trained side by side share. `schedule` is "constant" or "cosine", down to 0."""

    epochs: int = 10
    batch_size: int = 128
    schedule: str = "cosine"
    seed: int = 0


@dataclass
class State:
    """The end of an epoch: all that the next one needs.

    Attributes
    ----------
    V, velocity : (K * L, N + 1) float32; V is (W, B) / 255, transposed.
    epoch : how many epochs are done.
    """

    V: NDArray[np.float32]
    velocity: NDArray[np.float32]
    epoch: int = 0

    def copy(self) -> "State":
        """A state that later epochs do not change."""
        return State(self.V.copy(), self.velocity.copy(), self.epoch)

    def parameters(self) -> NDArray[np.float32]:
        """(N + 1, K * L) float32: rows 0..N-1 are W, the last is B."""
        return np.ascontiguousarray(self.V.T * np.float32(255))


def initial_state(pixels: int, classes: int, models: int = 1) -> State:
    """All zeros: the loss is convex, so there is no symmetry to break."""
    shape = (models * classes, pixels + 1)
    return State(np.zeros(shape, np.float32), np.zeros(shape, np.float32))


@dataclass(frozen=True)
class EpochResult:
    """What an epoch showed, per model: (K,) float64 arrays.

    Attributes
    ----------
    epoch : 1 for the first.
    running_loss : mean cross-entropy of the batches, each as it was before its own step; no penalty.
    validation_loss, validation_accuracy : after the epoch; None with no rows held out.
    """

    epoch: int
    running_loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64] | None = field(default=None)
    validation_accuracy: NDArray[np.float64] | None = field(default=None)


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """What multiplies lr at `step` of `steps` (from 0): 1, or half a cosine wave from 1 down to 0, Eq. 19.

    Source: I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, without
    the restarts.
    """
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * step / steps))


class Step:
    """One step of gradient descent for K models on batches of one size. The buffers are its only state.

    Parameters
    ----------
    state : whose V and velocity each step updates in place.
    models : K models' lr, reg and momentum.
    batch_size : the run's batch size.
    batch_rows : rows in this step's batches; fewer than `batch_size` in the last one of an epoch.
    """

    def __init__(self, state: State, models: Sequence[Model], batch_size: int, batch_rows: int) -> None:
        outputs, columns = state.V.shape
        pixels, K = columns - 1, len(models)
        classes = outputs // K
        self.V, self.velocity, self.batch_rows = state.V, state.velocity, batch_rows
        chunks = _chunks(batch_rows, outputs * columns)
        R = -(-batch_rows // chunks)  # rows in a chunk, the last one filled up with rows that never count

        X = np.zeros((chunks * R, columns), np.float32)
        X[:batch_rows, pixels] = 255
        self.batch = np.empty((batch_rows, pixels), np.uint8)
        self.X_pixels = X[:batch_rows, :pixels]
        self.X = X.reshape(chunks, R, columns)
        self.X_T = self.X.transpose(0, 2, 1)

        self.F = np.empty((chunks, outputs, R), np.float32)
        self.F_models = self.F.reshape(chunks, K, classes, R)
        self.F_flat = self.F.reshape(-1)
        self.largest = np.empty((chunks, K, 1, R), np.float32)
        self.gradients = np.empty((chunks, outputs, columns), np.float32)
        self.product = np.empty((outputs, columns), np.float32)

        # Where row r of model k has class 0 in F_flat; class l lies l * R further.
        row = np.arange(chunks * R).reshape(chunks, 1, R)
        first = (row // R * outputs + np.arange(K).reshape(1, K, 1) * classes) * R + row % R
        self.first_class = first.transpose(1, 0, 2).reshape(K, -1)[:, :batch_rows].copy()
        self.class_stride = R
        self.padding = chunks * R - batch_rows

        # The sum that the products give, times 1/M for the mean and 1/255 for the pixels in X, is the
        # gradient by W and B, Eq. 21. V moves by a 255th of what they move by, hence the second 1/255 in
        # `factor`. It goes onto the rates, so the velocity is held without it.
        factor = 1 / (batch_size * 255.0 * 255.0)
        self.momentum = _per_output([model.momentum for model in models], classes)
        self.lr = _per_output([model.lr * factor for model in models], classes)
        self.penalty = np.zeros((outputs, columns), np.float32)
        self.penalty[:, :pixels] = np.repeat([model.reg / factor for model in models], classes)[:, None]
        self.short_batch = np.float32(batch_size / batch_rows)  # the mean of fewer rows weighs each more

    def place(self, labels: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Where the logits of the right classes lie in F, (batches, K * batch_rows), for `labels`."""
        by_batch = labels.astype(np.intp).reshape(-1, 1, self.batch_rows) * self.class_stride
        places: NDArray[np.intp] = (by_batch + self.first_class).reshape(len(by_batch), -1)
        return places

    def gradient(
        self,
        images: NDArray[np.uint8],
        rows: NDArray[np.intp],
        right: NDArray[np.intp],
        right_logits: NDArray[np.float32],
        sums: NDArray[np.float32],
    ) -> None:
        """Leave the gradient of one batch's cross-entropy in `gradients`, by Eq. 21 without its 1 / (255 M).

        Each chunk of rows has a sum of its own there.

        Parameters
        ----------
        images : (M, N) uint8, of which the batch is `rows`.
        right : one row of `place`.
        right_logits : (K * batch_rows,) gets the shifted logits of the right classes.
        sums : (chunks, K, 1, R) gets the sums of exp of the shifted logits: log of them minus the right
            logits is the cross-entropy.
        """
        images.take(rows, axis=0, out=self.batch, mode="clip")  # without a mode it would buffer
        np.copyto(self.X_pixels, self.batch)
        F = self.F_models
        np.matmul(self.V, self.X_T, out=self.F)
        np.maximum.reduce(F, axis=2, keepdims=True, out=self.largest)
        np.subtract(F, self.largest, out=F)
        self.F_flat.take(right, out=right_logits, mode="clip")
        np.exp(F, out=F)
        np.add.reduce(F, axis=2, keepdims=True, out=sums)
        np.divide(F, sums, out=F)  # S
        self.F_flat[right] -= 1  # S - Y
        if self.padding:
            self.F[-1, :, -self.padding :] = 0
        np.matmul(self.F, self.X, out=self.gradients)
        if self.short_batch != 1:
            np.multiply(self.gradients, self.short_batch, out=self.gradients)

    def descend(self, rate_factor: float) -> None:
        """Move V along the gradient with the learning rates times `rate_factor`. Eq. 17, Eq. 18."""
        velocity, product = self.velocity, self.product
        np.multiply(velocity, self.momentum, out=velocity)
        for gradient in self.gradients:
            np.add(velocity, gradient, out=velocity)
        np.multiply(self.V, self.penalty, out=product)
        np.add(velocity, product, out=velocity)
        np.multiply(velocity, self.lr * np.float32(rate_factor), out=product)
        np.subtract(self.V, product, out=self.V)


def _chunks(batch_rows: int, multiplications_per_row: int) -> int:
    """In how many chunks to multiply a batch: as few as the small path allows, 1 where it never applies."""
    rows = _SMALL_PRODUCT // multiplications_per_row
    return -(-batch_rows // rows) if rows >= _FEWEST_ROWS else 1


def _per_output(values: list[float], classes: int) -> Any:
    """One value per output of the stack, as a column; a scalar, which is faster, where all are the same."""
    if len(set(values)) == 1:
        return np.float32(values[0])
    return np.repeat(np.asarray(values, np.float32), classes)[:, None]


def _run_batches(
    split: Split,
    order: NDArray[np.uint32],
    step: Step,
    rate_factors: Sequence[float],
) -> NDArray[np.float64]:
    """Train on ``len(rate_factors)`` batches; return each model's summed cross-entropy, (K,)."""
    batches, K = len(rate_factors), step.F_models.shape[1]
    rows = order.astype(np.intp).reshape(batches, -1)
    right = step.place(split.labels[order])
    right_logits = np.empty(right.shape, np.float32)
    sums = np.empty((batches, *step.largest.shape), np.float32)
    for batch, rate_factor in enumerate(rate_factors):
        step.gradient(split.images, rows[batch], right[batch], right_logits[batch], sums[batch])
        step.descend(rate_factor)
    log_sums = np.log(sums, dtype=np.float64).swapaxes(1, 2).reshape(batches, K, -1)[..., : step.batch_rows]
    right_of_model = right_logits.reshape(batches, K, -1)
    nats: NDArray[np.float64] = log_sums.sum(axis=(0, 2)) - right_of_model.sum(axis=(0, 2), dtype=np.float64)
    return nats


def _run_epoch(
    split: Split,
    order: NDArray[np.uint32],
    steps: Sequence[Step],
    rate_factors: Sequence[float],
    on_rows: Callable[[int], object],
) -> NDArray[np.float64]:
    """Train on `order` once, in batches of the sizes of `steps`; return each model's running loss, (K,)."""
    nats, done, batch = np.zeros(steps[0].F_models.shape[1]), 0, 0
    read_ahead = ReadAhead(split.images, order)
    for step in steps:
        block = max(1, _BLOCK // step.F_models.shape[1])
        while batches := min(block, (len(order) - done) // step.batch_rows):
            count = batches * step.batch_rows
            read_ahead.reached(done)
            nats = nats + _run_batches(
                split, order[done : done + count], step, rate_factors[batch : batch + batches]
            )
            done, batch = done + count, batch + batches
            on_rows(count)
            if not np.isfinite(nats).any():
                break
    return nats / len(order)


def _validate(
    split: Split, rows: NDArray[np.uint32], models: Sequence[Model], state: State
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    if not len(rows):
        return None, None
    return cross_entropy_and_accuracy(state.parameters(), split.images, split.labels, rows, len(models))


def train(
    split: Split,
    train_rows: NDArray[np.uint32],
    validation_rows: NDArray[np.uint32],
    models: Sequence[Model],
    schedule: Schedule,
    state: State,
    *,
    threads: int = 1,
    on_rows: Callable[[int], object] = lambda _: None,
) -> Iterator[EpochResult]:
    """Train K models side by side, from `state` on, an epoch at a time.

    `state` is updated in place and holds the end of an epoch whenever an EpochResult is yielded. A model that
    diverged has NaN for its running loss and disturbs no other; when all have, the epoch ends early.

    Parameters
    ----------
    split : the data; its labels are below L.
    train_rows, validation_rows : ascending row numbers.
    models, schedule : the hyperparameters.
    threads : of BLAS. One thread gives the same bits on any machine of the same kind.
    on_rows : called with the number of rows that were just trained on, a few times an epoch.
    """
    batch_size = min(schedule.batch_size, len(train_rows))
    full, short = divmod(len(train_rows), batch_size)
    sizes = [batch_size] * bool(full) + [short] * bool(short)
    with np.errstate(over="ignore"):  # an lr or reg beyond float32 diverges, as too large ones do
        steps = [Step(state, models, batch_size, rows) for rows in sizes]
    batches = full + bool(short)
    while state.epoch < schedule.epochs:
        first, total = state.epoch * batches, schedule.epochs * batches
        factors = [learning_rate_factor(schedule.schedule, first + b, total) for b in range(batches)]
        order = epoch_order(train_rows, schedule.seed, state.epoch + 1, split.images.shape[1])
        with blas.threads(threads), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss = _run_epoch(split, order, steps, factors, on_rows)
        loss[~np.isfinite(state.V.reshape(len(models), -1)).all(axis=1)] = np.nan
        loss[~np.isfinite(loss)] = np.nan
        state.epoch += 1
        yield EpochResult(state.epoch, loss, *_validate(split, validation_rows, models, state))
