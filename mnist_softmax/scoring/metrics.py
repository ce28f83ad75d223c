"""The scores of a model: accuracy with its interval, log loss, confusion matrix, precision and recall."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas, softmax
from mnist_softmax.errors import WeightsError
from mnist_softmax.features.steps import SCALE

#: Rows scored at a time, so that memory does not grow with the data.
_ROWS = 512
#: 97.5 % quantile of the normal distribution, for two-sided 95 % intervals.
_Z95 = 1.959963984540054


def _logits(
    parameters: NDArray[np.float32], stored: NDArray[np.uint8], rows: NDArray[Any] | None = None
) -> Iterator[NDArray[np.float32]]:
    """The logits of the next R of these rows, or of all: (K * L, R) float32, in a buffer."""
    N, outputs = stored.shape[1], parameters.shape[1]
    count = len(stored) if rows is None else len(rows)
    V, X = blas.zeros(blas.padded(outputs), N + 1), blas.zeros(min(_ROWS, count), N + 1)
    V[:outputs, : N + 1] = parameters.T
    X[:, N] = SCALE
    products = np.empty((len(V), len(X)), np.float32)
    tiles = blas.tiles(len(X), V.size)
    for start in range(0, count, _ROWS):
        part = slice(start, start + _ROWS)
        taken = stored[part] if rows is None else stored[rows[part]]
        np.copyto(X[: len(taken), :N], taken)
        for tile in tiles:
            np.matmul(V, X[tile].T, out=products[:, tile])
        F = products[:outputs, : len(taken)]
        yield np.divide(F, np.float32(SCALE), out=F)


def blocks_of_log_probabilities(
    parameters: NDArray[np.float32], stored: NDArray[np.uint8]
) -> Iterator[NDArray[np.float64]]:
    """The rows of `log_probabilities`, some at a time."""
    with blas.one_thread(), np.errstate(over="ignore", invalid="ignore"):
        for F in _logits(parameters, stored):
            yield softmax.log_softmax(F.T.astype(np.float64))


def log_probabilities(parameters: NDArray[np.float32], stored: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Score all rows, in float64 from the logits on.

    Parameters
    ----------
    parameters : (N + 1, L) float32; the last row is the bias.
    stored : (M, N) uint8 features.

    Returns
    -------
    (M, L) float64, log S.
    """
    none = np.empty((0, parameters.shape[1]))
    return np.concatenate([none, *blocks_of_log_probabilities(parameters, stored)])


class _Scores(NamedTuple):
    """Of the next R rows under each model, each (K, R): the class, its probability, and the cross-entropy."""

    predicted: NDArray[np.intp]
    probability: NDArray[np.float32]
    nats: NDArray[np.float32]


def _scores(
    parameters: NDArray[np.float32],
    stored: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    rows: NDArray[Any] | None = None,
    models: int = 1,
) -> Iterator[_Scores]:
    """Score these rows, or all, some at a time, in float32."""
    start = 0
    for logits in _logits(parameters, stored, rows):
        F, part = logits.reshape(models, -1, logits.shape[1]), slice(start, start + logits.shape[1])
        true_class = labels[part] if rows is None else labels[rows[part]]
        predicted = F.argmax(axis=1)
        F -= F.max(axis=1, keepdims=True)
        true_logits = F[:, true_class, np.arange(len(true_class))]
        sums = np.exp(F, out=F).sum(axis=1)
        yield _Scores(predicted, 1 / sums, np.log(sums) - true_logits)
        start = part.stop


class Tally(NamedTuple):
    """Of K models over some rows: the summed cross-entropy, and how many are right, each (K,) float64."""

    nats: NDArray[np.float64]
    correct: NDArray[np.float64]

    def plus(self, other: "Tally") -> "Tally":
        """The tally of the rows of both."""
        return Tally(self.nats + other.nats, self.correct + other.correct)


def tally_of_block(
    stored: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    rows: NDArray[Any],
    parameters: NDArray[np.float32],
    models: int = 1,
) -> Tally:
    """The tally of some rows, in float32 but for the sums; see `cross_entropy_and_accuracy`."""
    nats, correct, start = np.zeros(models), np.zeros(models), 0
    with blas.one_thread(), np.errstate(over="ignore", invalid="ignore"):
        for scores in _scores(parameters, stored, labels, rows, models):
            stop = start + scores.predicted.shape[1]
            nats += scores.nats.sum(axis=1, dtype=np.float64)
            correct += (scores.predicted == labels[rows[start:stop]]).sum(axis=1)
            start = stop
    return Tally(nats, correct)


def cross_entropy_and_accuracy(
    parameters: NDArray[np.float32],
    stored: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    rows: NDArray[Any],
    models: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean cross-entropy and accuracy of K models over some rows.

    Parameters
    ----------
    parameters : (N + 1, K * L) float32, the models side by side; the last row is the bias.
    rows : the numbers of the rows.

    Returns
    -------
    Two (K,) float64 arrays: nats, and a fraction.
    """
    tally = tally_of_block(stored, labels, rows, parameters, models)
    return tally.nats / len(rows), tally.correct / len(rows)


def wilson_interval(correct: int, rows: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a proportion of `correct` in `rows`, both ends in [0, 1].

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    p, z2 = correct / rows, _Z95**2
    centre = (p + z2 / (2 * rows)) / (1 + z2 / rows)
    half = _Z95 / (1 + z2 / rows) * math.sqrt(p * (1 - p) / rows + z2 / (4 * rows**2))
    # At 0 and at 1 the formula is exact, but floating point is not.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == rows else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class Evaluation:
    """The outcome of scoring one split.

    Attributes
    ----------
    predicted : (M,) uint8, the most probable class of each row.
    probability : (M,) float32, its probability.
    confusion : (L, L) int64, rows are the true class.
    log_loss : mean cross-entropy in nats, no penalty.
    """

    predicted: NDArray[np.uint8]
    probability: NDArray[np.float32]
    confusion: NDArray[np.int64]
    log_loss: float

    @property
    def rows(self) -> int:
        """How many rows were scored."""
        return len(self.predicted)

    @property
    def correct(self) -> int:
        """How many rows were predicted right."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """The fraction of rows that were predicted right."""
        return self.correct / self.rows

    @property
    def precision(self) -> list[float | None]:
        """The fraction of rows predicted as each class that belong to it; None where there are none."""
        return _ratios(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> list[float | None]:
        """The fraction of each class's rows that were predicted right; None where there are none."""
        return _ratios(np.diag(self.confusion), self.confusion.sum(axis=1))


def _ratios(part: NDArray[np.int64], whole: NDArray[np.int64]) -> list[float | None]:
    return [int(p) / int(w) if w else None for p, w in zip(part, whole, strict=True)]


def evaluate(
    parameters: NDArray[np.float32],
    stored: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    where: object = None,
) -> Evaluation:
    """Score every row of a split.

    Parameters
    ----------
    parameters : (N + 1, L) float32.
    stored, labels : (M, N) and (M,) uint8, every label below L.
    where : the file of the parameters, for the error.

    Raises
    ------
    WeightsError : the weights are so large that a logit overflows.
    """
    classes = parameters.shape[1]
    predicted = np.empty(len(stored), np.uint8)
    probability = np.empty(len(stored), np.float32)
    nats, start = 0.0, 0
    with blas.one_thread(), np.errstate(over="ignore", invalid="ignore"):
        for scores in _scores(parameters, stored, labels):
            stop = start + scores.predicted.shape[1]
            predicted[start:stop], probability[start:stop] = scores.predicted[0], scores.probability[0]
            nats += float(scores.nats.sum(dtype=np.float64))
            start = stop
    if not math.isfinite(nats):
        raise WeightsError("the weights are too large", where, got="logits that overflow")
    pairs = labels.astype(np.int64) * classes + predicted
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    return Evaluation(predicted, probability, confusion, nats / len(stored))


def most_confident_mistakes(
    evaluation: Evaluation, labels: NDArray[np.uint8], limit: int | None = None
) -> NDArray[np.int64]:
    """Row numbers of the mistakes, most confident first (ties by number), at most `limit`; int64."""
    wrong = np.flatnonzero(evaluation.predicted != labels)
    order = np.argsort(-evaluation.probability[wrong], kind="stable")
    return wrong[order[:limit]]


def confused_pairs(confusion: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """The pairs of classes confused most often, at most `most`.

    Parameters
    ----------
    confusion : (L, L) int64, rows are the true class.

    Returns
    -------
    True class, predicted class, count (above 0); the largest counts first, equal ones by class.
    """
    mistakes = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    true, predicted = np.unravel_index(order[mistakes.flat[order] > 0], mistakes.shape)
    return list(zip(true.tolist(), predicted.tolist(), mistakes[true, predicted].tolist(), strict=True))
