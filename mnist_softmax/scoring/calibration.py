"""Calibration: whether predictions with a probability of 80 % are right 80 times in 100."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.scoring.metrics import Evaluation, wilson_interval


@dataclass(frozen=True)
class ReliabilityBin:
    """The predictions with a probability in [`low`, `high`); the last bin includes 1.

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
    """How often predictions were right, by their probability.

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", 2015: equal bins from 0 to 1, and their expected calibration error.

    Returns
    -------
    The non-empty bins, in order; and the mean over all rows of abs(accuracy - probability) of the row's bin.
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
