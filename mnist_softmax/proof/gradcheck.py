"""Every equation of the derivation, checked numerically on real rows and random weights, in float64.

The functions of `softmax` and `training` themselves are checked. `references` has what they are compared
with: the same quantities computed in another way, and numerical derivatives.

An error is max|a - b| / max|b|. "Eq. 7" is an equation of docs/derivation.md; `softmax` has the legend.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_softmax.data.split import Split
from mnist_softmax.features.prepare import prepare
from mnist_softmax.proof import training
from mnist_softmax.proof.references import (
    Problem,
    by_central_differences,
    by_complex_step,
    by_each_logit,
    plain_softmax,
    relative_error,
)
from mnist_softmax.proof.training import Formulas

#: The same float64 arithmetic in another order.
_ROUNDING = 1e-12
#: The complex step, or logits that were shifted far away and back: 1e-15 and 5e-13 on MNIST.
_COMPLEX_STEP = 1e-10
#: Central differences: the step squared times a third derivative, and rounding divided by the step.
_CENTRAL = 1e-7
#: A gradient below this is small beside the rounding of the loss, 1e-15, divided by the step, 1e-4.
_CENTRAL_LEAST = 1e-3
#: float32 with the 784 pixels of MNIST; the rounding of a longer sum grows with the root of its length.
_FLOAT32 = 1e-6
#: The curvature of the loss, over one very small step.
_STRAIGHT_LINE = 1e-5


@dataclass(frozen=True)
class Check:
    """One step of the derivation and its error.

    Attributes
    ----------
    name : in words.
    equation : its number in docs/derivation.md.
    error : see `relative_error`; nan or inf where a formula overflowed or has the wrong shape.
    tolerance : the largest error that passes.
    """

    name: str
    equation: int
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the tolerance."""
        return self.error <= self.tolerance


def _logits(p: Problem, f: Formulas) -> float:
    return relative_error(f.logits(p.X, p.P[:-1], p.P[-1]), p.F)


def _shift(p: Problem, f: Formulas) -> float:
    shifted = f.shift(p.F)
    differences = relative_error(shifted - shifted[:, :1], p.F - p.F[:, :1])
    return max(differences, relative_error(shifted.max(axis=1), np.zeros(len(p.F))))


def _softmax(p: Problem, f: Formulas) -> float:
    return relative_error(f.softmax(p.F), p.S)


def _shift_invariance(p: Problem, f: Formulas) -> float:
    # exp would overflow or underflow with the first two.
    constants = np.resize([1e4, -1e4, 0.1], (len(p.F), 1))
    return relative_error(f.softmax(p.F + constants), p.S)


def _rows_sum_to_one(p: Problem, f: Formulas) -> float:
    return relative_error(np.sum(f.softmax(p.F), axis=-1), np.ones(len(p.F)))


def _log_sum_exp(p: Problem, f: Formulas) -> float:
    # The second logits have probabilities that underflow to 0.
    errors = [
        relative_error(f.log_softmax(F), F - np.logaddexp.reduce(F, axis=1, keepdims=True))
        for F in (p.F, 1e4 * p.F)
    ]
    return float(np.max(errors))


def _cross_entropy_of_a_row(p: Problem, f: Formulas) -> float:
    return relative_error([f.cross_entropy(F[None], Y[None]) for F, Y in zip(p.F, p.Y, strict=True)], p.nats)


def _mean_cross_entropy(p: Problem, f: Formulas) -> float:
    return relative_error(f.cross_entropy(p.F, p.Y), math.fsum(p.nats) / len(p.nats))


def _loss(p: Problem, f: Formulas) -> float:
    half_square = math.fsum(p.P[:-1].ravel() ** 2) / 2
    expected = math.fsum(p.nats) / len(p.nats) + p.reg * half_square
    # The penalty is also checked alone: beside the cross-entropy it may be too small to show.
    of_penalty = relative_error(f.penalty(p.P[:-1], 1.0), half_square)
    return float(np.max([of_penalty, relative_error(f.loss(*p.arguments), expected)]))


def _jacobian(by: Callable[..., Any]) -> Callable[[Problem, Formulas], float]:
    return lambda p, f: relative_error(f.jacobian(p.S), by_each_logit(plain_softmax, p.F, by))


def _probability_gradient(p: Problem, f: Formulas) -> float:
    # Each probability appears in one term only, so all can be moved at once.
    return relative_error(
        f.probability_gradient(p.S, p.Y), by_complex_step(lambda step: -p.Y * np.log(p.S + step))
    )


def _vector_jacobian_product(p: Problem, f: Formulas) -> float:
    jacobian, collapsed = f.jacobian(p.S), f.logit_gradient(p.S, p.Y)
    if np.shape(jacobian) != (*p.S.shape, p.S.shape[1]):
        return math.inf
    product = (f.probability_gradient(p.S, p.Y)[:, None, :] @ jacobian)[:, 0]
    return float(np.max([relative_error(product, collapsed), relative_error(collapsed, p.nats_by_logits)]))


def _mean_over_rows(p: Problem, f: Formulas) -> float:
    # With the identity for X, W is F itself, and dC/dW is dC/dF.
    M, L = p.F.shape
    return relative_error(f.gradient(np.eye(M), p.Y, p.F, np.zeros(L), 0.0)[0], p.nats_by_logits / M)


def _by_weights_without_penalty(p: Problem, f: Formulas) -> float:
    return relative_error(f.gradient(*p.arguments[:-1], 0.0)[0], p.cross_entropy_by_parameters[:-1])


def _by_weights(p: Problem, f: Formulas) -> float:
    return relative_error(f.gradient(*p.arguments)[0], p.by_parameters[:-1])


def _by_weights_central(p: Problem, f: Formulas) -> float:
    # Relative to the analytic gradient: where that is zero, the numerical one is only rounding of the loss.
    return relative_error(p.by_parameters_central[:-1], f.gradient(*p.arguments)[0], _CENTRAL_LEAST)


def _by_bias(p: Problem, f: Formulas) -> float:
    return relative_error(f.gradient(*p.arguments)[1], p.by_parameters[-1])


def _by_bias_central(p: Problem, f: Formulas) -> float:
    return relative_error(p.by_parameters_central[-1], f.gradient(*p.arguments)[1], _CENTRAL_LEAST)


def _one_step(p: Problem, f: Formulas) -> float:
    """Eq. 25."""
    X, Y, W, B, reg = p.arguments
    dW, dB = f.gradient(X, Y, W, B, reg)
    if (np.shape(dW), np.shape(dB)) != (W.shape, B.shape):
        return math.inf
    lr = 1e-6 / ((p.X1**2).sum(axis=1).max() + reg)  # the divisor bounds the curvature of the loss
    drop = f.loss(X, Y, W - lr * dW, B - lr * dB, reg) - f.loss(X, Y, W, B, reg)
    return relative_error(drop, -lr * ((dW**2).sum() + (dB**2).sum()))


#: Name, equation, tolerance and check of each step, in the order of the derivation.
STEPS: tuple[tuple[str, int, float, Callable[[Problem, Formulas], float]], ...] = (
    ("logits", 1, _ROUNDING, _logits),
    ("shift by the maximum", 2, _ROUNDING, _shift),
    ("softmax", 3, _ROUNDING, _softmax),
    ("shift invariance", 4, _COMPLEX_STEP, _shift_invariance),
    ("rows of S sum to 1", 5, _ROUNDING, _rows_sum_to_one),
    ("log-sum-exp", 6, _ROUNDING, _log_sum_exp),
    ("cross-entropy of a row", 7, _ROUNDING, _cross_entropy_of_a_row),
    ("mean cross-entropy", 8, _ROUNDING, _mean_cross_entropy),
    ("loss with penalty", 9, _ROUNDING, _loss),
    ("Jacobian, central differences", 10, _CENTRAL, _jacobian(by_central_differences)),
    ("Jacobian, complex step", 10, _COMPLEX_STEP, _jacobian(by_complex_step)),
    ("dc/dS, complex step", 11, _COMPLEX_STEP, _probability_gradient),
    ("vector-Jacobian product", 12, _COMPLEX_STEP, _vector_jacobian_product),
    ("dC/dF, complex step", 13, _COMPLEX_STEP, _mean_over_rows),
    ("dC/dW, complex step", 14, _COMPLEX_STEP, _by_weights_without_penalty),
    ("dloss/dW, central differences", 15, _CENTRAL, _by_weights_central),
    ("dloss/dW, complex step", 15, _COMPLEX_STEP, _by_weights),
    ("dloss/dB, central differences", 16, _CENTRAL, _by_bias_central),
    ("dloss/dB, complex step", 16, _COMPLEX_STEP, _by_bias),
    ("momentum", 17, _FLOAT32, training.momentum),
    ("update", 18, _FLOAT32, training.update),
    ("cosine rate", 19, _ROUNDING, training.cosine_rate),
    ("fast cross-entropy, float32", 20, _FLOAT32, training.fast_cross_entropy),
    ("fast gradient, float32", 21, _FLOAT32, training.fast_gradient),
    ("fast update, float32", 22, _FLOAT32, training.fast_update),
    ("one step lowers the loss", 25, _STRAIGHT_LINE, _one_step),
    ("gradient from blocks, float32", 26, _FLOAT32, training.blocks),
    ("direction of L-BFGS", 27, _COMPLEX_STEP, training.direction),
    ("curvature at the start", 28, _COMPLEX_STEP, training.start_curvature),
)


def check(
    split: Split,
    rows: int,
    reg: float,
    seed: int,
    features: Sequence[str] = (),
    formulas: Formulas | None = None,
) -> list[Check]:
    """Check each step of the derivation.

    Parameters
    ----------
    split : real rows.
    rows : how many of them to draw, at most all.
    reg : lambda of the penalty, >= 0.
    seed : draws the rows, the parameters and the velocity.
    features : the chain of feature steps that the rows go through first; to the derivation they are X.
    formulas : what to check; the program's own by default.

    Returns
    -------
    One Check for each of `STEPS`, in their order, whether it passed or not.
    """
    formulas = formulas or Formulas()
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(split.labels), rows, replace=False))
    stored = prepare(split.images[chosen], split.height, split.width, features)
    problem = Problem(stored, split.labels[chosen], len(split.class_names), reg, rng)
    growth = {_FLOAT32: math.sqrt(max(1.0, problem.X.shape[1] / 784))}
    with np.errstate(all="ignore"):  # a wrong formula may overflow: its error shows it
        return [
            Check(name, equation, error(problem, formulas), tolerance * growth.get(tolerance, 1))
            for name, equation, tolerance, error in STEPS
        ]
