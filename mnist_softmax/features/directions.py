"""Directions: in which of eight directions the ink rises, and where in the image.

With p(y, x) the image, 0 outside and y counted downwards, a pixel's neighbours differ by::

    gx = p(y, x + 1) - p(y, x - 1)        gy = p(y + 1, x) - p(y - 1, x)

The vector (gx, gy) is the sum of at most one straight and one oblique part. There are eight, in the order
clockwise from east; (t)+ is max(t, 0)::

    east   (gx - |gy|)+       south-east  min((gx)+, (gy)+)
    south  (gy - |gx|)+       south-west  min((-gx)+, (gy)+)
    west   (-gx - |gy|)+      north-west  min((-gx)+, (-gy)+)
    north  (-gy - |gx|)+      north-east  min((gx)+, (-gy)+)

Each part is a map of the image. It is summed over cells of c = ceil(max(height, width) / 7) pixels, each with
half of its neighbours. In x and in y alike, pixel i has the weight in cell k ::

    tent(k, i) = (2c - |2i - (2ck + c - 1)|)+         for c = 4: 1 3 5 7 7 5 3 1

so a stroke that moves changes the sums little by little. The weights of a cell sum to (2 c^2)^2, less at the
border, and ::

    feature = min(255, floor(sqrt(64 sum / c^4)))

The root makes faint strokes count more, beside thick ones. An image of MNIST has 8 maps of 7 x 7 cells.

Sums are integers and the root is that of IEEE 754: a program in another language that does the same gets the
same features, bit for bit. A part is at most 255, so float32 holds the sums exactly up to c = 11.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Cells along the longer side of an image.
_CELLS = 7
#: The largest cell whose sums float32 holds exactly: 255 * 4 c^4 is below 2^24.
_LARGEST_EXACT = 11
#: Pixels processed at once, so that their buffers fit in a processor's cache.
_BLOCK_PIXELS = 1 << 16
#: The parts, clockwise from east, as steps in x and in y.
DIRECTIONS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))


def shape(height: int, width: int) -> tuple[int, int, int]:
    """The shape of an image's features: directions, rows of cells, columns of cells."""
    c = cell_side(height, width)
    return len(DIRECTIONS), -(-height // c), -(-width // c)


def directions(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The features of images as described in the module's docstring.

    Parameters
    ----------
    images : (M, height * width) uint8.

    Returns
    -------
    (M, D) uint8, D the product of `shape`, in C order; other memory does not grow with M.
    """
    c = cell_side(height, width)
    _, rows, columns = shape(height, width)
    tent_y, tent_x = tents(height, rows, c), tents(width, columns, c)
    result = np.empty((len(images), len(DIRECTIONS), rows, columns), np.uint8)
    block = max(1, _BLOCK_PIXELS // (height * width))
    for start in range(0, len(images), block):
        P = _parts(images[start : start + block].reshape(-1, height, width)).astype(tent_x.dtype)
        sums = np.tensordot(np.tensordot(P, tent_x, 1), tent_y, (2, 0))  # (8, K, columns, rows)
        roots = np.sqrt(64 * sums.astype(np.float64) / c**4)
        result[start : start + block] = np.minimum(roots, 255).transpose(1, 0, 3, 2)  # truncates: floor
    return result.reshape(len(images), len(DIRECTIONS) * rows * columns)


def cell_side(height: int, width: int) -> int:
    """c, the side of a cell in pixels."""
    return -(-max(height, width) // _CELLS)


def tents(pixels: int, cells: int, c: int) -> NDArray[Any]:
    """Each pixel's weight in each cell of its line, (pixels, cells); the dtype holds the sums exactly."""
    i, k = np.arange(pixels)[:, None], np.arange(cells)
    weights: NDArray[Any] = np.maximum(2 * c - np.abs(2 * i - (2 * c * k + c - 1)), 0)
    return weights.astype(np.float32 if c <= _LARGEST_EXACT else np.float64)


def _parts(P: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The maps (8, K, height, width) of images P (K, height, width); with (a - b)+ as max(a, b) - b."""
    p = np.zeros((len(P), P.shape[1] + 2, P.shape[2] + 2), np.uint8)
    p[:, 1:-1, 1:-1] = P
    left, right, above, below = p[:, 1:-1, :-2], p[:, 1:-1, 2:], p[:, :-2, 1:-1], p[:, 2:, 1:-1]
    across, down = np.maximum(left, right), np.maximum(above, below)
    east, south, west, north = across - left, down - above, across - right, down - below  # (gx)+ and so on
    flat, steep = east + west, south + north  # |gx| and |gy|: one of the two is 0
    parts = np.empty((len(DIRECTIONS), *P.shape), np.uint8)
    straight = ((east, steep), (south, flat), (west, steep), (north, flat))
    oblique = ((east, south), (south, west), (west, north), (north, east))
    for i in range(4):
        np.subtract(np.maximum(*straight[i]), straight[i][1], out=parts[2 * i])
        np.minimum(*oblique[i], out=parts[2 * i + 1])
    return parts
