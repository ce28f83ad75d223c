"""Peer: the loop that one writes first. float64, one-hot labels, X[idx], a fresh array for every step."""

import numpy as np
from peer import BATCH_SIZE, LR, MOMENTUM, REG, load, serve

images, labels = load()
X = images / 255
Y = np.eye(10)[labels]
W, B = np.zeros((784, 10)), np.zeros(10)
velocity_W, velocity_B = np.zeros_like(W), np.zeros_like(B)
rng = np.random.default_rng(0)


def epoch() -> None:
    """One pass over the rows in a new order."""
    global W, B, velocity_W, velocity_B  # noqa: PLW0603
    order = rng.permutation(len(X))
    for start in range(0, len(X), BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        Xb, Yb = X[rows], Y[rows]
        F = Xb @ W + B
        F = F - F.max(axis=1, keepdims=True)
        S = np.exp(F)
        S = S / S.sum(axis=1, keepdims=True)
        dF = (S - Yb) / len(rows)
        velocity_W = MOMENTUM * velocity_W + Xb.T @ dF + REG * W
        velocity_B = MOMENTUM * velocity_B + dF.sum(axis=0)
        W = W - LR * velocity_W
        B = B - LR * velocity_B


serve(f"NumPy {np.__version__}", {"epoch": epoch})
