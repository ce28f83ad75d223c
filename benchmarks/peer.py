"""What the peers share: the same real files, and a line protocol that lets `bench.py` interleave them.

A peer is a process of its own. It loads the data, warms up, prints "ready <version>"; then for every line on
its standard input it does one unit of work (an epoch, unless the line says otherwise) and prints the seconds.
"""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BATCH_SIZE = 128
LR, REG, MOMENTUM = 0.1, 1e-4, 0.9


def load(split: str = "train") -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (M, 784) and labels, of the folder named first on the command line; `split` is train or t10k."""
    folder = Path(sys.argv[1])
    images = np.fromfile(folder / f"{split}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 784)
    return images, np.fromfile(folder / f"{split}-labels-idx1-ubyte", np.uint8)[8:]


def serve(version: str, work: Mapping[str, Callable[[], None]]) -> None:
    """Answer the lines on standard input with the seconds that the work they name took."""
    for one in work.values():
        one()  # the first run pays for compiling, caches and page faults
    print("ready", version, flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        work[line.strip()]()
        print(time.perf_counter() - started, flush=True)
