"""Scores against closed forms and independent implementations."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from mnist_softmax import softmax
from mnist_softmax.data.split import one_hot
from mnist_softmax.errors import WeightsError
from mnist_softmax.scoring import metrics

pytestmark = pytest.mark.usefixtures("form_of_products")


def make_rows(pixels: int) -> Any:
    """Parameters, images and labels of 1,300 rows (more than two chunks), 5 classes."""
    rng = np.random.default_rng(0)
    parameters = (0.1 * rng.normal(size=(pixels + 1, 5))).astype(np.float32)
    images = rng.integers(0, 256, (1300, pixels), np.uint8)
    return parameters, images, rng.integers(0, 4, 1300).astype(np.uint8)


@pytest.fixture
def scored() -> Any:
    """Rows of 12 pixels."""
    return make_rows(12)


@pytest.mark.parametrize("pixels", [12, 784])
def test_scores_agree_with_the_reference_over_several_chunks(pixels: int) -> None:
    parameters, images, labels = make_rows(pixels)
    F = softmax.logits(images / 255, *np.split(parameters.astype(float), [pixels]))
    S = softmax.softmax(F)
    result = metrics.evaluate(parameters, images, labels)
    np.testing.assert_array_equal(result.predicted, S.argmax(axis=1))
    np.testing.assert_allclose(result.probability, S.max(axis=1), rtol=1e-5)
    assert result.log_loss == pytest.approx(softmax.cross_entropy(F, one_hot(labels, 5)), rel=1e-6)


def test_no_rows_have_no_probabilities(scored: Any) -> None:
    parameters, images, _ = scored
    assert metrics.log_probabilities(parameters, images[:0]).shape == (0, 5)


def test_figures_per_class_agree_with_counting(scored: Any) -> None:
    parameters, images, labels = scored
    result = metrics.evaluate(parameters, images, labels)
    assert result.confusion.sum() == 1300
    assert result.accuracy == (result.predicted == labels).mean()
    for label in range(4):
        mine, said = labels == label, result.predicted == label
        assert result.recall[label] == (mine & said).sum() / mine.sum()
        assert result.precision[label] == ((mine & said).sum() / said.sum() if said.any() else None)
        assert result.confusion[label, 2] == (mine & (result.predicted == 2)).sum()
    assert result.recall[4] is None, "no row has the label 4"


def test_some_rows_of_several_models_score_as_each_does_alone(scored: Any) -> None:
    parameters, images, labels = scored
    rows = np.arange(0, 1300, 2)
    both = np.hstack([parameters, -parameters])
    losses, accuracies = metrics.cross_entropy_and_accuracy(both, images, labels, rows, models=2)
    for k, one in enumerate((parameters, -parameters)):
        alone = metrics.evaluate(np.ascontiguousarray(one), images[rows], labels[rows])
        assert losses[k] == pytest.approx(alone.log_loss, rel=1e-6)
        assert accuracies[k] == alone.accuracy


@pytest.mark.parametrize(("correct", "rows"), [(0, 10), (10, 10), (1, 1), (9255, 10000), (3, 7)])
def test_the_ends_of_wilsons_interval_are_where_the_score_is_that_of_95_percent(
    correct: int, rows: int
) -> None:
    low, high = metrics.wilson_interval(correct, rows)
    assert 0 <= low <= correct / rows <= high <= 1
    z = NormalDist().inv_cdf(0.975)
    for p in (low, high):
        distance = z * math.sqrt(p * (1 - p) / rows)
        assert abs(correct / rows - p) == pytest.approx(distance, rel=1e-9, abs=1e-12)


def test_wilson_interval_of_a_textbook_case() -> None:
    # 81 of 263, as in Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
    assert metrics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_weights_whose_logits_overflow_are_refused(scored: Any) -> None:
    _, images, labels = scored
    huge = np.full((13, 5), 1e38, np.float32)
    with pytest.raises(WeightsError, match="overflow"):
        metrics.evaluate(huge, images, labels)


def test_the_surest_mistakes_come_first() -> None:
    predicted = np.array([1, 1, 0, 2, 2], np.uint8)
    labels = np.array([1, 0, 1, 0, 1], np.uint8)
    probability = np.array([0.99, 0.5, 0.75, 0.5, 0.9], np.float32)
    scored = metrics.Evaluation(predicted, probability, np.zeros((3, 3), np.int64), 0.0)
    assert metrics.most_confident_mistakes(scored, labels).tolist() == [4, 2, 1, 3]
    assert metrics.most_confident_mistakes(scored, labels, 2).tolist() == [4, 2]
    assert metrics.most_confident_mistakes(scored, predicted).tolist() == []


def test_confused_pairs_are_the_largest_counts_beside_the_diagonal() -> None:
    confusion = np.array([[9, 2, 0], [5, 90, 2], [0, 5, 7]])
    pairs = [(1, 0, 5), (2, 1, 5), (0, 1, 2), (1, 2, 2)]
    assert metrics.confused_pairs(confusion, 99) == pairs
    assert metrics.confused_pairs(confusion, 3) == pairs[:3]
    assert metrics.confused_pairs(np.diag([3, 0, 1]), 99) == []
    # Equal counts, too many for an unstable sort to leave alone, stay in the order of their classes.
    ones = metrics.confused_pairs(np.ones((30, 30), np.int64), 870)
    assert [pair[:2] for pair in ones] == [(i, j) for i in range(30) for j in range(30) if i != j]
