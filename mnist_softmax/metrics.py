"""What a model scores: accuracy with its interval, log loss, confusion matrix, precision and recall."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas, softmax
from mnist_softmax.errors import WeightsError

#: Rows scored at a time: memory stays flat whatever the size of the data.
_CHUNK = 512
#: 97.5 % quantile of the normal distribution, for two-sided 95 % intervals.
_Z95 = 1.959963984540054


def log_probabilities(
    parameters: NDArray[np.float32],
    images: NDArray[np.uint8],
    rows: NDArray[Any] | None = None,
    models: int = 1,
) -> Iterator[NDArray[np.float64]]:
    """Score images a chunk at a time.

    Parameters
    ----------
    parameters : (N + 1, K * L) float32, K models side by side; the last row is the bias.
    images : (M, N) uint8.
    rows : the rows to score, in order; all when None.
    models : K.

    Yields
    ------
    (R, K, L) float64, log S of the next R rows.
    """
    pixels = images.shape[1]
    count = len(images) if rows is None else len(rows)
    X = np.empty((min(_CHUNK, count), pixels), np.float32)
    W, B = parameters[:pixels], parameters[pixels]
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        chunk = X[: stop - start]
        chunk[:] = images[start:stop] if rows is None else images[rows[start:stop]]
        # Logits that overflow are for the caller to judge: the mean of their log S is not finite.
        with blas.threads(1), np.errstate(over="ignore", invalid="ignore"):
            F = chunk @ W
            F /= 255
            F += B
            log_S = softmax.log_softmax(F.astype(np.float64).reshape(len(F), models, -1))
        yield log_S


def cross_entropy_and_accuracy(
    parameters: NDArray[np.float32],
    images: NDArray[np.uint8],
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
    for log_S in log_probabilities(parameters, images, rows, models):
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
    # At 0 and at 1 the formula is exact, its floating point is not.
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
        """How many rows were right."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """Fraction of the rows that were right."""
        return self.correct / self.rows

    @property
    def precision(self) -> list[float | None]:
        """Per class: of the rows predicted as it, the fraction that are it; None where none was."""
        return _ratios(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> list[float | None]:
        """Per class: of the rows that are it, the fraction predicted as it; None where there are none."""
        return _ratios(np.diag(self.confusion), self.confusion.sum(axis=1))


def _ratios(part: NDArray[np.int64], whole: NDArray[np.int64]) -> list[float | None]:
    return [int(p) / int(w) if w else None for p, w in zip(part, whole, strict=True)]


def evaluate(
    parameters: NDArray[np.float32], images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> Evaluation:
    """Score every row of a split.

    Parameters
    ----------
    parameters : (N + 1, L) float32.
    images, labels : (M, N) and (M,) uint8, every label below L.

    Raises
    ------
    WeightsError : the weights are so large that a logit overflows.
    """
    classes = parameters.shape[1]
    predicted = np.empty(len(images), np.uint8)
    probability = np.empty(len(images), np.float32)
    nats, start = 0.0, 0
    for scores in log_probabilities(parameters, images):
        log_S, stop = scores[:, 0], start + len(scores)
        predicted[start:stop] = log_S.argmax(axis=1)
        probability[start:stop] = np.exp(log_S.max(axis=1))
        nats -= float(log_S[np.arange(len(log_S)), labels[start:stop]].sum())
        start = stop
    if not math.isfinite(nats):
        raise WeightsError("the weights are too large", got="logits that overflow")
    pairs = labels.astype(np.int64) * classes + predicted
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    return Evaluation(predicted, probability, confusion, nats / len(images))


def most_confident_mistakes(
    evaluation: Evaluation, labels: NDArray[np.uint8], limit: int | None = None
) -> NDArray[np.int64]:
    """Numbers of the wrong rows, the surest prediction first (ties by number), at most `limit`; int64."""
    wrong = np.flatnonzero(evaluation.predicted != labels)
    order = np.argsort(-evaluation.probability[wrong], kind="stable")
    return wrong[order[:limit]]


@dataclass(frozen=True)
class ReliabilityBin:
    """The predictions whose probability lies from `low` (included) to `high` (excluded, but for 1).

    Attributes
    ----------
    rows : how many; at least 1.
    probability : their mean probability.
    accuracy, accuracy_low, accuracy_high : the fraction that was right, with Wilson's 95 % interval.
    """

    low: float
    high: float
    rows: int
    probability: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def reliability(
    evaluation: Evaluation, labels: NDArray[np.uint8], bins: int = 10
) -> tuple[list[ReliabilityBin], float]:
    """How often predictions of a probability were right.

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", 2015: equal bins from 0 to 1, and their expected calibration error.

    Returns
    -------
    The bins that hold rows, in order; and the mean of abs(accuracy - probability) over their rows.
    """
    right = evaluation.predicted == labels
    number = np.minimum((evaluation.probability * bins).astype(int), bins - 1)
    found, error = [], 0.0
    for i in range(bins):
        inside = number == i
        rows, correct = int(inside.sum()), int(right[inside].sum())
        if not rows:
            continue
        mean = float(evaluation.probability[inside].mean(dtype=np.float64))
        low, high = wilson_interval(correct, rows)
        found.append(ReliabilityBin(i / bins, (i + 1) / bins, rows, mean, correct / rows, low, high))
        error += abs(correct - rows * mean) / evaluation.rows
    return found, error
