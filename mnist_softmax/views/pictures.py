"""Pictures of weights as numbers; `terminal` and `report` each give them their own colours."""

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.features.directions import DIRECTIONS


def places(shape: tuple[int, ...], cell: int) -> NDArray[np.intp]:
    """Which feature each pixel of a picture shows, (H, W); -1 for none.

    Features that make an image are its pixels. Each cell of directions becomes a square of `cell` pixels with
    a ring of eight edges, as if its ink were in the middle: ink that rises to the east has its edge on the
    left, ink that rises to the south on the top.
    """
    if len(shape) == 2:
        return np.arange(shape[0] * shape[1]).reshape(shape)
    _, rows, columns = shape
    edges = np.tile(_ring(cell), (rows, columns))
    of_cell = np.arange(rows * columns).reshape(rows, columns).repeat(cell, axis=0).repeat(cell, axis=1)
    return np.where(edges < 0, -1, edges * rows * columns + of_cell)


def _ring(cell: int) -> NDArray[np.intp]:
    """The direction whose edge covers each pixel of a cell, or -1; the last row and column are a gap."""
    radius = (cell - 2) / 2
    y, x = np.mgrid[:cell, :cell] - radius
    east, south = np.array(DIRECTIONS).T[:, :, None, None] / np.linalg.norm(DIRECTIONS, axis=1)[:, None, None]
    distance = -(east * x + south * y)  # (8, cell, cell): how far a pixel lies on the side of each edge
    furthest = distance.max(axis=0)
    inside = (furthest > 0.55 * radius) & (furthest < radius + 0.5) & (x <= radius) & (y <= radius)
    return np.where(inside, distance.argmax(axis=0), -1)


def smoothed(parameters: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """W with each pixel's weights averaged with its neighbours', 1 2 1 along both axes; B is as it was.

    Weights of pixels are noisy, and few characters cannot show their noise as anything but specks.

    Parameters
    ----------
    parameters : (height * width + 1, L), W and B.
    """
    W: NDArray[np.float64] = parameters[:-1].astype(np.float64).reshape(height, width, -1)
    for _ in range(2):  # the rows, then the columns
        around = np.pad(W, ((1, 1), (0, 0), (0, 0)), mode="edge")
        W = ((around[:-2] + 2 * W + around[2:]) / 4).swapaxes(0, 1)
    return np.vstack([W.reshape(parameters[:-1].shape), parameters[-1:]]).astype(np.float32)


def centred(parameters: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights W (N, L) of (N + 1, L) parameters, each less the mean of its feature over the classes.

    What is the same for every class has no effect on S. (After training from W = 0 the mean is 0, because the
    gradient's sum over the classes is.)
    """
    W = parameters[:-1]
    differences: NDArray[np.float32] = W - W.mean(axis=1, keepdims=True)
    return differences


def scale_of(weights: NDArray[np.float32]) -> float:
    """A scale for pictures of centred weights: 99 % lie within it, of the features that have any."""
    seen = np.abs(weights[np.abs(weights).max(axis=1) > 0])
    return float(np.quantile(seen, 0.99)) if seen.size else 0.0


def templates(parameters: NDArray[np.float32], places: NDArray[np.intp]) -> tuple[NDArray[np.float32], float]:
    """The centred weights as pictures (L, H, W), and a scale for all of them.

    Parameters
    ----------
    parameters : (N + 1, L), W and B.
    places : see `places`.
    """
    weights = centred(parameters)
    blank = np.zeros((1, weights.shape[1]), np.float32)  # what -1 stands for
    return np.concatenate([weights, blank]).T[:, places], scale_of(weights)
