"""Reliability: the bins and their error by counting, and the cases at their edges."""

from typing import Any

import numpy as np
import pytest

from mnist_softmax.scoring.calibration import reliability
from mnist_softmax.scoring.metrics import Evaluation, wilson_interval


def evaluation(predicted: Any, probability: Any) -> Evaluation:
    return Evaluation(
        np.asarray(predicted, np.uint8), np.asarray(probability, np.float32), np.zeros((2, 2), np.int64), 0.0
    )


def test_bins_count_what_was_right_among_answers_of_a_probability() -> None:
    labels = np.array([0, 0, 1, 1, 1], np.uint8)
    bins, error = reliability(evaluation([0, 1, 1, 1, 0], [1.0, 0.55, 0.95, 0.5, 0.58]), labels)
    found = [(b.low, b.high, b.rows, b.accuracy) for b in bins]
    assert found == [(0.5, 0.6, 3, 1 / 3), (0.9, 1.0, 2, 1.0)], "bins without rows are left out"
    assert bins[0].probability == pytest.approx(0.5433333, abs=1e-6)
    assert (bins[0].accuracy_low, bins[0].accuracy_high) == wilson_interval(1, 3)
    assert error == pytest.approx((3 * (0.5433333 - 1 / 3) + 2 * (1 - 0.975)) / 5, abs=1e-6)


@pytest.mark.parametrize("bins", [1, 7, 10])
def test_bins_and_their_error_agree_with_a_histogram(bins: int) -> None:
    rng = np.random.default_rng(0)
    probability, right = rng.random(5000).astype(np.float32), rng.random(5000) < 0.7
    found, error = reliability(evaluation(right, probability), np.ones(5000, np.uint8), bins)
    rows, edges = np.histogram(probability, bins, (0, 1))
    weights = right, probability.astype(float)
    accuracy, mean = (np.histogram(probability, edges, weights=1.0 * w)[0] / rows for w in weights)
    assert [b.rows for b in found] == rows.tolist()
    np.testing.assert_allclose([(b.low, b.high) for b in found], np.transpose([edges[:-1], edges[1:]]))
    np.testing.assert_allclose([b.accuracy for b in found], accuracy)
    np.testing.assert_allclose([b.probability for b in found], mean, rtol=1e-6)
    assert error == pytest.approx(rows @ np.abs(accuracy - mean) / 5000, rel=1e-5)


def test_the_error_is_0_where_answers_are_as_sure_as_right_and_1_where_all_sure_ones_are_wrong() -> None:
    labels = np.ones(8, np.uint8)
    assert reliability(evaluation([1, 1, 1, 0] * 2, [0.75] * 8), labels)[1] == 0
    assert reliability(evaluation([0] * 8, [1.0] * 8), labels)[1] == 1
