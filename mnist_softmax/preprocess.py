"""What may be done to the images before pixels / 255: named steps, recorded in the receipt.

Weights are worth nothing on rows that were prepared in another way, so whatever reads weights reads the names
of their steps too and prepares its rows with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data import Split
from mnist_softmax.deskew import deskew

#: Name in the receipt -> function of (M, N) uint8 images, height and width that returns (M, N) uint8 images.
STEPS: dict[str, Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]] = {"deskew": deskew}


def apply(images: NDArray[np.uint8], height: int, width: int, steps: Sequence[str]) -> NDArray[np.uint8]:
    """Images (M, N) uint8 after `steps`, each a name in `STEPS`, in this order."""
    for step in steps:
        images = STEPS[step](images, height, width)
    return images


def prepared(split: Split, steps: Sequence[str]) -> Split:
    """A split whose images went through `steps`, in memory; with no steps the split itself, still mapped."""
    if not steps:
        return split
    images = apply(split.images, split.height, split.width, steps)
    images.flags.writeable = False
    return replace(split, images=images, preprocessing=(*split.preprocessing, *steps))
