"""The order of the rows in an epoch, for data that fits in memory and for data that may not.

Up to 1 GiB of rows every order is equally likely. Beyond that the file may not fit in memory, and a row
from anywhere would cost a read of its own: pages of 4 KiB, often 32 of them, for 784 bytes. There the rows
are shuffled in two steps: pieces of 1 MiB of consecutive rows are put in random order, then the rows within
each window of 256 pieces. So a window is read from disk once, in long reads, and its rows come from all over
the file.

Which of the two it is depends on the size of the data alone, never on the machine, so that the same run gives
the same weights everywhere.
"""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The largest data, in bytes of its rows, that is shuffled as a whole.
WHOLE = 1 << 30
_PIECE = 1 << 20
_PIECES_IN_WINDOW = 256
#: Reads are asked for in stretches of this many bytes, a multiple of any page size.
_UNIT = 1 << 16


def epoch_order(rows: NDArray[np.uint32], seed: int, epoch: int, row_bytes: int) -> NDArray[np.uint32]:
    """`rows` (ascending) in the order that `seed` draws for epoch `epoch` (from 1), whatever came before.

    `row_bytes` is the size of a row: it decides how the rows are shuffled.
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
    """How many rows are shuffled among each other: all `rows`, or those of a window."""
    if rows * row_bytes <= WHOLE:
        return max(rows, 1)
    return max(1, _PIECE // row_bytes) * _PIECES_IN_WINDOW


class ReadAhead:
    """Has the system read the next window of a mapped file while this one is in use.

    Reading is only asked for, so nothing waits. Where it cannot be asked for (data in memory, Windows)
    nothing happens.

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

    def reached(self, position: int) -> None:
        """Ask the system to read this window and the next; everything before `position` is done."""
        while self._mapping and self._asked < min(position + 2 * self._window, len(self._order)):
            rows = self._order[self._asked : self._asked + self._window]
            self._asked += self._window
            wanted = np.zeros(len(self._mapping) // _UNIT + 2, np.int8)  # the last one ends the last stretch
            wanted[(rows.astype(np.int64) * self._row_bytes + self._start) // _UNIT] = 1
            edges = np.flatnonzero(np.diff(wanted, prepend=np.int8(0))) * _UNIT
            for start, stop in edges.reshape(-1, 2).tolist():
                length = min(stop, len(self._mapping)) - start
                self._mapping.madvise(mmap.MADV_WILLNEED, start, length)


def _mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """The map of the file that an array lies in, if it does."""
    base: object = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None
