"""The steps that images go through before the softmax, under the names that receipts record.

Weights are valid only for rows that went through the same steps, so whatever reads weights reads the chain
from their receipt and applies it. The names are in `settings.FEATURE_STEPS`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.features.deskew import deskew

#: The value that stands for 1 in the uint8 features of every chain.
SCALE = 255.0

#: Name -> function of (M, N) uint8 images, their height and width that returns (M, N) uint8 images.
STEPS: dict[str, Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]] = {"deskew": deskew}


def apply(images: NDArray[np.uint8], height: int, width: int, chain: Sequence[str]) -> NDArray[np.uint8]:
    """The features of images.

    Parameters
    ----------
    images : (M, height * width) uint8.
    chain : names in `STEPS`, in the order in which they are applied.

    Returns
    -------
    (M, `count`) uint8; with no steps the images themselves, still mapped if they were.
    """
    for name in chain:
        images = STEPS[name](images, height, width)
    return images


def count(height: int, width: int, chain: Sequence[str]) -> int:  # noqa: ARG001  (no step changes it yet)
    """How many features an image has after a chain."""
    return height * width
