"""From images to the features that a model sees: a chain of steps over all rows, in memory or in a file."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas
from mnist_softmax.features import steps
from mnist_softmax.files import mapped_scratch

#: Images that go through a chain together.
_BLOCK_ROWS = 4096
#: The most bytes of features that are held in memory; more go to a file.
MOST_IN_MEMORY = 1 << 30


def prepare(
    images: NDArray[np.uint8], height: int, width: int, chain: Sequence[str], folder: Path | None = None
) -> NDArray[np.uint8]:
    """The features of images.

    Parameters
    ----------
    images : (M, height * width) uint8.
    chain : names in `steps.STEPS`, in the order in which they are applied.
    folder : of the file without a name that holds more than 1 GiB of features; None for the system's folder
        of temporary files.

    Returns
    -------
    (M, `steps.count`) uint8; with no steps the images themselves, still mapped if they were. Memory beside
    the result does not grow with M.

    Raises
    ------
    LocalIOError : the file cannot be written.
    """
    if not chain:
        return images
    sizes = [steps.shape(height, width, chain[:done]) for done in range(len(chain))]

    def features(start: int) -> NDArray[np.uint8]:
        block = images[start : start + _BLOCK_ROWS]
        for name, size in zip(chain, sizes, strict=True):
            block = steps.STEPS[name].apply(block, *size)
        return block

    starts = range(0, len(images), _BLOCK_ROWS)
    rows = (len(images), steps.count(height, width, chain))
    with blas.one_thread():
        if math.prod(rows) > MOST_IN_MEMORY:
            mapped = mapped_scratch((features(start).data for start in starts), folder)
            return np.frombuffer(mapped, np.uint8).reshape(rows)
        result = np.empty(rows, np.uint8)
        for start in starts:
            result[start : start + _BLOCK_ROWS] = features(start)
    return result
