"""What `gradcheck` compares the derivation with: the loss written a second time, differentiated numerically.

No derivative here is analytic. There are central differences, Eq. 23, and the complex step, Eq. 24, which
subtracts nothing and so is exact to the last digits. "Eq. 7" is an equation of docs/derivation.md; `softmax`
has the legend.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.split import one_hot
from mnist_softmax.features.steps import SCALE
from mnist_softmax.rows import Gatherer
from mnist_softmax.settings import Settings
from mnist_softmax.training.batches import of_epoch
from mnist_softmax.training.kernel import Step, initial_state
from mnist_softmax.training.lbfgs import Pair

_H_CENTRAL = 1e-4
_H_COMPLEX = 1e-30
_MOMENTUM = 0.9


def relative_error(a: Any, b: Any, least: float = 0.0) -> float:
    """max|a - b| / max|b|; max|a - b| if b is zero up to rounding; inf if the shapes differ.

    A max|b| below `least` counts as that.
    """
    if np.shape(a) != np.shape(b):
        return math.inf
    largest = max(float(np.max(np.abs(b))), least)
    return float(np.max(np.abs(np.subtract(a, b)))) / (largest if largest > 1e-12 else 1.0)


def by_central_differences(f: Callable[[float], Any]) -> Any:
    """df/dx from f(x + h) and f(x - h); `f` takes the step. Eq. 23."""
    return (f(_H_CENTRAL) - f(-_H_CENTRAL)) / (2 * _H_CENTRAL)


def by_complex_step(f: Callable[[complex], Any]) -> Any:
    """df/dx from f(x + ih); `f` takes the step. Eq. 24."""
    return f(1j * _H_COMPLEX).imag / _H_COMPLEX


def plain_softmax(F: Any) -> Any:
    """S of F without the shift, Eq. 4, for logits small enough for exp."""
    return np.exp(F) / np.exp(F).sum(axis=1, keepdims=True)


def by_each_logit(f: Callable[[Any], Any], F: NDArray[np.float64], by: Callable[..., Any]) -> Any:
    """The derivative of `f` with respect to each logit of its row, along a new last axis of length L."""
    return np.stack([by(lambda step, e=e: f(F + step * e)) for e in np.eye(F.shape[1])], axis=-1)


class FastStep(NamedTuple):
    """What a step in float32 does, in the units and with the axes of the derivation.

    Attributes
    ----------
    velocity, change : (N + 1, L) float64; the velocity times the rate, and what was added to W and B.
    nats : (M,); the cross-entropy of each row before the step. Eq. 20.
    """

    velocity: NDArray[np.float64]
    change: NDArray[np.float64]
    nats: NDArray[np.float32]


def direction_by_matrix(
    gradient: NDArray[np.float64], pairs: list[Pair], inverse: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minus H times the gradient, with the whole matrix H, from the oldest pair to the newest. Eq. 27."""
    (s, y), unit = pairs[-1], np.eye(gradient.size)
    H = np.kron(np.eye(len(gradient)), inverse)
    H *= (s * y).sum() / (y.ravel() @ H @ y.ravel())
    for s, y in pairs:
        s, y = s.reshape(-1, 1), y.reshape(-1, 1)  # noqa: PLW2901
        left = unit - s @ y.T / (y.T @ s)
        H = left @ H @ left.T + s @ s.T / (y.T @ s)
    return np.asarray(-(H @ gradient.ravel()).reshape(gradient.shape))


class Problem:
    """Real rows, random parameters, and the independent references.

    Attributes
    ----------
    stored, labels : (M, N) and (M,) uint8.
    state : float32, random parameters of the fast step.
    X, Y : (M, N) and (M, L) float64.
    X1 : (M, N + 1); X and a column of ones, which the bias multiplies.
    P : (N + 1, L); W, and B as the last row: those of `state`.
    F, S : (M, L); logits, small enough to need no shift, and their probabilities.
    nats : (M,); the cross-entropy of each row by NumPy's own log-sum-exp.
    velocity_before : (N + 1, L); random, before a step.
    """

    def __init__(
        self,
        stored: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        classes: int,
        reg: float,
        rng: np.random.Generator,
    ) -> None:
        self.stored, self.labels, self.reg = stored, labels, reg
        self.X, self.Y = stored / SCALE, one_hot(labels, classes)
        self.X1 = np.hstack([self.X, np.ones((len(labels), 1))])

        # Logits with a standard deviation of at most 2: no class is certain and none is impossible. The
        # velocity is about as large as the gradient.
        self.state = initial_state(self.X.shape[1], classes, SCALE)
        longest = math.sqrt((self.X1**2).sum(axis=1).max())
        self.state.V[:] = rng.normal(0, 2 / longest / SCALE, self.state.V.shape)
        self.velocity_before = rng.normal(0, 0.1, (self.X.shape[1] + 1, classes))

        self.P = self.state.parameters().astype(np.float64)
        self.F = self.X1 @ self.P
        self.S = plain_softmax(self.F)
        self.nats = np.logaddexp.reduce(self.F, axis=1) - (self.Y * self.F).sum(axis=1)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """X, Y, W, B, reg, as `softmax.loss` and `softmax.gradient` take them."""
        return self.X, self.Y, self.P[:-1], self.P[-1], self.reg

    @cached_property
    def by_parameters(self) -> NDArray[np.float64]:
        """(N + 1, L); dloss/dW, and dloss/dB as the last row, by the complex step."""
        return np.asarray(by_complex_step(lambda step: self.moved_losses(step, self.reg)))

    @cached_property
    def by_parameters_central(self) -> NDArray[np.float64]:
        """The same by central differences."""
        return np.asarray(by_central_differences(lambda step: self.moved_losses(step, self.reg)))

    @cached_property
    def cross_entropy_by_parameters(self) -> NDArray[np.float64]:
        """(N + 1, L); dC/dW, and dC/dB as the last row, by the complex step."""
        return np.asarray(by_complex_step(lambda step: self.moved_losses(step, 0.0)))

    @cached_property
    def nats_by_logits(self) -> NDArray[np.float64]:
        """(M, L); the gradient of each row's cross-entropy with respect to F, by the complex step."""

        def nats(F: Any) -> Any:
            return np.log(np.exp(F).sum(axis=1)) - (self.Y * F).sum(axis=1)

        return np.asarray(by_each_logit(nats, self.F, by_complex_step))

    def moved_losses(self, step: complex, reg: float) -> NDArray[Any]:
        """(N + 1, L); the loss with each parameter in turn moved by `step`, minus the penalty of all unmoved.

        Moving W[n, l] by h moves F[m, l] by h * X[m, n] and no other logit: one new exponential per row. The
        shift is the largest logit before the move; by Eq. 4 it does not matter.
        """
        largest = self.F.max(axis=1, keepdims=True)
        E = np.exp(self.F - largest)
        right = (self.Y * self.F).sum(axis=1, keepdims=True)
        moves = step * self.X1
        losses = np.empty(self.P.shape, type(step))
        for label in range(self.P.shape[1]):
            others = np.delete(E, label, axis=1).sum(axis=1, keepdims=True)
            sums = others + np.exp(self.F[:, [label]] - largest + moves)
            losses[:, label] = (largest + np.log(sums) - right - self.Y[:, [label]] * moves).mean(axis=0)
        losses[:-1] += reg / 2 * (2 * step * self.P[:-1] + step * step)  # not the bias, which is the last row
        return losses

    def fast_step(
        self,
        step_class: type[Step],
        lr: float = 1.0,
        factor: float = 1.0,
        ratio: float = 1.0,
        *,
        before: float = 1.0,
        plain: bool = False,
    ) -> FastStep:
        """One fast step on all rows, with momentum and penalty, or plain.

        Parameters
        ----------
        lr, factor, ratio : the learning rate is ``lr * factor``, `ratio` times that of the step before.
        before : the learning rate of the step before.
        """
        M, state = len(self.stored), self.state.copy()
        state.velocity[:] = (before * self.velocity_before / SCALE).T  # Eq. 22
        settings = Settings(lr, 0.0, 0.0) if plain else Settings(lr, self.reg, _MOMENTUM)
        step, rates = step_class(state, [settings]), iter([(factor, ratio)])
        blocks = of_epoch(Gatherer(self.stored, buffers=1), self.labels, np.arange(M), M)
        nats = np.concatenate([step.run(block, rates)[:, 0].ravel() for block in blocks])
        step.store()
        velocity, change = (
            SCALE * array.T.astype(float) for array in (state.velocity, state.V.astype(float) - self.state.V)
        )
        return FastStep(velocity, change, nats)

    @cached_property
    def velocity(self) -> NDArray[np.float64]:
        """(N + 1, L); the velocity after one step. Eq. 17."""
        return np.asarray(_MOMENTUM * self.velocity_before + self.by_parameters)

    def by_blocks(self, sum_of_block: Callable[..., Any], folded: Callable[..., Any]) -> NDArray[np.float64]:
        """(N + 2, L); dC/dW, dC/dB, and a row of C, from five blocks of the rows or fewer. Eq. 26."""
        M = len(self.stored)
        blocks = [np.arange(M)[start : start + -(-M // 5)] for start in range(0, M, -(-M // 5))]
        nats, product = folded(
            sum_of_block(self.stored, self.labels, block, self.state.V, SCALE) for block in blocks
        )
        return np.vstack([product.T / (M * SCALE), np.full(self.P.shape[1], nats / M)])

    @cached_property
    def parabola(self) -> tuple[NDArray[np.float64], list[Pair], NDArray[np.float64]]:
        """A random gradient (3, 4), five steps with the change of a linear gradient, and a matrix (4, 4)."""
        rng = np.random.default_rng(len(self.stored))
        gradient, *steps = rng.normal(size=(6, 3, 4))
        root, part = rng.normal(size=(12, 12)), rng.normal(size=(4, 4))
        curvature = root @ root.T + np.eye(12)
        pairs = [(step, (curvature @ step.ravel()).reshape(3, 4)) for step in steps]
        return gradient, pairs, part @ part.T + np.eye(4)
