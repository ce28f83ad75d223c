"""The order of the rows in an epoch, for data that fits in memory and for data that may not.

Up to 1 GiB of rows, every order is equally likely. A larger file may not fit in memory, and in a fully random
order each row would need a read of its own: pages of 4 KiB, often 32 of them, for 784 bytes. Such data is
shuffled in two steps: first the pieces, 1 MiB of consecutive rows each, then the rows within each window of
256 pieces. A window is read from disk once, in long reads, and its rows come from all over the file.

The choice depends only on the size of the data, never on the machine, so the order is the same everywhere.
"""

import mmap
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

#: The most bytes of rows that are shuffled as a whole.
WHOLE = 1 << 30
_PIECE = 1 << 20
_PIECES_IN_WINDOW = 256
#: Reads are requested in units of this many bytes, a multiple of any page size.
_UNIT = 1 << 16


def epoch_order(rows: NDArray[np.uint32], seed: int, epoch: int, row_bytes: int) -> NDArray[np.uint32]:
    """`rows` (ascending) in the order of epoch `epoch` (from 1), drawn from `seed` and `epoch` alone.

    `row_bytes`, the size of a row, decides how the rows are shuffled.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rows.copy()
    window = window_rows(len(rows), row_bytes)
    if window < len(rows):
        piece = window // _PIECES_IN_WINDOW
        whole_pieces = len(rows) // piece * piece  # what is left over stays in the last window
        rng.shuffle(order[:whole_pieces].reshape(-1, piece), axis=0)
    for start in range(0, len(rows), window):
        rng.shuffle(order[start : start + window])
    return order


def window_rows(rows: int, row_bytes: int) -> int:
    """How many rows are shuffled together: all `rows`, or those of a window."""
    if rows * row_bytes <= WHOLE:
        return max(rows, 1)
    return max(1, _PIECE // row_bytes) * _PIECES_IN_WINDOW


class ReadAhead:
    """Asks the system to read the next window of a mapped file while this one is in use.

    Nothing waits for the read. In a ``with`` block the system reads no more than it is asked to: around a
    page that is touched too early it would read megabytes, of other windows, and drop this one's for them.
    For data in memory, and on Windows, nothing happens.

    Parameters
    ----------
    stored : (M, N) rows, mapped or not.
    order : what `epoch_order` returned.
    """

    def __init__(self, stored: NDArray[Any], order: NDArray[np.uint32]) -> None:
        self._order = order
        self._row_bytes = stored[0].nbytes
        self._window = window_rows(len(order), self._row_bytes)
        self._asked = 0
        mapping = _mapping(stored) if self._window < len(order) else None
        self._mapping = mapping if hasattr(mmap.mmap, "madvise") else None
        self._start = len(mapping) - stored.nbytes if mapping else 0  # the rows end where the file ends

    def __enter__(self) -> Self:
        if self._mapping:
            self._mapping.madvise(mmap.MADV_RANDOM)
        return self

    def __exit__(self, *_: object) -> None:
        if self._mapping:
            self._mapping.madvise(mmap.MADV_NORMAL)

    def reached(self, position: int) -> None:
        """Ask the system to read this window and the next; everything before `position` is done."""
        while self._mapping and self._asked < min(position + 2 * self._window, len(self._order)):
            rows = self._order[self._asked : self._asked + self._window]
            self._asked += self._window
            begin = rows.astype(np.int64) * self._row_bytes + self._start
            units = len(self._mapping) // _UNIT + 2
            opened = np.bincount(begin // _UNIT, minlength=units)
            opened -= np.bincount((begin + self._row_bytes - 1) // _UNIT + 1, minlength=units)
            wanted = (np.cumsum(opened) > 0).astype(np.int8)  # the last 0 ends the last stretch
            edges = np.flatnonzero(np.diff(wanted, prepend=np.int8(0))) * _UNIT
            for start, stop in edges.reshape(-1, 2).tolist():
                length = min(stop, len(self._mapping)) - start
                self._mapping.madvise(mmap.MADV_WILLNEED, start, length)


def _mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """The memory map that an array is a view of, if it is one."""
    base: object = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None
