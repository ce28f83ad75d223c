"""The steps that images go through before the softmax, under the names that receipts record.

Weights are valid only for rows that went through the same steps, so whatever reads weights reads the chain
from their receipt and applies it. The names are in `settings.FEATURE_STEPS`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.features.deskew import deskew

#: Images that go through a chain together.
_BLOCK_ROWS = 4096
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


STEPS = {"deskew": Step(deskew, lambda height, width: (height, width))}


def apply(images: NDArray[np.uint8], height: int, width: int, chain: Sequence[str]) -> NDArray[np.uint8]:
    """The features of images.

    Parameters
    ----------
    images : (M, height * width) uint8.
    chain : names in `STEPS`, in the order in which they are applied.

    Returns
    -------
    (M, `count`) uint8; with no steps the images themselves, still mapped if they were. Memory beside the
    result does not grow with M.
    """
    if not chain:
        return images
    result = np.empty((len(images), count(height, width, chain)), np.uint8)
    for start in range(0, len(images), _BLOCK_ROWS):
        block = images[start : start + _BLOCK_ROWS]
        for done, name in enumerate(chain):
            block = STEPS[name].apply(block, *shape(height, width, chain[:done]))
        result[start : start + _BLOCK_ROWS] = block
    return result


def shape(height: int, width: int, chain: Sequence[str]) -> tuple[int, ...]:
    """The shape of an image's features after a chain; (height, width) after none."""
    size: tuple[int, ...] = (height, width)
    for name in chain:
        size = STEPS[name].shape(*size)
    return size


def count(height: int, width: int, chain: Sequence[str]) -> int:
    """How many features an image has after a chain."""
    return math.prod(shape(height, width, chain))
