"""A sweep whose groups of models are trained by the workers of a cluster."""

import math
import pickle
import zlib
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import numpy as np

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
        yield _unpacked(groups[number], *outcomes)


def _unit(job: Job, group: Sequence[Settings], hand: Hand) -> Any:
    # Names and digits pack well, and what a task brings passes through the scheduler twice.
    return hand.submit(_train, zlib.compress(pickle.dumps((job, group))))


def _train(packed: bytes) -> tuple[int, bytes]:
    job, group = pickle.loads(zlib.decompress(packed))  # noqa: S301  # Dask has unpickled it before
    return run(job, _last, group)


def _last(opened: Opened, group: Sequence[Settings]) -> tuple[int, bytes]:
    """The last epoch, and the losses and the accuracies after it, NaN if diverged, (2, K) float64."""
    outcomes: list[Outcome] = []
    for outcomes in train_group(opened.split, opened.stored, group, threads=1):  # noqa: B007
        pass
    scores = [[o.validation_loss for o in outcomes], [o.validation_accuracy for o in outcomes]]
    return outcomes[0].epoch, np.array(scores, np.float64).tobytes()


def _unpacked(group: Sequence[Settings], epoch: int, scores: bytes) -> list[Outcome]:
    return [
        Outcome(settings, epoch, diverged=True)
        if math.isnan(loss)
        else Outcome(settings, epoch, loss, accuracy)
        for settings, loss, accuracy in zip(
            group, *np.frombuffer(scores).reshape(2, -1).tolist(), strict=True
        )
    ]
