"""The curvature of the loss at the start, where every probability is 1 / L: L-BFGS begins with it, Eq. 28."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.training.blocks import Blocks

#: Rows of the sample that it is computed from, at most.
SAMPLE = 4096
#: With more columns only the diagonal is used.
_MOST_COLUMNS = 2048
#: What is added to each feature's own curvature, as a part of it: one may be the sum of others.
_RIDGE = 1e-6
#: Rows read at once to find the largest values, and numbers of float64 in memory at once, at most.
_PART_ROWS, _PART_NUMBERS = 512, 1 << 20


def inverse_at_start(blocks: Blocks, scale: float, classes: int, reg: float) -> NDArray[np.float64]:
    """The inverse of `start_curvature`, of the same shape, with a ridge where the sample may mislead.

    A feature that is nearly 0 in the sample seems to have no curvature, and the first step would be
    enormous. So each counts as if one more row had the largest value that it has in any.
    """
    curvature = start_curvature(blocks.stored, blocks.rows, scale, classes, reg)
    sampled = -(-len(blocks.rows) // _stride(blocks.rows))
    largest = np.append(blocks.total(largest_of_block).values, 0) / scale  # the bias has no ridge
    return inverted(curvature, largest**2 / (sampled * classes))


def start_curvature(
    stored: NDArray[Any], rows: NDArray[np.uint32], scale: float, classes: int, reg: float
) -> NDArray[np.float64]:
    """The curvature at the start of each class, Eq. 28, from a sample of the rows.

    Returns
    -------
    (N + 1, N + 1) float64, the last row and column those of the bias; of many columns the diagonal, (N + 1,).
    """
    columns = stored.shape[1] + 1
    total = np.zeros((columns, columns) if columns <= _MOST_COLUMNS else columns)
    sample = rows[:: _stride(rows)]
    for start in range(0, len(sample), most := max(1, _PART_NUMBERS // columns)):
        part = sample[start : start + most]
        X = np.ones((len(part), columns))
        np.divide(stored[part], scale, out=X[:, :-1])
        total += X.T @ X if total.ndim == 2 else (X * X).sum(axis=0)
    penalty = np.full(columns, reg)
    penalty[-1] = 0  # the bias is not penalised
    return total / (len(sample) * classes) + (np.diag(penalty) if total.ndim == 2 else penalty)


def _stride(rows: NDArray[np.uint32]) -> int:
    """Every how manieth row is in the sample."""
    return -(-len(rows) // SAMPLE)


class Largest(NamedTuple):
    """The largest absolute value of each feature in some rows, (N,) float64."""

    values: NDArray[np.float64]

    def plus(self, other: "Largest") -> "Largest":
        """The largest in the rows of both."""
        return Largest(np.maximum(self.values, other.values))


def largest_of_block(stored: NDArray[Any], _: NDArray[Any], rows: NDArray[np.uint32]) -> Largest:
    """The largest absolute values in the rows of a block."""
    largest = np.zeros(stored.shape[1])
    for start in range(0, len(rows), _PART_ROWS):
        part = stored[rows[start : start + _PART_ROWS]]
        for extreme in (part.max(axis=0), -part.min(axis=0).astype(np.float64)):
            np.maximum(largest, extreme, out=largest)
    return Largest(largest)


def inverted(curvature: NDArray[np.float64], unseen: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of a curvature, or of its diagonal, to which `unseen` (N + 1,) and a ridge are added."""
    own = (np.diag(curvature) if curvature.ndim == 2 else curvature) + unseen
    ridge = unseen + np.where(own == 0, 1.0, _RIDGE * own)  # a feature may be 0 everywhere
    if curvature.ndim == 1:
        return 1 / (curvature + ridge)
    inverse = np.linalg.inv(curvature + np.diag(ridge))
    return np.asarray((inverse + inverse.T) / 2, np.float64)
