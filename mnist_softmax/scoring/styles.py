"""Accuracy by style of writing: which thin, bold, leaning, narrow or wide digits a model misreads.

Three measures of an image p(y, x), all from its raw grey levels::

    ink      sum p / 255                       in pixels; thin strokes have little
    slant    mu11 / mu02 (features/deskew.py)  pixels in x for each step down in y; below 0 leans to the right
    width    width / height of the box around the pixels above half of the image's largest

A style is one end of one measure: the tenth of the rows that lies furthest out within its class. Over all
classes together, the narrowest tenth of MNIST's test rows would be mostly ones (79 %), and its accuracy would
say how well ones are read.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.features.deskew import shear_and_centre
from mnist_softmax.scoring.metrics import wilson_interval

#: The low and the high end of each measure.
STYLES = (("least ink", "most ink"), ("leaning right", "leaning left"), ("narrowest", "widest"))
#: One row in so many makes up a style.
PART = 10
#: Pixels measured at once.
_BLOCK_PIXELS = 1 << 18


class StyleScore(NamedTuple):
    """How many of a style's `rows` were predicted right, with Wilson's 95 % interval of the fraction."""

    name: str
    rows: int
    right: int
    low: float
    high: float


def measure(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """Ink, slant and width of each image, as the module's docstring defines them.

    Parameters
    ----------
    images : (M, height * width) uint8.

    Returns
    -------
    (3, M) float64; NaN for images without ink. Other memory does not grow with M.
    """
    found = np.full((3, len(images)), np.nan)
    step = max(1, _BLOCK_PIXELS // (height * width))
    for start in range(0, len(images), step):
        P = images[start : start + step].reshape(-1, height, width).astype(np.float64)
        half = P.max(axis=(1, 2), keepdims=True) / 2
        inside = half < P
        boxes = [_extent(inside.any(axis=1)), _extent(inside.any(axis=2))]
        values = np.stack([P.sum(axis=(1, 2)) / 255, shear_and_centre(P)[0], boxes[0] / boxes[1]])
        found[:, start : start + step] = np.where(values[0] > 0, values, np.nan)
    return found


def _extent(lines: NDArray[np.bool_]) -> NDArray[np.float64]:
    """From the first line with ink to the last, of (K, lines); all of them where none has any."""
    extent: NDArray[np.float64] = lines.shape[1] - 1.0 * lines.argmax(axis=1) - lines[:, ::-1].argmax(axis=1)
    return extent


def accuracy_by_style(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    height: int,
    width: int,
    right: NDArray[np.bool_],
) -> list[StyleScore]:
    """Score the styles of the rows with ink.

    Parameters
    ----------
    images : (M, height * width) uint8, before any feature step.
    labels : (M,) uint8, the true classes.
    right : (M,) bool, whether each row was predicted right.

    Returns
    -------
    The scores in the order of `STYLES`, each over a tenth of the rows. A measure in which all rows are
    equal is left out; with fewer than ten rows there are none.
    """
    scores = []
    for names, values in zip(STYLES, measure(images, height, width), strict=True):
        rows = np.flatnonzero(~np.isnan(values))
        size = len(rows) // PART
        if size == 0 or np.ptp(values[rows]) == 0:
            continue
        for name, sign in zip(names, (1, -1), strict=True):
            order = np.argsort(_place_in_class(sign * values[rows], labels[rows]), kind="stable")
            correct = int(right[rows[order[:size]]].sum())
            scores.append(StyleScore(name, size, correct, *wilson_interval(correct, size)))
    return scores


def _place_in_class(values: NDArray[np.float64], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where each value lies among those of its class, (M,): from 0, the smallest, to 1, the largest."""
    places = np.empty(len(values))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        places[rows[np.argsort(values[rows], kind="stable")]] = (np.arange(len(rows)) + 0.5) / len(rows)
    return places
