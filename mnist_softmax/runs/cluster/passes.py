"""A sum over all rows from blocks that the workers of a cluster compute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.split import Split, train_validation_rows
from mnist_softmax.rows import OnRows
from mnist_softmax.runs.cluster.connection import Connection
from mnist_softmax.runs.cluster.crew import Hand
from mnist_softmax.runs.cluster.worker import Job, Opened, crew, run
from mnist_softmax.settings import Settings
from mnist_softmax.training.blocks import BLOCK_ROWS, Blocks, Part, folded, quietly

#: Tasks of a sum: for each thread, so that a slower one has fewer; in all, as the scheduler has to keep up.
_TASKS_A_THREAD, _MOST_TASKS = 8, 1024
#: How many sums a task adds.
_FOLDED = 16


@dataclass(frozen=True)
class _Round:
    """What all tasks of one sum need; it is sent to the workers once, and passed on among them."""

    job: Job
    val_size: int
    seed: int
    of_block: Callable[..., Any]
    arguments: tuple[Any, ...]


class ClusterBlocks(Blocks):
    """The rows of a split in blocks, computed by the workers of a cluster, which open the split themselves.

    Parameters
    ----------
    stored : the features of the split, for what is computed here.
    rows : those that `settings` draw from the split.
    settings : its `val_size` is filled in.
    blocks_per_task : a power of 2; None for what fits the threads of the workers. It affects only the speed.
    """

    def __init__(
        self,
        connection: Connection,
        split: Split,
        features: Sequence[str],
        stored: NDArray[np.uint8],
        rows: NDArray[np.uint32],
        settings: Settings,
        *,
        blocks_per_task: int | None = None,
    ) -> None:
        super().__init__(stored, split.labels, rows)
        self._job = Job.of(split, features)
        self._crew = crew(connection, self._job)
        self._settings, self._blocks_per_task = settings, blocks_per_task
        self._seats: tuple[frozenset[str], list[Any]] = (frozenset(), [])

    def total(self, of_block: Callable[..., Part], *arguments: Any, on_rows: OnRows = lambda _: None) -> Part:
        """See `Blocks.total`; raises ClusterError as `Crew.results` does."""
        size = BLOCK_ROWS * (self._blocks_per_task or self._fitting())
        starts = range(0, len(self.rows), size)
        settings = self._settings
        round_ = _Round(self._job, settings.val_size or 0, settings.seed, of_block, arguments)

        def unit(hand: Hand) -> Any:
            shared = hand.submit(_kept, round_)
            seats = self._seats_of(hand)
            parts = hand.map(
                _part,
                starts,
                [start + size for start in starts],
                [seats[number % len(seats)] for number in range(len(starts))],
                shared=shared,
            )
            for start, part in zip(starts, parts, strict=True):
                hand.report(part, min(size, len(self.rows) - start))
            while len(parts) > 1:
                runs = [parts[at : at + _FOLDED] for at in range(0, len(parts), _FOLDED)]
                parts = hand.map(_folded, runs, shared=shared)
            return parts[0]

        ((_, total),) = self._crew.results([unit], on_rows)
        result: Part = total
        return result

    def _seats_of(self, hand: Hand) -> list[Any]:
        """A future for each worker, which Dask spreads over them, and keeps there from round to round.

        It gives a task to a worker that has what the task needs, which at first is only the one that has the
        round. A part needs a seat, too.
        """
        crew, seats = self._seats
        if crew != hand.crew:
            seats = [hand.submit(_take_seat, number) for number in range(len(hand.crew))]
            self._seats = hand.crew, seats
        return seats

    def _fitting(self) -> int:
        """Blocks of a task: a power of 2, so that each task is a branch of the tree."""
        blocks = -(-len(self.rows) // BLOCK_ROWS)
        wanted = -(-blocks // min(_TASKS_A_THREAD * self._crew.threads(), _MOST_TASKS))
        return 1 << (wanted - 1).bit_length()


def _kept(round_: _Round) -> _Round:
    return round_


def _take_seat(number: int) -> int:
    """Nothing but a place."""
    return number


def _part(start: int, stop: int, _seat: int, shared: _Round) -> Any:
    return run(shared.job, _sum, shared, start, stop)


def _sum(opened: Opened, shared: _Round, start: int, stop: int) -> Any:
    """The sum over some blocks."""
    split = opened.split
    rows = _training_rows(len(split.labels), shared.val_size, shared.seed)[start:stop]
    return folded(
        quietly(shared.of_block, opened.stored, split.labels, rows[at : at + BLOCK_ROWS], *shared.arguments)
        for at in range(0, len(rows), BLOCK_ROWS)
    )


def _folded(parts: list[Any], shared: _Round) -> Any:
    return run(shared.job, lambda _: folded(parts))


@lru_cache(maxsize=2)
def _training_rows(rows: int, val_size: int, seed: int) -> NDArray[np.uint32]:
    return train_validation_rows(rows, val_size, seed)[0]
