"""From a picture of one digit to the image that the weights were trained on: MNIST's own normalization.

Sources: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits": the black and
white NIST images were "size normalized to fit in a 20x20 pixel box while preserving their aspect ratio",
grey levels come from the anti-aliasing of that reduction, and they were "centered in a 28x28 image by
computing the center of mass of the pixels, and translating the image so as to position this point at the
center". C. Yadav and L. Bottou, "Cold Case: The Lost MNIST Digits", 2019, rebuilt it from the NIST
originals. The centre is pixel (14, 14) counted from 0, as the files show: half a pixel less costs up to
four points of accuracy.

NIST's images were black and white already. In a photograph, steps 1 and 2 separate the ink from its ground:

1. ground: the median of the outermost ring of pixels; the ink is darker or lighter than the ground, whichever
   extreme of the picture is further from it;
2. ink: a pixel's distance from the ground on that side, scaled so that the largest is 255; 0 where it is
   no larger than in most of the ring (shade and noise);
3. box: the rows and columns with sure ink (more than a third of the largest), except those with so few such
   pixels that they are specks; lines that hold more than a quarter of the sure ink are none;
4. size: the longer side of the box becomes 20 pixels, by area averaging; the brightest pixel becomes 255, so
   that a thin pen is as bright as a thick one;
5. place: in 28 x 28, by whole pixels, so that the centre of mass comes as close as possible to (14, 14).

Every decision is a comparison of integers, every division rounds x to floor(x + 0.5), and no sum exceeds
2^53: the same steps in another language (views/report/normalize.js) give the same image, bit for bit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.errors import DataError

#: Side of MNIST's images and of the box that holds the digit, in pixels.
MNIST_SIDE, MNIST_BOX = 28, 20
#: The least contrast between ground and ink, in grey levels: blank paper is noisy.
LEAST_CONTRAST = 32
#: Ink above this level is sure. JPEG leaves fainter ink around a stroke, photographs on the paper.
SURE = 85
#: Rows and columns with at most 1/SPECK of the sure pixels of the fullest one do not widen the box.
SPECK = 32


@dataclass(frozen=True)
class Normalized:
    """A picture of a digit in MNIST's form.

    Attributes
    ----------
    image : (height, width) uint8, light ink on black.
    inverted : whether the ink was darker than its ground.
    """

    image: NDArray[np.uint8]
    inverted: bool


def normalize(
    grey: NDArray[np.uint8], height: int = MNIST_SIDE, width: int = MNIST_SIDE, name: str | None = None
) -> Normalized:
    """Make an MNIST image of a picture of one digit, of any size and either polarity.

    Parameters
    ----------
    grey : (H, W) uint8, H and W at least 1; at most 2^40 pixels, so that sums stay exact.
    height, width : of the new image; the box is 20/28 of the shorter.
    name : of the picture, for the error.

    Raises
    ------
    DataError : no digit can be seen, or only specks that vanish in the reduction.
    """
    ink, inverted = _ink(grey, name)
    sure = ink > SURE
    top, bottom = _extent(np.count_nonzero(sure, axis=1))
    left, right = _extent(np.count_nonzero(sure, axis=0))
    box = box_side(height, width)
    digit = _reduce(ink[top:bottom, left:right], box)
    if not digit.any():
        raise DataError(
            "no digit to see", name, expected="strokes", got=f"specks that vanish at {box} x {box} pixels"
        )
    digit = _divide(255 * digit, int(digit.max()))
    image = np.zeros((height, width), np.uint8)
    mass = int(digit.sum())
    y = _offset(digit.sum(axis=1), mass, height)
    x = _offset(digit.sum(axis=0), mass, width)
    image[y : y + digit.shape[0], x : x + digit.shape[1]] = digit
    return Normalized(image, inverted)


def box_side(height: int, width: int) -> int:
    """Side of the box that holds the digit: 20 for 28 x 28."""
    return max(1, (2 * MNIST_BOX * min(height, width) + MNIST_SIDE) // (2 * MNIST_SIDE))


def _divide(value: NDArray[np.int64], by: int) -> NDArray[np.int64]:
    """floor(value / by + 1/2), exactly."""
    return (2 * value + by) // (2 * by)


def _ink(grey: NDArray[np.uint8], name: str | None) -> tuple[NDArray[np.uint8], bool]:
    """Steps 1 and 2: (H, W) uint8, from 0 for ground to 255 for full ink; and whether the ink was darker."""
    ring = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    ring_counts = np.bincount(ring, minlength=256)
    ground = _quantile(ring_counts, 1, 2)
    darkest, lightest = int(grey.min()), int(grey.max())
    inverted = ground - darkest > lightest - ground
    contrast = max(ground - darkest, lightest - ground)
    if contrast < LEAST_CONTRAST:
        raise DataError(
            "no digit to see",
            name,
            expected=f"ink at least {LEAST_CONTRAST} grey levels from its ground",
            got=contrast,
        )
    levels = np.arange(256)
    distance = np.maximum(ground - levels if inverted else levels - ground, 0)
    # A digit may touch the ring, so more than half of the contrast is always ink.
    ring_distances = np.bincount(distance, ring_counts, minlength=256).astype(np.int64)
    noise = min(_quantile(ring_distances, 15, 16), contrast // 2)
    scale = np.where(distance > noise, _divide(255 * distance, contrast), 0).astype(np.uint8)
    return scale[grey], inverted


def _quantile(counts: NDArray[np.int64], part: int, whole: int) -> int:
    """The smallest level with at least part/whole of the counts at or below it."""
    return int(np.argmax(whole * np.cumsum(counts) >= part * int(counts.sum())))


def _extent(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Step 3 for one axis: the first line with enough sure ink, and one past the last."""
    specks = counts <= int(counts.max()) // SPECK
    # A thin pen: the bar of a 7 is a line as full as its stem is long, so the stem is as faint as specks.
    inked = np.flatnonzero(counts if 4 * counts[specks].sum() > counts.sum() else ~specks)
    return int(inked[0]), int(inked[-1]) + 1


def _reduce(digit: NDArray[np.uint8], box: int) -> NDArray[np.int64]:
    """Step 4: the digit (H, W) reduced by area averaging, int64, with a longer side of `box` pixels.

    With S = max(H, W), in units of 1/box of a pixel: source pixel j covers [box j, box (j+1)), target pixel i
    covers [S i, S (i+1)), and weights are the lengths of the overlaps: `box`, less what the first and last
    have outside. The last target pixel of the shorter side may be partly ground.
    """
    side = max(digit.shape)

    def reduced(lines: NDArray[Any]) -> NDArray[np.int64]:
        """Weighted sums of the lines (n, m) that each target line covers."""
        length = len(lines)
        sums = np.empty((-(-length * box // side), lines.shape[1]), np.int64)
        for i in range(len(sums)):
            first, last = side * i // box, min(-(-side * (i + 1) // box), length)
            lines[first:last].sum(axis=0, dtype=np.int64, out=sums[i])
            sums[i] *= box
            sums[i] -= (side * i - box * first) * lines[first].astype(np.int64)
            sums[i] -= max(box * last - side * (i + 1), 0) * lines[last - 1].astype(np.int64)
        return sums

    # The longer side first, so that what lies between is small.
    height, width = digit.shape
    sums = reduced(reduced(digit).T).T if height >= width else reduced(reduced(digit.T).T)
    return _divide(sums, side * side)


def _offset(profile: NDArray[np.int64], mass: int, length: int) -> int:
    """Step 5 for one axis: where the digit begins, so that its mean index comes to length / 2."""
    moment = int(profile @ np.arange(len(profile)))
    # floor(length / 2 - moment / mass + 1/2), without leaving the image
    wanted = (length * mass - 2 * moment + mass) // (2 * mass)
    return min(max(wanted, 0), length - len(profile))
