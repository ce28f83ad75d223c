"""What `gradcheck` checks, and its checks of training: gradient descent, its fast form, L-BFGS."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_softmax import softmax as reference
from mnist_softmax.features.steps import SCALE
from mnist_softmax.proof.references import (
    Problem,
    by_complex_step,
    direction_by_matrix,
    plain_softmax,
    relative_error,
)
from mnist_softmax.training import curvature, descent, lbfgs
from mnist_softmax.training.blocks import folded as added
from mnist_softmax.training.kernel import Step


@dataclass(frozen=True)
class Formulas:
    """What is under test: the functions of `softmax` and `training`, each of which a test may replace."""

    logits: Callable[..., Any] = reference.logits
    shift: Callable[..., Any] = reference.shift
    softmax: Callable[..., Any] = reference.softmax
    log_softmax: Callable[..., Any] = reference.log_softmax
    cross_entropy: Callable[..., Any] = reference.cross_entropy
    penalty: Callable[..., Any] = reference.penalty
    loss: Callable[..., Any] = reference.loss
    jacobian: Callable[..., Any] = reference.jacobian
    probability_gradient: Callable[..., Any] = reference.probability_gradient
    logit_gradient: Callable[..., Any] = reference.logit_gradient
    gradient: Callable[..., Any] = reference.gradient
    learning_rate_factor: Callable[..., float] = descent.learning_rate_factor
    learning_rate_factors: Callable[..., Iterator[tuple[float, float]]] = descent.learning_rate_factors
    step: type[Step] = Step
    sum_of_block: Callable[..., Any] = lbfgs.sum_of_block
    folded: Callable[..., Any] = added
    direction: Callable[..., Any] = lbfgs.direction
    start_curvature: Callable[..., Any] = curvature.start_curvature


def momentum(p: Problem, f: Formulas) -> float:
    """Eq. 17."""
    return relative_error(p.fast_step(f.step).velocity, p.velocity)  # at a rate of 1


def update(p: Problem, f: Formulas) -> float:
    """Eq. 18."""
    # A rate that moves the parameters by about their own size; float32 keeps fewer digits of a smaller move.
    lr = float(np.abs(p.P).max() / np.abs(p.velocity).max())
    return relative_error(p.fast_step(f.step, 2 * lr, 0.5, before=lr).change, -lr * p.velocity)


def cosine_rate(_: Problem, f: Formulas) -> float:
    """Eq. 19."""
    factors = [f.learning_rate_factor("cosine", step, 1000) for step in range(1000)]
    return relative_error(factors, (1 + np.cos(np.pi * np.arange(1000) / 1000)) / 2)


def fast_cross_entropy(p: Problem, f: Formulas) -> float:
    """Eq. 20."""
    return relative_error(p.fast_step(f.step).nats, p.nats)


def fast_gradient(p: Problem, f: Formulas) -> float:
    """Eq. 21."""
    return relative_error(p.fast_step(f.step, plain=True).velocity, p.cross_entropy_by_parameters)


def fast_update(p: Problem, f: Formulas) -> float:
    """Eq. 22."""
    *_, (factor, ratio) = f.learning_rate_factors("cosine", 0, 4)
    before, rate = ((1 + math.cos(step * math.pi / 4)) / 2 for step in (2, 3))
    return relative_error(p.fast_step(f.step, 1.0, factor, ratio, before=before).velocity, rate * p.velocity)


def blocks(p: Problem, f: Formulas) -> float:
    """Eq. 26."""
    of_all = np.vstack([p.cross_entropy_by_parameters, np.full(p.P.shape[1], p.nats.mean())])
    return relative_error(p.by_blocks(f.sum_of_block, f.folded), of_all)


def direction(p: Problem, f: Formulas) -> float:
    """Eq. 27."""
    return relative_error(f.direction(*p.parabola), direction_by_matrix(*p.parabola))


def start_curvature(p: Problem, f: Formulas) -> float:
    """Eq. 28."""
    stored, X1, L = p.stored[: curvature.SAMPLE], p.X1[: curvature.SAMPLE], p.P.shape[1]
    found = f.start_curvature(stored, np.arange(len(stored)), SCALE, L, p.reg)
    penalty = np.append(np.full(len(X1[0]) - 1, p.reg), 0.0)
    if np.ndim(found) == 1:  # of many columns there is the diagonal alone
        return relative_error(found, (X1**2).mean(axis=0) / L + penalty)
    step = p.velocity_before - p.velocity_before.mean(axis=1, keepdims=True)  # the same for all: no change
    of_cross_entropy = by_complex_step(lambda h: X1.T @ plain_softmax(X1 @ (h * step)) / len(X1))
    return relative_error(found @ step, of_cross_entropy + penalty[:, None] * step)
