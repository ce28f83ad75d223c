"""How do rows get there? In blocks, gathered by a second core while the first one computes."""

import os
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

#: Bytes and rows in a block, at most: smaller ones lose more to the waits between the threads, larger ones
#: leave the cache before they are used.
_BLOCK_BYTES, _BLOCK_ROWS = 1 << 22, 4096
#: The most rows that are multiplied at once. Any block has room for so many, however long they are.
PART_ROWS = 256

#: How long the end waits for a block that is still being read. A signal leaves the program little more.
_PATIENCE_SECONDS = 1.0

#: Called with the number of rows that were just trained on, after each block of them.
OnRows = Callable[[int], object]
#: Called before each step of training with the number of steps done, and a function that returns the
#: parameters as they are then, (N + 1, K * L) float32.
OnStep = Callable[[int, Callable[[], NDArray[np.float32]]], object]
#: The dtypes that rows may have.
_STORED = (np.dtype(np.uint8), np.dtype(np.float32))

Item = TypeVar("Item")


def cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # of this process alone; not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def check_stored(stored: NDArray[Any], labels: NDArray[Any]) -> None:
    """Raise TypeError unless rows are uint8 or float32, and labels are integers."""
    if stored.dtype not in _STORED or labels.dtype.kind not in "iu":
        raise TypeError(
            f"rows are uint8 or float32 and labels are integers, got {stored.dtype} and {labels.dtype}"
        )


class Gatherer:
    """Gathers rows into its buffers in turn.

    Parameters
    ----------
    stored : (M, N), in memory or mapped.
    buffers : with 2, one can be filled while the other is in use; with 1, it stays in the cache.

    Attributes
    ----------
    stored : the same, in one piece: of anything else `take` would make a copy each time.
    most : the most rows that are gathered at a time, at least `PART_ROWS`; a buffer for all is enough.
    """

    def __init__(self, stored: NDArray[Any], buffers: int) -> None:
        self.stored = np.ascontiguousarray(stored)
        self.most = max(PART_ROWS, min(_BLOCK_ROWS, _BLOCK_BYTES // stored[0].nbytes))
        shape = min(self.most, len(stored)), stored.shape[1]
        self._buffers = [np.empty(shape, stored.dtype) for _ in range(buffers)]

    def gather(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The rows of these numbers, at most `most`, as stored; valid until their buffer's next turn."""
        self._buffers.reverse()
        block = self._buffers[0][: len(rows)]
        self.stored.take(rows, axis=0, out=block, mode="clip")  # any other mode makes a copy first
        return block


def prefetched(items: Generator[Item], threads: int) -> Generator[Item]:
    """The same items; a second thread makes each while the caller uses the one before.

    With one thread, or where no other can be started, each item is made when it is asked for.
    """
    asked: SimpleQueue[bool] = SimpleQueue()
    made: SimpleQueue[Any] = SimpleQueue()

    def make() -> None:
        while asked.get():
            try:
                made.put((next(items), None))
            except BaseException as error:  # noqa: BLE001  # the caller raises it
                made.put((None, error))

    thread = threading.Thread(target=make, daemon=True)
    try:
        if threads > 1:
            with suppress(RuntimeError):  # a limit on processes
                thread.start()
        if thread.ident is None:
            yield from items
            return
        asked.put(True)
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            asked.put(True)
            yield item
    finally:
        asked.put(False)
        if thread.ident is not None:
            thread.join(_PATIENCE_SECONDS)
        if not thread.is_alive():
            items.close()
