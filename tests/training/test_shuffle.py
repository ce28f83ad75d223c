"""The order of an epoch: fair for small data, in windows for large data, and the same on every machine."""

import ctypes
import mmap
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_softmax.data.folder import read_idx
from mnist_softmax.data.idx import pack_header
from mnist_softmax.training import shuffle
from mnist_softmax.training.shuffle import WHOLE, ReadAhead, epoch_order, window_rows

PIECE = (1 << 20) // 784
LARGE = np.arange(0, 1_700_000, dtype=np.uint32)[np.arange(1_700_000) % 7 != 0]  # 1.14 GB of 784-pixel rows


def test_data_of_up_to_a_gibibyte_is_shuffled_as_a_whole() -> None:
    rows = np.arange(0, 2000, 2, dtype=np.uint32)
    assert window_rows(1000, WHOLE // 1000) == 1000
    assert window_rows(1000, WHOLE // 1000 + 1) < 1000
    orders = np.array([epoch_order(rows, 0, epoch, 784) for epoch in range(1, 200)])
    assert (np.sort(orders, axis=1) == rows).all()
    # The place of a row in 199 orders: uniform, so mean 499.5 with a standard error of 20.
    assert np.abs(orders.argsort(axis=1).mean(axis=0) - 499.5).max() < 5 * 20.5


def test_large_data_is_shuffled_in_windows_that_draw_from_the_whole_file() -> None:
    order = epoch_order(LARGE, 3, 1, 784)
    assert (np.sort(order) == LARGE).all()
    window = window_rows(len(LARGE), 784)
    assert window == 256 * PIECE
    position = np.searchsorted(LARGE, order)
    for start in range(0, len(order) - window, window):
        pieces, counts = np.unique(position[start : start + window] // PIECE, return_counts=True)
        assert (len(pieces), set(counts)) == (256, {PIECE})  # whole pieces: nothing of them is read twice
        # 256 pieces anywhere among 1,090: their mean place is the middle, within 5 standard errors.
        assert abs(pieces.mean() - len(LARGE) / PIECE / 2) < 5 * 315 / 16
        within = position[start : start + window]
        # Neighbours say nothing of each other.
        assert np.abs(np.corrcoef(within[:-1], within[1:])[0, 1]) < 0.02


@pytest.mark.parametrize("rows", [LARGE[:1000], LARGE], ids=["small", "large"])
def test_the_order_depends_on_seed_and_epoch_alone(rows: NDArray[np.uint32]) -> None:
    first = epoch_order(rows, 0, 1, 784)
    assert (first == epoch_order(rows, 0, 1, 784)).all()
    assert (first != epoch_order(rows, 0, 2, 784)).mean() > 0.99
    assert (first != epoch_order(rows, 1, 1, 784)).mean() > 0.99


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which pages are in memory")
def test_the_window_in_use_and_the_next_one_are_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A quarter of the real sizes: 270 MB of rows in windows of 64 MB.
    monkeypatch.setattr(shuffle, "WHOLE", WHOLE // 4)
    monkeypatch.setattr(shuffle, "_PIECE", shuffle._PIECE // 4)
    path = tmp_path / "images"
    count = 425_000
    header = pack_header((count, 28, 28))
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + count * 784)  # a hole: it takes no room on disk
    images = read_idx(path, 3).reshape(count, 784)
    order = epoch_order(LARGE[np.less(LARGE, count)], 0, 1, 784)
    window = window_rows(len(order), 784)
    assert 4 < len(order) / window < 5

    size = path.stat().st_size
    address = images.ctypes.data - len(header)
    pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)

    def in_memory(rows: NDArray[np.uint32]) -> float:
        arguments = ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data)
        assert libc.mincore(*arguments) == 0
        return float((pages[(rows.astype(np.int64) * 784 + len(header)) // mmap.PAGESIZE] & 1).mean())

    def comes_into_memory(rows: NDArray[np.uint32]) -> bool:
        deadline = time.monotonic() + 60
        while in_memory(rows) < 0.95 and time.monotonic() < deadline:
            time.sleep(0.01)
        return in_memory(rows) > 0.95

    def reads_around_a_page() -> bool:
        of_mapping = Path("/proc/self/smaps").read_text().split(f"\n{address:x}-")[1]
        flags = of_mapping.split("VmFlags:")[1].splitlines()[0].split()
        return "rr" not in flags  # VM_RAND_READ

    assert reads_around_a_page()
    with ReadAhead(images, order) as read_ahead:
        assert not reads_around_a_page()
        assert in_memory(order) < 0.1
        read_ahead.reached(0)
        assert comes_into_memory(order[: 2 * window])
        assert in_memory(order[2 * window :]) < 0.3  # the stretches that are read reach beyond their pieces
        read_ahead.reached(window)
        assert comes_into_memory(order[2 * window : 3 * window])
    assert reads_around_a_page()  # whoever reads the rows in order is faster so


@pytest.mark.parametrize("row_bytes", [1, 784, 65_536, 90_000, 1_000_000])
def test_all_bytes_of_the_rows_of_two_windows_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, row_bytes: int
) -> None:
    monkeypatch.setattr(shuffle, "WHOLE", 0)
    monkeypatch.setattr(shuffle, "_PIECE", 10 * row_bytes)
    monkeypatch.setattr(shuffle, "_PIECES_IN_WINDOW", 4)
    count, header = 200, 16
    order = epoch_order(np.arange(count, dtype=np.uint32), 0, 1, row_bytes)
    read_ahead = ReadAhead(np.zeros((count, 1), np.uint8), order)
    size = header + count * row_bytes
    mapping = MagicMock()
    mapping.__len__.return_value = size
    read_ahead._mapping, read_ahead._row_bytes, read_ahead._start = mapping, row_bytes, header
    read_ahead._window = window_rows(count, row_bytes)
    read_ahead.reached(0)
    asked = np.zeros(size, bool)
    for _, start, length in (asking.args for asking in mapping.madvise.call_args_list):
        assert start % mmap.PAGESIZE == 0
        assert start + length <= size
        asked[start : start + length] = True
    of_windows = order[:80].astype(int)
    assert all(asked[header + row * row_bytes : header + (row + 1) * row_bytes].all() for row in of_windows)


def test_data_in_memory_is_left_alone() -> None:
    with ReadAhead(np.zeros((10, 784), np.uint8), np.arange(10, dtype=np.uint32)) as read_ahead:
        read_ahead.reached(0)
