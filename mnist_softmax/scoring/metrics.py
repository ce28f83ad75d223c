"""The scores of a model: accuracy with its interval, log loss, confusion matrix, precision and recall."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas, softmax
from mnist_softmax.errors import WeightsError
from mnist_softmax.features.steps import SCALE

#: Rows scored at a time, so that memory does not grow with the data.
_CHUNK = 512
#: 97.5 % quantile of the normal distribution, for two-sided 95 % intervals.
_Z95 = 1.959963984540054


def log_probabilities(
    parameters: NDArray[np.float32],
    stored: NDArray[np.uint8],
    rows: NDArray[Any] | None = None,
    models: int = 1,
) -> Iterator[NDArray[np.float64]]:
    """Score rows a chunk at a time.

    Parameters
    ----------
    parameters : (N + 1, K * L) float32, K models side by side; the last row is the bias.
    stored : (M, N) uint8 features.
    rows : numbers of the rows to score, in order; all when None.
    models : K.

    Yields
    ------
    (R, K, L) float64, log S of the next R rows.
    """
    N = stored.shape[1]
    count = len(stored) if rows is None else len(rows)
    X = np.empty((min(_CHUNK, count), N), np.float32)
    W, B = parameters[:N], parameters[N]
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        chunk = X[: stop - start]
        chunk[:] = stored[start:stop] if rows is None else stored[rows[start:stop]]
        # The caller handles logits that overflow: the mean of their log S is not finite.
        with blas.one_thread(), np.errstate(over="ignore", invalid="ignore"):
            F = chunk @ W
            F /= np.float32(SCALE)
            F += B
            log_S = softmax.log_softmax(F.astype(np.float64).reshape(len(F), models, -1))
        yield log_S


def cross_entropy_and_accuracy(
    parameters: NDArray[np.float32],
    stored: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    rows: NDArray[Any],
    models: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean cross-entropy and accuracy of K models over some rows.

    Returns
    -------
    Two (K,) float64 arrays: nats, and a fraction.
    """
    nats, correct, start = np.zeros(models), np.zeros(models), 0
    for log_S in log_probabilities(parameters, stored, rows, models):
        wanted = labels[rows[start : start + len(log_S)]]
        nats -= log_S[np.arange(len(log_S)), :, wanted].sum(axis=0)
        correct += (log_S.argmax(axis=2) == wanted[:, None]).sum(axis=0)
        start += len(log_S)
    return nats / len(rows), correct / len(rows)


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
    for scores in log_probabilities(parameters, stored):
        log_S, stop = scores[:, 0], start + len(scores)
        predicted[start:stop] = log_S.argmax(axis=1)
        probability[start:stop] = np.exp(log_S.max(axis=1))
        nats -= float(log_S[np.arange(len(log_S)), labels[start:stop]].sum())
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
