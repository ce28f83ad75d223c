"""The derivation as functions: the readable reference. `training.kernel` is fast; a test compares the two.

"Eq. 7" is an equation of docs/derivation.md, which derives each; `gradcheck` checks each numerically.

Legend, used in `training` too::

    X (M, N)   features in [0, 1], one image per row    F (M, L)   logits, X @ W + B
    Y (M, L)   one-hot labels                           S (M, L)   probabilities, softmax of F
    W (N, L)   weights                                  M rows, N features (pixels), L classes
    B (L,)     bias                                     reg        lambda of the penalty

::

    F = X @ W + B                                       Eq. 1
    S = exp(F - max F) / sum exp(F - max F)             Eq. 2, Eq. 3
    C = -mean over rows of sum(Y * log S)               Eq. 7, Eq. 8
    loss = C + (reg / 2) * ||W||^2                      Eq. 9
    dloss/dW = X.T @ (S - Y) / M + reg * W              Eq. 15
    dloss/dB = mean over rows of (S - Y)                Eq. 16

Every function keeps the dtype of its input: float64 to check the derivation, float32 as in training,
complex128 for the complex-step derivative.
"""

from typing import Any

import numpy as np

#: An array of any of the dtypes above.
Array = Any


def logits(X: Array, W: Array, B: Array) -> Array:
    """F = X @ W + B, shape (M, L). Eq. 1."""
    return X @ W + B


def shift(F: Array) -> Array:
    """Subtract each row's largest logit, Eq. 2; of complex logits, Eq. 24, the largest real part.

    After the shift exp cannot overflow, and S stays the same, Eq. 4.
    """
    return F - F.real.max(axis=-1, keepdims=True)


def softmax(F: Array) -> Array:
    """S = exp(F) / sum over classes of exp(F), F shifted, shape (M, L), Eq. 3; rows sum to 1, Eq. 5."""
    E = np.exp(shift(F))
    return E / E.sum(axis=-1, keepdims=True)


def log_softmax(F: Array) -> Array:
    """Log S by log-sum-exp, shape (M, L), Eq. 6; finite even where S itself underflows to 0."""
    F = shift(F)
    return F - np.log(np.exp(F).sum(axis=-1, keepdims=True))


def cross_entropy(F: Array, Y: Array) -> Any:
    """C = -mean over rows of sum(Y * log S), from the logits F; a scalar >= 0, in nats. Eq. 7, Eq. 8."""
    return -(Y * log_softmax(F)).sum(axis=-1).mean()


def penalty(W: Array, reg: float) -> Any:
    """L2 term (reg / 2) * ||W||^2 of Eq. 9; the bias is not penalised."""
    return reg / 2 * (W * W).sum()


def loss(X: Array, Y: Array, W: Array, B: Array, reg: float) -> Any:
    """Cross-entropy plus penalty, the number that training lowers. Eq. 9."""
    return cross_entropy(logits(X, W, B), Y) + penalty(W, reg)


def jacobian(S: Array) -> Array:
    """dS_i/df_j = S_i * (delta_ij - S_j) of each row, shape (M, L, L), Eq. 10; only `gradcheck` forms it."""
    return S[..., :, None] * (np.eye(S.shape[-1], dtype=S.dtype) - S[..., None, :])


def probability_gradient(S: Array, Y: Array) -> Array:
    """-Y / S, shape (M, L): the gradient of each row's cross-entropy with respect to S. Eq. 11."""
    return -Y / S


def logit_gradient(S: Array, Y: Array) -> Array:
    """S - Y, shape (M, L): what `probability_gradient` times `jacobian` simplifies to, row by row. Eq. 12."""
    return S - Y


def gradient(X: Array, Y: Array, W: Array, B: Array, reg: float) -> tuple[Array, Array]:
    """(dloss/dW, dloss/dB), of the shapes of W and B. Eq. 15, Eq. 16."""
    dF = logit_gradient(softmax(logits(X, W, B)), Y) / len(X)  # Eq. 13
    return X.T @ dF + reg * W, dF.sum(axis=0)  # Eq. 14 and the gradient of the penalty
