"""The rows of each epoch, in its order: batches of them in blocks, ready to be trained on."""

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.rows import PART_ROWS, Gatherer
from mnist_softmax.settings import Settings
from mnist_softmax.training.kernel import Block, Cut
from mnist_softmax.training.shuffle import ReadAhead, epoch_order


def cuts(rows: int, batch_size: int, most: int) -> Iterator[Cut]:
    """The blocks, of at most `most` rows, of an epoch."""
    short = rows % batch_size
    for batch_rows, begin, end in ((batch_size, 0, rows - short), (short, rows - short, rows)):
        parts = -(-batch_rows // PART_ROWS)
        part = -(-batch_rows // max(parts, 1))
        last = batch_rows % part if parts > 1 else 0  # the last part of each batch, if it has another size
        if not last and begin < end:
            yield from _even(begin, end, part, batch_rows, parts, most)
        for batch in range(begin, end, batch_rows) if last else ():
            yield from _even(batch, batch + batch_rows - last, part, batch_rows, parts, most)
            yield Cut(batch + batch_rows - last, batch + batch_rows, last, batch_rows, parts, parts - 1)


def _even(begin: int, end: int, part: int, batch_rows: int, parts: int, most: int) -> Iterator[Cut]:
    """The blocks of a stretch of parts of one size."""
    size = most // part * part
    for start in range(begin, end, size):
        first = (start - begin) // part % parts
        yield Cut(start, min(start + size, end), part, batch_rows, parts, first)


def blocks(
    gatherer: Gatherer, labels: NDArray[Any], rows: NDArray[np.uint32], settings: Settings, epochs_done: int
) -> Generator[Block]:
    """All blocks of the epochs that are left; see `descent.descend`. Each is as valid as what is gathered."""
    for epoch in range(epochs_done + 1, settings.epochs + 1):
        # Nothing here holds the order: a second one at the end of an epoch would be memory.
        yield from of_epoch(
            gatherer,
            labels,
            epoch_order(rows, settings.seed, epoch, gatherer.stored[0].nbytes),
            settings.batch_size,
        )


def of_epoch(
    gatherer: Gatherer, labels: NDArray[Any], order: NDArray[Any], batch_size: int
) -> Iterator[Block]:
    """The blocks of one epoch, whose rows come in this order."""
    with ReadAhead(gatherer.stored, order) as read_ahead:
        for cut in cuts(len(order), batch_size, gatherer.most):
            read_ahead.reached(cut.start)
            chosen = order[cut.start : cut.stop]
            shape = (len(chosen) // cut.rows, cut.rows)
            of_labels = labels[chosen].astype(np.intp).reshape(shape)
            yield Block(cut, gatherer.gather(chosen).reshape(*shape, -1), of_labels, cut.stop == len(order))
