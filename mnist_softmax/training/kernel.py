"""One step of minibatch gradient descent, in its fast form. `softmax` has the formulas and the legend.

"Eq. 7" is an equation of docs/derivation.md. The step is the reference gradient, rearranged so that a batch
costs little more than its two matrix products:

- Rows stay as they are stored, uint8 for images. A batch is gathered, then converted into one reused float32
  buffer.
- X here is `scale` times the X of the derivation (255 for pixels) and has a last column of `scale`, so the
  parameters are held as V = (W, B)^T / scale, and the logits are V @ X.T, with no scaling and no separate
  bias. Eq. 20, Eq. 21.
- Classes come first and rows last, (L, rows), so max and sum over the classes run over contiguous memory.
- K models that see the same batches are stacked, V (K * L, N + 1): one gather, one product for all.
- Rows are multiplied in chunks small enough for BLAS's path for small products.
- A batch is summed in parts of about 1,024 rows, so memory does not grow with the batch size.

The update uses momentum: velocity = momentum * velocity + gradient, Eq. 17; W = W - rate * velocity, Eq.
18. With momentum 0 that is W = W - rate * gradient, plain gradient descent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.settings import Settings

#: OpenBLAS does not pack matrices for products of up to 100**3 multiplications (its interface/gemm.c, "small
#: matrix"), which takes half the time of the general path for 10 classes of 784 pixels.
_SMALL_PRODUCT = 100**3
#: Chunks of fewer rows cost more in calls than the small path saves.
_FEWEST_ROWS = 16
#: Rows gathered at a time.
_PART = 1024


@dataclass
class State:
    """The state at the end of an epoch: all that the next one needs.

    Attributes
    ----------
    V, velocity : (K * L, N + 1) float32; V is (W, B) / scale, transposed.
    scale : the stored value that stands for 1: 255 for pixels.
    epoch : how many epochs are done.
    """

    V: NDArray[np.float32]
    velocity: NDArray[np.float32]
    scale: float
    epoch: int = 0

    def copy(self) -> "State":
        """A copy that later epochs do not change."""
        return State(self.V.copy(), self.velocity.copy(), self.scale, self.epoch)

    def parameters(self) -> NDArray[np.float32]:
        """(N + 1, K * L) float32: rows 0..N-1 are W, the last is B."""
        return np.ascontiguousarray(self.V.T * np.float32(self.scale))


def initial_state(columns: int, classes: int, scale: float, models: int = 1) -> State:
    """All zeros: the loss is convex, so there is no symmetry to break."""
    shape = (models * classes, columns + 1)
    return State(np.zeros(shape, np.float32), np.zeros(shape, np.float32), scale)


class _Part:
    """Buffers for some rows of a batch, in chunks of R rows; the last chunk may be padded.

    Attributes
    ----------
    X : (chunks, R, N + 1) float32, the rows and the column of `scale`; X_rows and X_T are views of it.
    F : (chunks, K * L, R) float32, the logits, then S, then S - Y; F_models and F_flat are views of it.
    gradients : (chunks, K * L, N + 1) float32, see `Step.gradient`.
    """

    def __init__(self, rows: int, R: int, models: int, classes: int, width: int, scale: float) -> None:
        chunks, K, outputs = -(-rows // R), models, models * classes
        self.rows = rows
        X = np.zeros((chunks * R, width), np.float32)  # rows of zeros in the last chunk add nothing
        X[:rows, -1] = scale
        self.X_rows = X[:rows, :-1]
        self.X = X.reshape(chunks, R, width)
        self.X_T = self.X.transpose(0, 2, 1)

        self.F = np.empty((chunks, outputs, R), np.float32)
        self.F_models = self.F.reshape(chunks, K, classes, R)
        self.F_flat = self.F.reshape(-1)
        self.largest = np.empty((chunks, K, 1, R), np.float32)
        self.gradients = np.empty((chunks, outputs, width), np.float32)

        # F_flat has the axes (chunk, model, class, row in the chunk). first_class, (K, rows), has the index
        # of class 0 for each row of each model; class l is l * R further.
        row = np.arange(chunks * R).reshape(chunks, 1, R)
        first = (row // R * outputs + np.arange(K).reshape(1, K, 1) * classes) * R + row % R
        self.first_class = first.transpose(1, 0, 2).reshape(K, -1)[:, :rows].copy()

    def gradient(
        self,
        V: NDArray[np.float32],
        stored: NDArray[Any],
        rows: NDArray[np.intp],
        label_index: NDArray[np.intp],
        label_logits: NDArray[np.float32],
        sums: NDArray[np.float32],
    ) -> None:
        """Set `gradients`; the arguments are the part's share of those of `Step.gradient`."""
        np.copyto(self.X_rows, stored.take(rows, axis=0))
        F, sums = self.F_models, sums.reshape(self.largest.shape)
        np.matmul(V, self.X_T, out=self.F)
        np.maximum.reduce(F, axis=2, keepdims=True, out=self.largest)
        np.subtract(F, self.largest, out=F)
        np.copyto(label_logits, self.F_flat[label_index])
        np.exp(F, out=F)
        np.add.reduce(F, axis=2, keepdims=True, out=sums)
        np.divide(F, sums, out=F)  # S
        self.F_flat[label_index] -= 1  # S - Y
        np.matmul(self.F, self.X, out=self.gradients)


class Step:
    """One step of gradient descent for K models on batches of one size. The buffers are its only state.

    Parameters
    ----------
    state : each step updates its V and velocity in place.
    models : the settings of K models; only lr, reg and momentum are used here.
    batch_size : the run's batch size.
    batch_rows : rows in this step's batches; fewer than `batch_size` in the last one of an epoch.

    Attributes
    ----------
    models, batch_rows : K, and the rows in a batch.
    parts : each part of a batch, with its share of the rows, of the label logits and of the sums. All but the
        last have the same buffers.
    gradients : (chunks, K * L, N + 1) float32, see `gradient`.
    """

    def __init__(
        self,
        state: State,
        models: Sequence[Settings],
        batch_size: int,
        batch_rows: int,
    ) -> None:
        outputs, width = state.V.shape
        N, K = width - 1, len(models)
        classes = outputs // K
        self.V, self.velocity, self.models, self.batch_rows = state.V, state.velocity, K, batch_rows
        self.class_stride = R = _chunk_rows(batch_rows, outputs * width)
        most = -(-_PART // R) * R
        whole = _Part(min(most, batch_rows), R, K, classes, width, state.scale)
        short = batch_rows % whole.rows
        parts = [whole] * (batch_rows // whole.rows)
        parts += [_Part(short, R, K, classes, width, state.scale)] if short else []
        self.parts: list[tuple[_Part, slice, slice, slice]] = []
        row = at = 0
        for part in parts:
            rows, sums = slice(row, row + part.rows), slice(at, at + part.largest.size)
            self.parts.append((part, rows, slice(K * rows.start, K * rows.stop), sums))
            row, at = rows.stop, sums.stop
        self.gradients = whole.gradients if len(parts) == 1 else np.empty_like(whole.gradients)
        self.product = np.empty((outputs, width), np.float32)

        # `gradients`, summed over the chunks and divided by M * scale, is the gradient with respect to W and
        # B, Eq. 21. V = W / scale, so its step is divided by `scale` once more. Both divisions are in `unit`,
        # which multiplies the rates; velocity stays in units of `gradients`, so the penalty is divided by it.
        unit = 1 / (batch_size * state.scale * state.scale)
        self.momentum = _per_output([model.momentum for model in models], classes)
        self.scaled_lr = _per_output([model.lr * unit for model in models], classes)
        self.scaled_reg = np.zeros((outputs, width), np.float32)  # the last column is the bias, not penalised
        self.scaled_reg[:, :N] = np.repeat([model.reg / unit for model in models], classes)[:, None]
        self.short_batch = np.float32(batch_size / batch_rows)  # in the mean of fewer rows each weighs more

    def place(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        """Flat indices into each part's F of the logits of the true classes, (batches, K * batch_rows)."""
        by_batch = labels.astype(np.intp).reshape(-1, 1, self.batch_rows) * self.class_stride
        places = np.empty((len(by_batch), self.models * self.batch_rows), np.intp)
        for part, rows, of_models, _ in self.parts:
            places[:, of_models] = (by_batch[..., rows] + part.first_class).reshape(len(by_batch), -1)
        return places

    def workspace(self, batches: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `gradient` writes of each batch besides the gradient; `nats` reads it."""
        *_, of_models, of_sums = self.parts[-1]
        return np.empty((batches, of_models.stop), np.float32), np.empty((batches, of_sums.stop), np.float32)

    def gradient(
        self,
        stored: NDArray[Any],
        rows: NDArray[np.intp],
        label_index: NDArray[np.intp],
        label_logits: NDArray[np.float32],
        sums: NDArray[np.float32],
    ) -> None:
        """Set `gradients` to batch_size * scale times the gradient of one batch's cross-entropy, Eq. 21.

        Each chunk of rows has its own sum, which `update` adds up.

        Parameters
        ----------
        stored : all rows, uint8 or float32.
        rows : the row numbers of the batch.
        label_index : one row of `place`.
        label_logits, sums : one row of each array of `workspace`: they get the shifted logits of the true
            classes, and the sums of exp of the shifted logits.
        """
        several = len(self.parts) > 1
        if several:
            self.gradients.fill(0)
        for part, of_rows, of_models, of_sums in self.parts:
            part.gradient(
                self.V, stored, rows[of_rows], label_index[of_models], label_logits[of_models], sums[of_sums]
            )
            if several:
                self.gradients[: len(part.gradients)] += part.gradients
        np.multiply(self.gradients, self.short_batch, out=self.gradients)

    def nats(self, label_logits: NDArray[np.float32], sums: NDArray[np.float32]) -> NDArray[np.float64]:
        """The cross-entropy of each row under each model, (batches, K, batch_rows), from `workspace`."""
        batches, K = len(sums), self.models
        nats = np.empty((batches, K, self.batch_rows))
        for part, rows, of_models, of_sums in self.parts:
            logs = np.log(sums[:, of_sums].reshape(batches, -1, K, self.class_stride), dtype=np.float64)
            nats[..., rows] = logs.swapaxes(1, 2).reshape(batches, K, -1)[..., : part.rows]
            nats[..., rows] -= label_logits[:, of_models].reshape(batches, K, -1)
        return nats

    def update(self, rate_factor: float) -> None:
        """Update the velocity, and V with the learning rates times `rate_factor`. Eq. 17, Eq. 18."""
        velocity, product = self.velocity, self.product
        np.multiply(velocity, self.momentum, out=velocity)
        for gradient in self.gradients:
            np.add(velocity, gradient, out=velocity)
        np.multiply(self.V, self.scaled_reg, out=product)
        np.add(velocity, product, out=velocity)
        np.multiply(velocity, self.scaled_lr * np.float32(rate_factor), out=product)
        np.subtract(self.V, product, out=self.V)


def _chunk_rows(batch_rows: int, multiplications_per_row: int) -> int:
    """Rows in a chunk: as many as the small path allows, or a part where it does not pay, evenly spread."""
    rows = _SMALL_PRODUCT // multiplications_per_row
    chunks = -(-batch_rows // (rows if rows >= _FEWEST_ROWS else _PART))
    return -(-batch_rows // chunks)


def _per_output(values: list[float], classes: int) -> Any:
    """One value per output, as a column; if all are equal a scalar, which is faster."""
    if len(set(values)) == 1:
        return np.float32(values[0])
    return np.repeat(np.asarray(values, np.float32), classes)[:, None]
