"""Two models on the same rows: which is right where, and whether chance explains the difference."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A term smaller than this fraction of a sum no longer changes it.
_NEGLIGIBLE = 2.0**-60
#: Up to this many rows the sum is one of integers.
_MOST_EXACT = 200


@dataclass(frozen=True)
class Comparison:
    """How two models, a and b, do on the same M rows.

    Attributes
    ----------
    both_right, only_a, only_b, both_wrong : how many rows both, one or neither predict right; in sum M.
    differing : (D,) int64, ascending: the rows on which the predictions differ.
    rows_of_class, right_a, right_b : (L,) int64, per true class: its rows, and how many each model has right.
    """

    both_right: int
    only_a: int
    only_b: int
    both_wrong: int
    differing: NDArray[np.int64]
    rows_of_class: NDArray[np.int64]
    right_a: NDArray[np.int64]
    right_b: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.both_right + self.only_a + self.only_b + self.both_wrong

    @property
    def difference(self) -> float:
        """Accuracy of b minus accuracy of a, from -1 to 1."""
        return (self.only_b - self.only_a) / self.rows

    @property
    def p_value(self) -> float:
        """McNemar's exact test: see `mcnemar`."""
        return mcnemar(self.only_a, self.only_b)


def compare(
    labels: NDArray[np.uint8], predicted_a: NDArray[np.uint8], predicted_b: NDArray[np.uint8], classes: int
) -> Comparison:
    """Compare the predictions of two models.

    Parameters
    ----------
    labels, predicted_a, predicted_b : (M,) uint8 of the same rows; every label is below `classes`.
    """
    right_a, right_b = predicted_a == labels, predicted_b == labels
    return Comparison(
        both_right=int((right_a & right_b).sum()),
        only_a=int((right_a & ~right_b).sum()),
        only_b=int((right_b & ~right_a).sum()),
        both_wrong=int((~right_a & ~right_b).sum()),
        differing=np.flatnonzero(predicted_a != predicted_b),
        rows_of_class=np.bincount(labels, minlength=classes),
        right_a=np.bincount(labels[right_a], minlength=classes),
        right_b=np.bincount(labels[right_b], minlength=classes),
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """McNemar's exact test: the two-sided p-value of a difference between two models on the same rows.

    Only rows that one of them has right and the other wrong can tell them apart. Were the two equally good,
    each such row would be a fair coin toss and only_a ~ Binomial(n, 1/2), so with n = only_a + only_b and
    k = min(only_a, only_b)

        p = min(1, 2 * P(only_a <= k)),   P(only_a <= k) = sum over i <= k of C(n, i) / 2^n.

    Up to n = 200 the sum is one of integers, so p is right to the last bit. Beyond, the largest term comes
    from log-gamma and each further one from C(n, i - 1) / C(n, i) = i / (n - i + 1); the relative error is
    about 1e-16 * n * log n. Nothing is approximated by a normal or chi-squared distribution.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12, 1947; there with an approximation, here with the exact distribution.
    """
    n, k = only_a + only_b, min(only_a, only_b)
    if 2 * k >= n - 1:  # the two tails meet
        return 1.0
    if n <= _MOST_EXACT:
        return sum(math.comb(n, i) for i in range(k + 1)) / (1 << (n - 1))
    total, term = 0.0, 1.0
    for i in range(k, -1, -1):
        total += term
        if term < total * _NEGLIGIBLE:
            break
        term *= i / (n - i + 1)
    log_largest = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
    return min(1.0, math.exp(log_largest + math.log(2 * total)))
