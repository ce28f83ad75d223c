"""Deskewing: shear each image upright about its centre of mass, and move that to the middle.

A linear model needs the strokes of a class in the same place, but handwriting varies in slant and position.
Both are normalized with the moments of the image p(y, x), x and y counted from 0::

    s = sum p        sx = sum p x        sxy = sum p x y        cx = sx / s
                     sy = sum p y        syy = sum p y y        cy = sy / s

    alpha = (s sxy - sx sy) / (s syy - sy sy)      mu11 / mu02: how far a stroke moves in x for each step in y

A point (x, y) goes to x' = x - alpha (y - cy) + width / 2 - cx and y' = y + height / 2 - cy. After that mu11
is 0 and the centre of mass lies at (width / 2, height / 2), where MNIST's own preparation puts it to the
nearest pixel. The new image is computed backwards: the pixel at (x', y') takes its value from ::

    y = y' + dy        dy = cy - height / 2
    x = x' + dx        dx = cx - width / 2 + alpha (y' - height / 2)

bilinearly, with 0 outside the image. dy is the same in the whole image and dx in a whole row, so with the
integer parts iy = floor(dy), ix = floor(dx) and the fractions fy = dy - iy, fx = dx - ix::

    q(y', x) = (1 - fy) p(y' + iy, x) + fy p(y' + iy + 1, x)
    v(y', x') = (1 - fx) q(y', x' + ix) + fx q(y', x' + ix + 1)
    new pixel = floor(v + 0.5)

alpha is 0 where all the ink lies in one row, and an image without ink stays as it is.

All numbers are float64, and the operations are those written here, in this order: a program in another
language that does the same gets the same pixels, bit for bit. The sums are integers below 2**53, so their
order does not matter.

Source of the shear: section III-A of Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning
applied to document recognition", 1998.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

#: Pixels processed at once, so that their buffers fit in a processor's cache.
_BLOCK_PIXELS = 1 << 16


def deskew(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Shear and move images as described in the module's docstring.

    Parameters
    ----------
    images : (M, height * width) uint8.

    Returns
    -------
    (M, height * width) uint8, a new array; other memory does not grow with M.
    """
    result = np.empty(images.shape, np.uint8)
    block = _Block(max(1, min(len(images), _BLOCK_PIXELS // (height * width))), height, width)
    for start in range(0, len(images), block.size):
        P = images[start : start + block.size].reshape(-1, height, width)
        result[start : start + block.size] = block.deskew(P).reshape(len(P), -1)
    return result


def shear_and_centre(
    P: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(alpha, cx, cy), (K,) each, of images (K, height, width); 0 and the middle where there is no ink."""
    _, height, width = P.shape
    x, y = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
    of_rows = P @ np.stack([np.ones(width), x], axis=1)
    sums = np.stack([np.ones(height), y, y * y]) @ of_rows  # (K, 3, 2): powers of y, powers of x
    s, sx, sy, sxy, syy = sums[:, 0, 0], sums[:, 0, 1], sums[:, 1, 0], sums[:, 1, 1], sums[:, 2, 0]
    mu11, mu02 = s * sxy - sx * sy, s * syy - sy * sy  # both times s * s
    alpha = np.divide(mu11, mu02, out=np.zeros_like(s), where=mu02 > 0)
    cx = np.divide(sx, s, out=np.full_like(s, width / 2), where=s > 0)
    cy = np.divide(sy, s, out=np.full_like(s, height / 2), where=s > 0)
    return alpha, cx, cy


class _Block:
    """Deskews up to `size` images at once; allocating its buffers each time would take twice as long."""

    def __init__(self, size: int, height: int, width: int) -> None:
        self.size = size
        # Each new row needs two rows of width + 1 pixels. The image is padded with as many zeros as they can
        # reach: height / 2 up and down, because a centre of mass lies within its image. A shear has no such
        # bound, so ix is clipped to where all pixels are 0 anyway.
        self.top, self.left = height // 2 + 1, width + 1
        self.padded = np.zeros((size, height + 2 * self.top, width + 2 * self.left), np.uint8)
        self.windows = sliding_window_view(self.padded, (2, width + 1), axis=(1, 2))
        self.pixels = np.empty((size, height, width))
        self.product = np.empty((size, height, width + 1))
        self.q = np.empty((size, height, width + 1))

    def deskew(self, P: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The new pixels, to be truncated to integers, of P (K, height, width), K at most `size`."""
        K, height, width = P.shape
        v, q, product = self.pixels[:K], self.q[:K], self.product[:K]
        np.copyto(v, P)
        alpha, cx, cy = shear_and_centre(v)
        rows = np.arange(height)
        dy = (cy - height / 2)[:, None]
        dx = (cx - width / 2)[:, None] + alpha[:, None] * (rows - height / 2)
        iy, ix = np.floor(dy), np.floor(dx)
        fy, fx = (dy - iy)[:, :, None], (dx - ix)[:, :, None]

        self.padded[:K, self.top : self.top + height, self.left : self.left + width] = P
        first_row = self.top + iy.astype(np.intp) + rows
        first_column = self.left + np.clip(ix, -self.left, width).astype(np.intp)
        p = self.windows[np.arange(K)[:, None], first_row, first_column]  # (K, height, 2, width + 1)

        np.multiply(1 - fy, p[:, :, 0], out=q)
        np.multiply(fy, p[:, :, 1], out=product)
        np.add(q, product, out=q)
        np.multiply(1 - fx, q[:, :, :-1], out=v)
        np.multiply(fx, q[:, :, 1:], out=product[:, :, :-1])
        np.add(v, product[:, :, :-1], out=v)
        np.add(v, 0.5, out=v)
        return v  # not negative, so truncation is floor
