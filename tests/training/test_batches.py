"""The blocks of an epoch: every row once, in the order of the epoch, batch by batch."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mnist_softmax.rows import PART_ROWS, Gatherer
from mnist_softmax.settings import Settings
from mnist_softmax.training.batches import blocks, cuts, of_epoch
from mnist_softmax.training.shuffle import epoch_order


@given(st.integers(1, 9000), st.integers(1, 3000), st.integers(PART_ROWS, 4096))
def test_the_cuts_of_an_epoch_make_up_its_batches(rows: int, batch_size: int, most: int) -> None:
    at, in_batch, part, found = 0, 0, 0, []
    for cut in cuts(rows, batch_size, most):
        assert cut.start == at
        assert 0 < cut.rows <= PART_ROWS
        assert cut.stop - cut.start <= most
        assert (cut.stop - cut.start) % cut.rows == 0
        assert cut.first == part
        for _ in range((cut.stop - cut.start) // cut.rows):
            in_batch, part = in_batch + cut.rows, part + 1
            if part == cut.parts:
                assert in_batch == cut.batch_rows
                found.append(in_batch)
                in_batch = part = 0
        at = cut.stop
    assert (at, in_batch) == (rows, 0)
    full, short = divmod(rows, batch_size)
    assert found == [batch_size] * full + [short] * (short > 0)


@given(st.integers(1, 700), st.integers(1, 700))
def test_a_large_batch_is_cut_into_few_parts_of_about_one_size(rows: int, batch_size: int) -> None:
    for cut in cuts(rows, batch_size, 4096):
        assert cut.parts == -(-cut.batch_rows // PART_ROWS)
        assert cut.batch_rows // cut.parts - cut.parts <= cut.rows <= -(-cut.batch_rows // cut.parts)


def test_blocks_hold_the_rows_and_labels_of_each_epoch_in_its_order() -> None:
    rng = np.random.default_rng(0)
    stored, labels = rng.integers(0, 256, (900, 12), np.uint8), rng.integers(0, 7, 900).astype(np.uint8)
    rows = np.arange(0, 900, 2, dtype=np.uint32)
    settings = Settings(epochs=4, batch_size=37, seed=3)
    seen: list[Any] = [[]]
    for block in blocks(Gatherer(stored, 1), labels, rows, settings, 1):
        seen[-1] += zip(block.rows.reshape(-1, 12).tolist(), block.labels.ravel().tolist(), strict=True)
        if block.ends_epoch:
            seen.append([])
    assert seen.pop() == []
    for epoch, found in enumerate(seen, 2):
        order = epoch_order(rows, 3, epoch, 12)
        assert found == list(zip(stored[order].tolist(), labels[order].tolist(), strict=True))
    assert len(seen) == 3


def test_memory_does_not_grow_with_the_batch() -> None:
    stored, labels = np.zeros((50_000, 784), np.uint8), np.zeros(50_000, np.uint8)
    of_one_batch = of_epoch(Gatherer(stored, 1), labels, np.arange(50_000), 50_000)
    assert max(block.rows.nbytes for block in of_one_batch) <= 4 << 20
