"""Rows: gathered as they are, and one block ahead of their use by a second thread, or without one."""

import os
import threading
import time
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from mnist_softmax import rows
from mnist_softmax.rows import Gatherer, prefetched


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("buffers", [1, 2])
def test_rows_are_gathered_as_they_are_and_stay_until_their_buffers_next_turn(
    dtype: Any, buffers: int
) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (500, 30)).astype(dtype)
    gatherer = Gatherer(stored, buffers)
    kept: list[Any] = []
    for count in (256, 3, 200, 1):
        chosen = np.random.default_rng(count).permutation(500)[:count].astype(np.uint32)
        kept = [*kept, (gatherer.gather(chosen), stored[chosen])][-buffers:]
        for gathered, expected in kept:
            assert gathered.dtype == dtype
            np.testing.assert_array_equal(gathered, expected)


def test_rows_of_an_array_in_pieces_are_copied_once_and_not_each_time() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (20_000, 2, 100), np.uint8)
    stored = wide[:, 1]
    gatherer = Gatherer(stored, 1)
    chosen = np.arange(0, 20_000, 7)[:100]
    np.testing.assert_array_equal(gatherer.gather(chosen), stored[chosen])
    assert gatherer.stored.flags.c_contiguous
    assert Gatherer(gatherer.stored, 1).stored is gatherer.stored


@pytest.mark.parametrize(("columns", "most"), [(1, 4096), (784, 4096), (4096, 1024), (1 << 20, 256)])
def test_a_block_has_few_rows_where_they_are_long_but_never_fewer_than_a_part(
    columns: int, most: int
) -> None:
    stored = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2, columns), (0, 0))
    assert Gatherer(stored, 1).most == most


@pytest.mark.parametrize("threads", [1, 2])
def test_the_items_come_in_their_order_from_the_thread_that_should_make_them(threads: int) -> None:
    makers = []

    def items() -> Generator[int]:
        for number in range(100):
            makers.append(threading.current_thread())
            yield number

    before = threading.active_count()
    assert list(prefetched(items(), threads)) == list(range(100))
    assert {maker is threading.main_thread() for maker in makers} == {threads == 1}
    assert threading.active_count() == before


def test_an_item_is_made_while_the_one_before_is_in_use_and_no_further() -> None:
    made = []

    def items() -> Generator[int]:
        for number in range(10):
            made.append(number)
            yield number

    coming = prefetched(items(), 2)
    for number in range(9):
        assert next(coming) == number
        deadline = time.monotonic() + 30
        while len(made) < number + 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        assert made == list(range(number + 2))
    coming.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_of_the_maker_reaches_the_caller_after_what_was_made(threads: int) -> None:
    def items() -> Generator[int]:
        yield 1
        raise ZeroDivisionError("here")

    coming = prefetched(items(), threads)
    assert next(coming) == 1
    with pytest.raises(ZeroDivisionError, match="here"):
        next(coming)


@pytest.mark.parametrize("threads", [1, 2])
def test_closing_ends_the_maker_and_what_it_holds(threads: int) -> None:
    ended = []

    def items() -> Generator[int]:
        try:
            yield from range(1_000_000)
        finally:
            ended.append(True)

    before, held = threading.active_count(), items()
    coming = prefetched(held, threads)
    next(coming)
    coming.close()
    assert threading.active_count() == before
    assert ended == [True]


def test_without_a_second_thread_the_items_are_made_when_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert list(prefetched((number for number in range(50)), 2)) == list(range(50))


def test_the_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    assert rows.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert rows.cores() == 1
