"""McNemar's exact test against whole numbers, SciPy and a textbook, and what a comparison counts."""

import math
from fractions import Fraction

import numpy as np
import pytest

from mnist_softmax.scoring.mcnemar import compare, mcnemar


def exact(only_a: int, only_b: int) -> Fraction:
    """The p-value in whole numbers."""
    n = only_a + only_b
    return min(Fraction(1), Fraction(2 * sum(math.comb(n, i) for i in range(min(only_a, only_b) + 1)), 2**n))


def test_mcnemar_is_the_exact_sum() -> None:
    for n in [*range(40), 199, 200, 201]:
        for k in [*range(min(n, 40)), n // 3, n // 2, n]:
            expected = float(exact(k, n - k))
            assert mcnemar(k, n - k) == pytest.approx(expected, rel=0 if n <= 200 else 1e-11, abs=0), (k, n)


@pytest.mark.parametrize(
    ("only_a", "only_b"),
    [
        *((0, 0), (0, 1), (3, 3), (3, 4), (2, 9), (9, 2), (80, 130), (151, 90), (400, 80), (0, 1000)),
        *((2450, 2550), (5000, 5200), (0, 5000), (500_000, 502_000), (10**8, 10**8 + 40_000), (1, 10**9)),
    ],
)
def test_mcnemar_agrees_with_scipy(only_a: int, only_b: int) -> None:
    special = pytest.importorskip("scipy.special")
    n = only_a + only_b
    expected = min(1, 2 * special.bdtr(min(only_a, only_b), n, 0.5))
    assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=max(1e-12, 1e-15 * n * 10), abs=1e-300)
    assert mcnemar(only_b, only_a) == mcnemar(only_a, only_b)


def test_mcnemar_of_a_textbook_case() -> None:
    # 4 and 14 discordant pairs; 2 * (1 + 18 + 153 + 816 + 3060) / 2^18.
    assert mcnemar(4, 14) == pytest.approx(8096 / 262144, rel=1e-13)


def test_a_comparison_counts_rows() -> None:
    labels = np.array([0, 0, 1, 1, 1, 3], np.uint8)
    a = np.array([0, 1, 1, 1, 2, 3], np.uint8)
    b = np.array([0, 0, 1, 0, 3, 3], np.uint8)
    result = compare(labels, a, b, 5)
    assert (result.both_right, result.only_a, result.only_b, result.both_wrong) == (3, 1, 1, 1)
    assert result.rows == 6
    assert result.differing.tolist() == [1, 3, 4], "both wrong, but not alike, counts"
    assert result.rows_of_class.tolist() == [2, 3, 0, 1, 0]
    assert result.right_a.tolist() == [1, 2, 0, 1, 0]
    assert result.right_b.tolist() == [2, 1, 0, 1, 0]
    assert result.difference == 0
    assert result.p_value == 1


def test_the_difference_is_that_of_b_from_a_and_its_p_value_is_mcnemars() -> None:
    labels = np.zeros(10, np.uint8)
    a, b = (np.array([1] * wrong + [0] * (10 - wrong), np.uint8) for wrong in (7, 0))
    for first, second, difference in ((a, b, 0.7), (b, a, -0.7)):
        result = compare(labels, first, second, 2)
        assert result.difference == difference
        assert result.p_value == mcnemar(0, 7) == pytest.approx(2 / 2**7)
