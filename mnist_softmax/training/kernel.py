"""One step of minibatch gradient descent, in its fast work. `softmax` has the formulas and the legend.

"Eq. 7" is an equation of docs/derivation.md. The step is the reference gradient, rearranged so that a batch
costs little more than its two matrix products:

- Rows stay as they are stored, uint8 for images, until a batch is converted into one reused float32 buffer.
- X here is `scale` times the X of the derivation (255 for pixels) and has a column of `scale` after the
  features, so the parameters are held as V = (W, B)^T / scale, and the logits are V @ X.T, with no scaling
  and no separate bias. Eq. 20, Eq. 21.
- Classes come first and rows last, (L, rows), so max and sum over the classes run over contiguous memory.
- K models that see the same batches are stacked, V (K * L, N + 1): one product for all.
- The learning rate multiplies S - Y, where it costs nothing, so the velocity is held times the rate, Eq. 22:
  what Eq. 17 and Eq. 18 do takes fewer passes. With momentum 0 that is plain gradient descent.
- Matrices are padded with zeros to the sizes that BLAS multiplies fastest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas
from mnist_softmax.settings import Settings


@dataclass
class State:
    """The state at the end of an epoch: all that the next one needs.

    Attributes
    ----------
    V : (K * L, N + 1) float32; (W, B) / scale, transposed.
    velocity : of the same shape, in units of V and times the learning rate: what the last step subtracted.
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


class Cut(NamedTuple):
    """Where a block begins and ends in the order of its epoch, and what is in it: parts of one size.

    A part is a whole batch, or, so that memory does not grow with the batch, 256 or fewer rows of one.
    """

    start: int
    stop: int
    #: Rows of a part, and of the batch that it belongs to.
    rows: int
    batch_rows: int
    #: How many parts a batch has, and which of them, from 0, is the first in the block.
    parts: int
    first: int


class Block(NamedTuple):
    """Rows of an epoch as they are stored, (parts, rows, N), and their labels, (parts, rows)."""

    cut: Cut
    rows: NDArray[Any]
    labels: NDArray[np.intp]
    ends_epoch: bool = True


class _Workspace:
    """What the parts of one number of rows share.

    Attributes
    ----------
    X : (rows, N + 1 and more) float32; `features` is a view of it, without the bias and what fills it up.
    F : (K * L and more, rows) float32; the logits, then rate * S, then rate * (S - Y). `F_models`, of the
        shape (K, L, rows), and `F_flat` are views of it.
    by_row : (K, 1, rows); the largest logits, then the rates over the sums.
    first_class : (K, rows); where in `F_flat` the logit of class 0 is. That of class l is l * rows further.
    row_tiles, column_tiles : slices of X for the two products, each with where the product goes.
    """

    def __init__(self, rows: int, shape: tuple[int, int], scale: float, models: int, product: Any) -> None:
        outputs, columns = shape
        padded, width = product.shape
        self.X = blas.zeros(rows, columns)
        self.X[:, columns - 1] = scale
        self.features = self.X[:, : columns - 1]
        self.F = np.zeros((padded, rows), np.float32)
        self.F_models = self.F[:outputs].reshape(models, -1, rows)
        self.F_flat = self.F.reshape(-1)
        self.by_row = np.empty((models, 1, rows), np.float32)
        self.first_class = np.arange(models)[:, None] * self.F_models[0].size + np.arange(rows)
        self.row_tiles = [(tile, self.F[:, tile]) for tile in blas.tiles(rows, outputs * width)]
        self.column_tiles = [(tile, product[:, tile]) for tile in blas.tiles(width, outputs * rows)]


class Gradient:
    """The gradient of the cross-entropy of some rows, for K models that see the same rows.

    Parameters
    ----------
    V : (K * L, N + 1) float32, see `State`; it is copied.
    scale : the stored value that stands for 1.

    Attributes
    ----------
    V : the copy, whose rows may be longer; what fills them up is zero.
    product : of the shape of `V`: what `run` computed last.
    """

    def __init__(self, V: NDArray[np.float32], scale: float, models: int = 1) -> None:
        self._shape, self._scale, self._models = V.shape, scale, models
        outputs, columns = V.shape
        # What fills up the matrices stays zero: rows of V without logits, columns that no row has.
        self._V_padded = blas.zeros(blas.padded(outputs), columns)
        self.V = self._V_padded[:outputs]
        self.V[:, :columns] = V
        self._product_padded = np.empty_like(self._V_padded)
        self.product = self._product_padded[:outputs]
        self._workspaces: dict[int, _Workspace] = {}

    def workspace(self, rows: int) -> _Workspace:
        """What parts of so many rows share."""
        if rows not in self._workspaces:
            self._workspaces[rows] = _Workspace(
                rows, self._shape, self._scale, self._models, self._product_padded
            )
        return self._workspaces[rows]

    def run(
        self,
        work: _Workspace,
        rows: NDArray[Any],
        true_class: NDArray[np.intp],
        logits: NDArray[np.float32],
        sums: NDArray[np.float32],
        rate: Any,
    ) -> None:
        """Set `product` to rate * (S - Y)^T X, Eq. 21; set the shifted true logits, and the sums."""
        X, F, by_row = work.X, work.F_models, work.by_row
        np.copyto(work.features, rows)
        for tile, F_tile in work.row_tiles:
            np.matmul(self._V_padded, X[tile].T, out=F_tile)
        np.maximum.reduce(F, axis=1, keepdims=True, out=by_row)
        np.subtract(F, by_row, out=F)
        work.F_flat.take(true_class, out=logits, mode="clip")
        np.exp(F, out=F)
        np.add.reduce(F, axis=1, keepdims=True, out=sums)
        np.divide(rate, sums, out=by_row)
        np.multiply(F, by_row, out=F)  # rate * S
        work.F_flat[true_class] -= rate  # rate * (S - Y)
        for tile, product_tile in work.column_tiles:
            np.matmul(work.F, X[:, tile], out=product_tile)


class Step:
    """One step of gradient descent for K models that see the same batches.

    Parameters
    ----------
    state : where the steps begin; `store` puts there where they have come to.
    models : the settings of K models; only lr, reg and momentum are used here.
    """

    def __init__(self, state: State, models: Sequence[Settings]) -> None:
        self._state, self._models = state, len(models)
        outputs, columns = state.V.shape
        self._gradient = Gradient(state.V, state.scale, len(models))
        self._V, self._velocity = self._gradient.V, blas.zeros(outputs, columns)
        self._velocity[:, :columns] = state.velocity
        self._decay = np.empty_like(self._V)
        self._bias_decay = self._decay[:, columns - 1]

        self._lr = _per_model([model.lr for model in models], (-1, 1, 1))
        self._momentum, self._lr_reg = (
            _per_model(np.repeat(values, outputs // len(models)).tolist(), (-1, 1))
            for values in ([model.momentum for model in models], [model.lr * model.reg for model in models])
        )

    def store(self) -> None:
        """Copy V and the velocity to the state."""
        columns = self._state.V.shape[1]
        self._state.V[:], self._state.velocity[:] = self._V[:, :columns], self._velocity[:, :columns]

    def run(self, block: Block, rates: Iterator[tuple[float, float]]) -> NDArray[np.float32]:
        """Train on a block of batches, or of parts of a batch.

        Parameters
        ----------
        rates : one is taken for each batch: the factor of lr in it, and that over the factor in the batch
            before.

        Returns
        -------
        (parts, K, rows) float32, the cross-entropy of each row under each model before the step of its batch.
        """
        count, rows = block.labels.shape
        work, part = self._gradient.workspace(rows), block.cut.first
        true_class = work.first_class + block.labels[:, None] * rows
        logits, sums = np.empty((2, count, self._models, 1, rows), np.float32)
        for of_part in zip(block.rows, true_class[:, :, None], logits, sums, strict=True):
            if part == 0:
                self._begin(block.cut.batch_rows, *next(rates))
            self._gradient.run(work, *of_part, self._rate)
            np.add(self._velocity, self._gradient.product, out=self._velocity)
            part = (part + 1) % block.cut.parts
            if part == 0:
                np.subtract(self._V, self._velocity, out=self._V)
        return (np.log(sums, out=sums) - logits)[:, :, 0]

    def _begin(self, batch_rows: int, factor: float, ratio: float) -> None:
        """The velocity without the gradient, Eq. 22: it decays, and the penalty is added."""
        # X has a factor `scale` too many, and V = W / scale moves by the step of W over `scale`.
        self._rate = self._lr * (factor / batch_rows / self._state.scale**2)
        np.multiply(self._velocity, self._momentum * ratio, out=self._velocity)
        np.multiply(self._V, self._lr_reg * factor, out=self._decay)
        self._bias_decay.fill(0)  # it is not penalised
        np.add(self._velocity, self._decay, out=self._velocity)


def _per_model(values: Any, shape: tuple[int, ...]) -> Any:
    """The values in this shape; if all are equal a number, which is faster."""
    return values[0] if len(set(values)) == 1 else np.asarray(values, np.float32).reshape(shape)
