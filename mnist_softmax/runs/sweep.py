"""A grid of hyperparameters for little more than the cost of one run.

Models that share a seed share their batches, so `descent.descend` trains them side by side, in groups of 16:
a batch is gathered once for the whole group, and one product serves all of it. Groups run in threads, each
with one BLAS thread, and do not depend on each other, so the result has the same bits on any number of cores.
"""

import itertools
import math
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas
from mnist_softmax.data.split import Split, train_validation_rows
from mnist_softmax.errors import UsageError
from mnist_softmax.features import steps
from mnist_softmax.features.prepare import prepare
from mnist_softmax.rows import OnRows, cores
from mnist_softmax.scoring.metrics import cross_entropy_and_accuracy
from mnist_softmax.settings import SETTINGS, Settings, check_features
from mnist_softmax.training.descent import descend
from mnist_softmax.training.kernel import initial_state

#: The settings that combinations differ in: all that are swept, except the seed.
_VARIED = tuple(name for name, setting in SETTINGS.items() if setting.swept and name != "seed")
#: The most models of a sweep, here and on a cluster.
MOST_MODELS, MOST_ON_CLUSTER = 1024, 65_536
#: Beyond 16 models a product gains little, and smaller groups keep more cores busy.
_GROUP = 16


@dataclass(frozen=True)
class Outcome:
    """A model of the grid after `epoch` epochs; `validation_*` are None when it diverged (or at epoch 0)."""

    settings: Settings
    epoch: int = 0
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    diverged: bool = False

    def as_json(self) -> dict[str, Any]:
        """Its part of what `mnist-softmax sweep --json` prints."""
        return {
            **_varied(self.settings),
            "seed": self.settings.seed,
            "validation_accuracy": self.validation_accuracy,
            "validation_loss": self.validation_loss,
            "diverged": self.diverged,
        }


def _varied(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in _VARIED}


@dataclass(frozen=True)
class Combination:
    """The outcomes of one combination of settings, one for each seed.

    Attributes
    ----------
    accuracy, loss : means over the seeds on the validation rows; None while unknown or after a divergence.
    spread : standard deviation of the accuracy over the seeds; None with fewer than two.
    """

    outcomes: tuple[Outcome, ...]
    accuracy: float | None
    loss: float | None
    spread: float | None

    @classmethod
    def of(cls, outcomes: tuple[Outcome, ...]) -> "Combination":
        """Combine the outcomes of some seeds."""
        accuracies = [o.validation_accuracy for o in outcomes if o.validation_accuracy is not None]
        losses = [o.validation_loss for o in outcomes if o.validation_loss is not None]
        if len(accuracies) < len(outcomes):
            return cls(outcomes, None, None, None)
        return cls(
            outcomes, mean(accuracies), mean(losses), stdev(accuracies) if len(accuracies) > 1 else None
        )

    @property
    def best(self) -> Outcome:
        """The outcome of the seed that did best: the highest accuracy, then the lowest loss."""
        return max(self.outcomes, key=lambda o: (o.validation_accuracy or 0.0, -(o.validation_loss or 0.0)))

    @property
    def diverged(self) -> bool:
        """Whether any of them diverged."""
        return any(outcome.diverged for outcome in self.outcomes)

    @property
    def varied(self) -> dict[str, Any]:
        """The settings that the combinations differ in."""
        return _varied(self.outcomes[0].settings)

    def as_json(self) -> dict[str, Any]:
        """Its part of what `mnist-softmax sweep --json` prints."""
        return {
            **self.varied,
            "seeds": [outcome.settings.seed for outcome in self.outcomes],
            "validation_accuracy": self.accuracy,
            "validation_accuracy_spread": self.spread,
            "validation_loss": self.loss,
            "diverged": self.diverged,
        }


def grid(base: Settings, lists: Mapping[str, Sequence[Any]], most: int = MOST_MODELS) -> list[Settings]:
    """Each combination of the listed values once, with all else as in `base`; the last name varies fastest.

    Raises
    ------
    UsageError : more than `most` models, or no validation rows to rank them by.
    """
    values = [list(dict.fromkeys(numbers)) for numbers in lists.values()]
    count = math.prod(len(numbers) for numbers in values)
    if count > most:
        raise UsageError("too many models", expected=f"at most {most}", got=count)
    if base.val_size == 0:
        raise UsageError("no validation rows to rank by", "--val-size", expected="at least 1", got=0)
    return [replace(base, **dict(zip(lists, chosen, strict=True))) for chosen in itertools.product(*values)]


def sweep(
    split: Split,
    models: Sequence[Settings],
    features: Sequence[str] = (),
    *,
    folder: Path | None = None,
    workers: int | None = None,
    on_rows: OnRows = lambda _: None,
) -> Generator[list[Outcome]]:
    """Train every model; yield the outcomes of a group whenever it has finished an epoch.

    Closing the iterator stops the training after the blocks under way.

    Parameters
    ----------
    split : the training file's rows.
    models : what `grid` returned.
    features : a chain of feature steps, the same for all.
    folder : of the file that holds more than 1 GiB of features; see `prepare`.
    workers : threads; None for the number of cores. It affects only the speed.
    on_rows : called, in the caller's thread, with the rows just trained on, times the models.

    Raises
    ------
    UsageError : `val_size` leaves no rows to train on, or none to validate on.
    """
    groups = groups_of(split, models)
    stored = prepare(split.images, split.height, split.width, check_features(features), folder)
    reports: queue.SimpleQueue[int | list[Outcome] | Future[None]] = queue.SimpleQueue()
    stopped = threading.Event()
    workers = workers or cores()
    with blas.one_thread(), ThreadPoolExecutor(min(workers, len(groups))) as pool:
        try:
            for group in groups:
                threads = max(1, workers // len(groups))
                done = pool.submit(_run_group, split, stored, group, reports.put, stopped, threads)
                done.add_done_callback(reports.put)
            running = len(groups)
            while running:
                report = reports.get()
                if isinstance(report, Future):
                    report.result()  # raises the group's exception, if any
                    running -= 1
                elif isinstance(report, int):
                    on_rows(report)
                else:
                    yield report
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


class _Stopped(Exception):  # noqa: N818
    """Raised between blocks once the sweep was closed."""


def groups_of(split: Split, models: Sequence[Settings]) -> list[list[Settings]]:
    """The models in groups that share a seed, at most 16 in each; raises as `sweep` does."""
    settled = [model.for_rows(len(split.labels)) for model in models]
    if settled[0].val_size == 0:
        raise UsageError("too few rows to hold any out", split.source.label, remedy="set --val-size")
    by_seed = sorted(settled, key=lambda model: model.seed)
    return [
        same_seed[at : at + _GROUP]
        for same_seed in (list(same) for _, same in itertools.groupby(by_seed, key=lambda model: model.seed))
        for at in range(0, len(same_seed), _GROUP)
    ]


def _run_group(
    split: Split,
    stored: NDArray[np.uint8],
    group: Sequence[Settings],
    report: Callable[[Any], None],
    stopped: threading.Event,
    threads: int,
) -> None:
    """Train a group; report the rows trained on, and the outcomes of each epoch."""

    def on_rows(count: int) -> None:
        if stopped.is_set():
            raise _Stopped
        report(count * len(group))

    with suppress(_Stopped):
        for outcomes in train_group(split, stored, group, on_rows=on_rows, threads=threads):
            report(outcomes)


def train_group(
    split: Split,
    stored: NDArray[np.uint8],
    group: Sequence[Settings],
    *,
    on_rows: OnRows = lambda _: None,
    threads: int,
) -> Iterator[list[Outcome]]:
    """Train models of one seed side by side; yield their outcomes after each epoch."""
    first, K = group[0], len(group)
    rows, held_out = train_validation_rows(len(split.labels), first.val_size or 0, first.seed)
    state = initial_state(stored.shape[1], len(split.class_names), steps.SCALE, K)
    for loss in descend(stored, split.labels, rows, group, state, on_rows=on_rows, threads=threads):
        scores = cross_entropy_and_accuracy(state.parameters(), stored, split.labels, held_out, K)
        yield [_outcome(*of_one, state.epoch) for of_one in zip(group, loss, *scores, strict=True)]


def _outcome(
    settings: Settings, running_loss: float, validation_loss: float, validation_accuracy: float, epoch: int
) -> Outcome:
    if not math.isfinite(running_loss + validation_loss):
        return Outcome(settings, epoch, diverged=True)
    return Outcome(settings, epoch, float(validation_loss), float(validation_accuracy))


def ranked(outcomes: Sequence[Outcome]) -> list[Combination]:
    """Combinations, best first: by mean validation accuracy, then by loss; diverged ones last."""

    def key(outcome: Outcome) -> tuple[float, ...]:
        return tuple(_varied(outcome.settings).values())

    combinations = [
        Combination.of(tuple(same)) for _, same in itertools.groupby(sorted(outcomes, key=key), key=key)
    ]
    return sorted(
        combinations,
        key=lambda c: (
            c.diverged,
            -(c.accuracy if c.accuracy is not None else -1),
            c.loss if c.loss is not None else math.inf,
        ),
    )
