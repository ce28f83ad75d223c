"""A grid of hyperparameters at the cost of little more than one run.

Models that share a seed share their batches, so they are trained side by side by `train.train`, in groups of
16: a batch is gathered once for all of a group and one product serves them all. Groups run in threads, each
with one BLAS thread, and what a group computes depends on nothing outside it. So the result has the same bits
on any number of cores.
"""

import itertools
import math
import os
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

from mnist_softmax import blas, train
from mnist_softmax.data import Source, Split, train_validation_rows
from mnist_softmax.errors import UsageError
from mnist_softmax.run import Settings

MOST_MODELS = 1024
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
        """What is reported of it."""
        return {
            "lr": self.settings.lr,
            "reg": self.settings.reg,
            "momentum": self.settings.momentum,
            "seed": self.settings.seed,
            "validation_accuracy": self.validation_accuracy,
            "validation_loss": self.validation_loss,
            "diverged": self.diverged,
        }


@dataclass(frozen=True)
class Combination:
    """The outcomes of one combination of lr, reg and momentum, one for each seed."""

    outcomes: tuple[Outcome, ...]

    def as_json(self) -> dict[str, Any]:
        """What is reported of it: figures are means over the seeds."""
        first = self.outcomes[0].settings
        return {
            "lr": first.lr,
            "reg": first.reg,
            "momentum": first.momentum,
            "seeds": [outcome.settings.seed for outcome in self.outcomes],
            "validation_accuracy": self.accuracy,
            "validation_accuracy_spread": self.spread,
            "validation_loss": self.loss,
            "diverged": self.diverged,
        }

    @property
    def best(self) -> Outcome:
        """The outcome of the seed that did best."""
        return max(self.outcomes, key=lambda outcome: outcome.validation_accuracy or 0.0)

    @property
    def diverged(self) -> bool:
        """Whether any of them diverged."""
        return any(outcome.diverged for outcome in self.outcomes)

    @property
    def accuracy(self) -> float | None:
        """Mean validation accuracy; None while unknown or after a divergence."""
        values = [outcome.validation_accuracy for outcome in self.outcomes]
        known = [value for value in values if value is not None]
        return mean(known) if len(known) == len(values) else None

    @property
    def loss(self) -> float | None:
        """Mean validation loss; None while unknown or after a divergence."""
        values = [outcome.validation_loss for outcome in self.outcomes]
        known = [value for value in values if value is not None]
        return mean(known) if len(known) == len(values) else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the validation accuracy over the seeds; None with fewer than two."""
        values = [outcome.validation_accuracy for outcome in self.outcomes]
        known = [value for value in values if value is not None]
        return stdev(known) if len(known) == len(values) > 1 else None


def grid(
    base: Settings,
    lrs: Sequence[float],
    regs: Sequence[float],
    momenta: Sequence[float],
    seeds: Sequence[int],
) -> list[Settings]:
    """Every combination, each once, all else as in `base`.

    Raises
    ------
    UsageError : more than 1,024 models, or no validation rows to rank them by.
    """
    values = [list(dict.fromkeys(numbers)) for numbers in (lrs, regs, momenta)]
    seeds = list(dict.fromkeys(seeds))
    count = math.prod(len(numbers) for numbers in values) * len(seeds)
    if count > MOST_MODELS:
        raise UsageError("too many models", expected=f"at most {MOST_MODELS}", got=count)
    if base.val_size == 0:
        raise UsageError("no validation rows to rank by", "--val-size", expected="at least 1", got=0)
    return [
        replace(base, lr=lr, reg=reg, momentum=momentum, seed=seed)
        for lr, reg, momentum in itertools.product(*values)
        for seed in seeds
    ]


def sweep(
    split: Split,
    source: Source,
    models: Sequence[Settings],
    *,
    workers: int | None = None,
    on_rows: Callable[[int], object] = lambda _: None,
) -> Generator[list[Outcome]]:
    """Train every model; yield the outcomes of a group whenever it has finished an epoch.

    Closing the iterator stops the training after the batches under way.

    Parameters
    ----------
    split, source : the training file's rows, and where they came from.
    models : what `grid` returned.
    workers : threads; None for the number of cores. They decide the speed and nothing else.
    on_rows : called, in the caller's thread, with the number of rows times models trained on.

    Raises
    ------
    UsageError : `val_size` leaves no rows to train on, or none to validate on.
    """
    settled = [model.for_rows(len(split.labels)) for model in models]
    if settled[0].val_size == 0:
        raise UsageError("too few rows to hold any out", source.label, remedy="set --val-size")
    by_seed = sorted(settled, key=lambda model: model.seed)
    groups = [
        same_seed[at : at + _GROUP]
        for same_seed in (list(same) for _, same in itertools.groupby(by_seed, key=lambda model: model.seed))
        for at in range(0, len(same_seed), _GROUP)
    ]
    reports: queue.SimpleQueue[int | list[Outcome] | Future[None]] = queue.SimpleQueue()
    stopped = threading.Event()
    with blas.threads(1), ThreadPoolExecutor(min(workers or _cores(), len(groups))) as pool:
        try:
            for group in groups:
                done = pool.submit(_train_group, split, source, group, reports.put, stopped)
                done.add_done_callback(reports.put)
            running = len(groups)
            while running:
                report = reports.get()
                if isinstance(report, Future):
                    report.result()  # raises what ended the group, if anything did
                    running -= 1
                elif isinstance(report, int):
                    on_rows(report)
                else:
                    yield report
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # what a container allows, where that can be asked
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class _Stopped(Exception):  # noqa: N818
    """Raised between batches when nobody waits for the sweep any more."""


def _train_group(
    split: Split,
    source: Source,
    group: Sequence[Settings],
    report: Callable[[Any], None],
    stopped: threading.Event,
) -> None:
    """Train models of one seed side by side; report the rows as they pass, and the outcomes of each epoch."""

    def on_rows(count: int) -> None:
        if stopped.is_set():
            raise _Stopped
        report(count * len(group))

    first = group[0]
    rows, held_out = train_validation_rows(len(split.labels), first.val_size or 0, first.seed)
    state = train.initial_state(split.images.shape[1], len(source.class_names(split)), len(group))
    schedule = train.Schedule(first.epochs, first.batch_size, first.schedule, first.seed)
    models = [train.Model(model.lr, model.reg, model.momentum) for model in group]
    with suppress(_Stopped):
        for epoch in train.train(split, rows, held_out, models, schedule, state, on_rows=on_rows):
            report([_outcome(model, epoch, k) for k, model in enumerate(group)])


def _outcome(settings: Settings, epoch: train.EpochResult, k: int) -> Outcome:
    if epoch.validation_loss is None or epoch.validation_accuracy is None:
        raise ValueError("a sweep without validation rows")
    loss, accuracy = float(epoch.validation_loss[k]), float(epoch.validation_accuracy[k])
    if not math.isfinite(epoch.running_loss[k] + loss):
        return Outcome(settings, epoch.epoch, diverged=True)
    return Outcome(settings, epoch.epoch, loss, accuracy)


def ranked(outcomes: Sequence[Outcome]) -> list[Combination]:
    """Combinations, best first: by mean validation accuracy, then by loss; diverged ones last."""

    def key(outcome: Outcome) -> tuple[float, float, float]:
        return outcome.settings.lr, outcome.settings.reg, outcome.settings.momentum

    combinations = [
        Combination(tuple(same)) for _, same in itertools.groupby(sorted(outcomes, key=key), key=key)
    ]
    return sorted(
        combinations,
        key=lambda c: (
            c.diverged,
            -(c.accuracy if c.accuracy is not None else -1),
            c.loss if c.loss is not None else math.inf,
        ),
    )
