"""A sweep whose groups of models are trained by the workers of a cluster."""

import pickle
import zlib
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

from mnist_softmax.data.split import Split
from mnist_softmax.rows import OnRows
from mnist_softmax.runs.cluster.connection import Connection
from mnist_softmax.runs.cluster.crew import Hand
from mnist_softmax.runs.cluster.worker import Job, Opened, crew, run
from mnist_softmax.runs.sweep import Outcome, groups_of, train_group
from mnist_softmax.settings import Settings, check_features


def sweep(
    connection: Connection,
    split: Split,
    models: Sequence[Settings],
    features: Sequence[str] = (),
    *,
    on_rows: OnRows = lambda _: None,
) -> Generator[list[Outcome]]:
    """As `runs.sweep.sweep`, but the outcomes of a group come when its last epoch is done.

    Raises
    ------
    UsageError : see `runs.sweep.sweep`.
    ClusterError : see `Crew.results`.
    """
    groups = groups_of(split, models)
    job = Job.of(split, check_features(features))
    passes = [group[0].row_passes(len(split.labels)) * len(group) for group in groups]
    for number, outcomes in crew(connection, job).results([partial(_unit, job, group) for group in groups]):
        on_rows(passes[number])
        yield [Outcome(settings, *of_one) for settings, of_one in zip(groups[number], outcomes, strict=True)]


def _unit(job: Job, group: Sequence[Settings], hand: Hand) -> Any:
    # Names and digits pack well, and what a task brings passes through the scheduler twice.
    return hand.submit(_train, zlib.compress(pickle.dumps((job, group))))


def _train(packed: bytes) -> list[tuple[Any, ...]]:
    job, group = pickle.loads(zlib.decompress(packed))  # noqa: S301  # Dask has unpickled it before
    return run(job, _last, group)


def _last(opened: Opened, group: Sequence[Settings]) -> list[tuple[Any, ...]]:
    """The outcomes after the last epoch, without their settings."""
    outcomes: list[Outcome] = []
    for outcomes in train_group(opened.split, opened.stored, group, threads=1):  # noqa: B007
        pass
    return [(o.epoch, o.validation_loss, o.validation_accuracy, o.diverged) for o in outcomes]
