"""The derivation as functions: the readable reference. `train` is fast; a test compares the two.

Legend, used in `train` too::

    X (M, N)   pixels in [0, 1], one row an image       F (M, L)   logits, X @ W + B
    Y (M, L)   one-hot labels                           S (M, L)   probabilities, softmax of F
    W (N, L)   weights                                  M rows, N pixels, L classes (60000, 784, 10 in MNIST)
    B (L,)     bias                                     reg        lambda of the penalty

::

    F = X @ W + B
    S = exp(F - max F) / sum exp(F - max F)
    C = -mean over rows of sum(Y * log S)
    loss = C + (reg / 2) * ||W||^2
    dloss/dW = X.T @ (S - Y) / M + reg * W
    dloss/dB = mean over rows of (S - Y)

Every function keeps the dtype it is given: float64 to check the derivation, float32 as the trainer does it,
complex128 for the complex-step derivative.
"""

from typing import Any

import numpy as np

#: Of any of the dtypes above.
Array = Any


def logits(X: Array, W: Array, B: Array) -> Array:
    """F = X @ W + B, shape (M, L)."""
    return X @ W + B


def shift(F: Array) -> Array:
    """Subtract each row's largest logit: S stays the same, and exp of what is left cannot overflow."""
    return F - F.real.max(axis=-1, keepdims=True)


def softmax(F: Array) -> Array:
    """S = exp(F) / sum over classes of exp(F), shape (M, L); each row is positive and sums to 1."""
    E = np.exp(shift(F))
    return E / E.sum(axis=-1, keepdims=True)


def log_softmax(F: Array) -> Array:
    """Log S by log-sum-exp, shape (M, L); finite even where S itself underflows to 0."""
    F = shift(F)
    return F - np.log(np.exp(F).sum(axis=-1, keepdims=True))


def cross_entropy(F: Array, Y: Array) -> Any:
    """C = -mean over rows of sum(Y * log S), from the logits F; a scalar >= 0, in nats."""
    return -(Y * log_softmax(F)).sum(axis=-1).mean()


def penalty(W: Array, reg: float) -> Any:
    """L2 term (reg / 2) * ||W||^2; the bias is not penalised."""
    return reg / 2 * (W * W).sum()


def loss(X: Array, Y: Array, W: Array, B: Array, reg: float) -> Any:
    """Cross-entropy plus penalty, the number that training lowers."""
    return cross_entropy(logits(X, W, B), Y) + penalty(W, reg)


def gradient(X: Array, Y: Array, W: Array, B: Array, reg: float) -> tuple[Array, Array]:
    """(dloss/dW, dloss/dB), of the shapes of W and B."""
    dF = (softmax(logits(X, W, B)) - Y) / len(X)
    return X.T @ dF + reg * W, dF.sum(axis=0)
