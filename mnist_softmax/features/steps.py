"""The steps that images go through before the softmax, under the names that receipts record.

Weights are valid only for rows that went through the same steps, so whatever reads weights reads the chain
from their receipt and applies it, with `prepare`. The names are in `settings.FEATURE_STEPS`.
"""

import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.features import directions
from mnist_softmax.features.deskew import deskew

#: The value that stands for 1 in the uint8 features of every chain.
SCALE = 255.0


class Step(NamedTuple):
    """A step: what it does to images, and what it makes of their size.

    Attributes
    ----------
    apply : function of (M, height * width) uint8 images, their height and width that returns (M, D) uint8.
    shape : function of height and width; the shape of one result, whose product is D.
    """

    apply: Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]
    shape: Callable[[int, int], tuple[int, ...]]


STEPS = {
    "deskew": Step(deskew, lambda height, width: (height, width)),
    "directions": Step(directions.directions, directions.shape),
}


def of_images(chain: Sequence[str]) -> tuple[str, ...]:
    """The first steps of a chain, as far as they make images: a picture of a row shows what these do."""
    return tuple(takewhile(lambda name: len(STEPS[name].shape(1, 1)) == 2, chain))


def shape(height: int, width: int, chain: Sequence[str]) -> tuple[int, ...]:
    """The shape of an image's features after a chain; (height, width) after none."""
    size: tuple[int, ...] = (height, width)
    for name in chain:
        size = STEPS[name].shape(*size)
    return size


def count(height: int, width: int, chain: Sequence[str]) -> int:
    """How many features an image has after a chain."""
    return math.prod(shape(height, width, chain))
