"""One training run from the data to the files: validation rows, epochs, log, checkpoint, weights, receipt."""

import json
import math
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import __version__, blas, checkpoint, softmax, train, weights
from mnist_softmax.data import Source, Split, train_validation_rows
from mnist_softmax.errors import GateError
from mnist_softmax.files import LineLog, check_writable_target
from mnist_softmax.metrics import cross_entropy_and_accuracy

_LARGEST_DEFAULT_VAL_SIZE = 5000
_SECONDS_BETWEEN_CHECKPOINTS = 1.0


@dataclass(frozen=True)
class Settings:
    """The hyperparameters of a run, named as the options of `mnist-softmax train`.

    `val_size` None stands for min(5000, rows // 10).
    """

    lr: float = 0.2
    reg: float = 1e-4
    momentum: float = 0.9
    schedule: str = "cosine"
    epochs: int = 10
    batch_size: int = 128
    seed: int = 0
    val_size: int | None = None

    def for_rows(self, rows: int) -> "Settings":
        """These settings with `val_size` as it is for `rows` rows."""
        if self.val_size is not None:
            return self
        return replace(self, val_size=min(_LARGEST_DEFAULT_VAL_SIZE, rows // 10))


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes
    ----------
    parameters : (N + 1, L) float32.
    receipt : all that is known of them but the hash of their file.
    seconds : wall time.
    """

    parameters: NDArray[np.float32]
    receipt: dict[str, Any]
    seconds: float


def versions() -> dict[str, str]:
    """The versions that decide the bits of a result. BLAS names the type of processor that it works for."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "mnist_softmax": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas.description(),
    }


def fit(
    split: Split,
    source: Source,
    settings: Settings,
    *,
    out: Path | None = None,
    log: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict[str, Any]], None] = lambda _: None,
    on_rows: Callable[[int], object] = lambda _: None,
    notify: Callable[[str], None] = lambda _: None,
) -> Result:
    """Train softmax regression.

    Parameters
    ----------
    split : the training file's rows.
    source : where they came from, for the receipt.
    out : where the weights will be saved (`save_result` does it); a checkpoint is kept beside it. None: none.
    log : gets one JSON object per epoch, a line each.
    resume : go on from the checkpoint beside `out`, if there is one; the outcome is that of one
        uninterrupted run. Otherwise an old checkpoint is discarded.
    on_epoch : called with the history's entry of each epoch.
    on_rows : called with the number of rows just trained on.
    notify : called with a line about a checkpoint that is missing or used.

    Raises
    ------
    UsageError : `settings.val_size` leaves no row; `out` or `log` cannot be a file.
    GateError : training diverged.
    WeightsError : the checkpoint is damaged or of another run.
    LocalIOError : the log or the checkpoint cannot be written.
    """
    started = time.perf_counter()
    rows = len(split.labels)
    settings = settings.for_rows(rows)
    train_rows, validation_rows = train_validation_rows(rows, settings.val_size or 0, settings.seed)
    class_names = source.class_names(split)
    facts = {
        "dataset": source.dataset,
        "data_dir": str(source.data_dir.resolve()) if source.data_dir else None,
        "files": split.files,
        "image_height": split.height,
        "image_width": split.width,
        "class_names": class_names,
        "preprocessing": list(split.preprocessing),
        "settings": asdict(settings),
        "versions": versions(),
    }
    keeper = _Keeper(out, facts, resume, notify)
    state = keeper.state or train.initial_state(split.images.shape[1], len(class_names))
    history = keeper.history
    line_log = LineLog(log) if log else None
    write_line: Callable[[str], None] = line_log.write if line_log else lambda _: None
    try:
        for entry in history:
            write_line(json.dumps(entry))
        schedule = train.Schedule(settings.epochs, settings.batch_size, settings.schedule, settings.seed)
        models = [train.Model(settings.lr, settings.reg, settings.momentum)]
        for epoch in train.train(
            split, train_rows, validation_rows, models, schedule, state, on_rows=on_rows
        ):
            entry = _entry(epoch, settings.lr)
            history.append(entry)
            write_line(json.dumps(entry))
            keeper.epoch_done(state)
            on_epoch(entry)
    except (KeyboardInterrupt, SystemExit):
        keeper.save()
        raise
    except GateError:
        keeper.discard()
        raise
    finally:
        if line_log:
            line_log.close()
    parameters = state.parameters()
    (cross_entropy,), (accuracy,) = cross_entropy_and_accuracy(
        parameters, split.images, split.labels, train_rows
    )
    loss = float(cross_entropy + softmax.penalty(parameters[:-1].astype(np.float64), settings.reg))
    if not math.isfinite(loss):
        keeper.discard()
        raise _diverged(settings.lr, settings.epochs)
    seconds = time.perf_counter() - started
    receipt = {
        "format": weights.RECEIPT_FORMAT,
        **facts,
        "rows": len(train_rows),
        "loss": loss,
        "train_accuracy": float(accuracy),
        "validation_accuracy": history[-1]["validation_accuracy"],
        "history": history,
        "seconds": {"training": round(seconds, 3)},
    }
    return Result(parameters, receipt, seconds)


def save_result(out: Path, result: Result) -> str:
    """Save a run's weights and receipt, then remove its checkpoint; return the SHA-256 of the weights.

    Raises
    ------
    UsageError, LocalIOError : see `weights.save`.
    """
    sha256 = weights.save(out, result.parameters, result.receipt)
    checkpoint.checkpoint_path(out).unlink(missing_ok=True)
    return sha256


def _entry(result: train.EpochResult, lr: float) -> dict[str, Any]:
    """One epoch of the history, the same in the log, the receipt and a checkpoint."""
    numbers = {
        "running_loss": result.running_loss,
        "validation_loss": result.validation_loss,
        "validation_accuracy": result.validation_accuracy,
    }
    entry: dict[str, Any] = {"epoch": result.epoch}
    for key, values in numbers.items():
        entry[key] = None if values is None else float(values[0])
        if values is not None and not math.isfinite(entry[key]):
            raise _diverged(lr, result.epoch)
    return entry


def _diverged(lr: float, epoch: int) -> GateError:
    return GateError(
        "training diverged",
        f"epoch {epoch}",
        expected="a finite loss",
        got="one that is not",
        remedy=f"try --lr below {lr:g}",
    )


class _Keeper:
    """Keeps the end of the last epoch, and from time to time puts it on disk as the checkpoint."""

    def __init__(
        self, out: Path | None, facts: dict[str, Any], resume: bool, notify: Callable[[str], None]
    ) -> None:
        self.path = checkpoint.checkpoint_path(out) if out else None
        self.run = facts
        self.state: train.State | None = None
        self.history: list[dict[str, Any]] = []
        self._end_of_epoch: train.State | None = None
        self._epochs_on_disk = 0
        self._written_at = time.monotonic()
        if self.path is None:
            return
        check_writable_target(self.path)
        if not resume:
            self.discard()
            return
        found = checkpoint.load(self.path, facts)
        if found is None:
            notify(f"no checkpoint to resume from: {self.path}; training starts from the beginning")
            return
        self.state, self.history = found.state, found.history
        self._epochs_on_disk = found.state.epoch

    def epoch_done(self, state: train.State) -> None:
        """Note the end of an epoch; write it if the last checkpoint is old enough."""
        if self.path:
            self._end_of_epoch = state.copy()
            if time.monotonic() - self._written_at >= _SECONDS_BETWEEN_CHECKPOINTS:
                self.save()

    def save(self) -> None:
        """Write the end of the last epoch, unless it is on disk already."""
        state = self._end_of_epoch
        if self.path and state and state.epoch > self._epochs_on_disk:
            done = self.history[: state.epoch]
            checkpoint.save(self.path, checkpoint.Checkpoint(self.run, state, done))
            self._epochs_on_disk = state.epoch
            self._written_at = time.monotonic()

    def discard(self) -> None:
        """Remove the checkpoint, if there is one."""
        if self.path:
            with suppress(FileNotFoundError):
                self.path.unlink()
