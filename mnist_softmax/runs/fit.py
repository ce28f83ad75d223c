"""One training run from the data to the file: validation rows, epochs, log, checkpoint, weights."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mnist_softmax import softmax
from mnist_softmax.data.open import check_unchanged
from mnist_softmax.data.split import Split, train_validation_rows
from mnist_softmax.errors import ClusterError, GateError
from mnist_softmax.features import steps
from mnist_softmax.features.prepare import prepare
from mnist_softmax.files import check_writable_target
from mnist_softmax.records import checkpoint
from mnist_softmax.records.checkpoint import Checkpoint, State
from mnist_softmax.records.log import LineLog
from mnist_softmax.records.receipt import Epoch, Receipt, Run, encode, run_of
from mnist_softmax.records.weights import array_sha256, checkpoint_path
from mnist_softmax.rows import OnRows, OnStep
from mnist_softmax.runs.model import Model
from mnist_softmax.scoring.metrics import cross_entropy_and_accuracy, tally_of_block
from mnist_softmax.settings import Settings, check_features
from mnist_softmax.training import kernel, lbfgs
from mnist_softmax.training.blocks import Blocks
from mnist_softmax.training.descent import descend

_SECONDS_BETWEEN_CHECKPOINTS = 1.0

#: Makes blocks of a split, of a chain of features, the stored features, the rows to train on, and settings.
Elsewhere = Callable[[Split, tuple[str, ...], NDArray[np.uint8], NDArray[np.uint32], Settings], Blocks]


def train(split: Split, *, features: Sequence[str] = (), **settings: Any) -> Model:
    """Train softmax regression on a split; `fit` with settings by name, such as ``lr=0.2, reg=1e-4``.

    Settings that are not named have the defaults that fit the features.

    Raises
    ------
    TypeError : a name that is not a setting.
    UsageError, GateError : see `fit`.
    """
    return fit(split, Settings.for_features(check_features(features), **settings), features)


def fit(
    split: Split,
    settings: Settings,
    features: Sequence[str] = (),
    *,
    out: Path | None = None,
    log: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[Epoch], object] = lambda _: None,
    on_rows: OnRows = lambda _: None,
    on_step: OnStep | None = None,
    notify: Callable[[str], object] = lambda _: None,
    elsewhere: Elsewhere | None = None,
) -> Model:
    """Train softmax regression.

    Parameters
    ----------
    split : the training file's rows.
    features : a chain of names in `settings.FEATURE_STEPS`.
    out : where to save the weights, with a checkpoint beside them until then, and more than 1 GiB of features
        in a file without a name; None saves nothing.
    log : file that gets one JSON object per epoch, each on a line.
    resume : continue from the checkpoint beside `out`, if there is one; the result is the same as without the
        interruption. If False, an old checkpoint is discarded.
    on_epoch : called after each epoch.
    on_rows, on_step : called with the number of rows just trained on, and before each step; see `descend`
        and `lbfgs.minimise`.
    notify : called with a message about a checkpoint: none to resume from, discarded, or kept after a signal.
    elsewhere : makes the blocks that L-BFGS passes over, such as those of a cluster; the result is the same.

    Raises
    ------
    UsageError : a wrong setting or feature; `val_size` leaves no row; `out` cannot be a file.
    GateError : training diverged.
    DataError : the data was changed while it was in use.
    WeightsError : the checkpoint is damaged or belongs to another run.
    LocalIOError : the log, the checkpoint or the weights cannot be written, or (ClusterError) the cluster is
        gone.
    """
    settings = settings.for_rows(len(split.labels))
    features = check_features(features)
    folder = check_writable_target(out).parent if out else None
    rows, held_out = train_validation_rows(len(split.labels), settings.val_size or 0, settings.seed)
    run = run_of(split, settings, features, len(rows))
    keeper = _Keeper(out, run)
    if resume:
        keeper.load(notify)
    stored = prepare(split.images, split.height, split.width, features, folder)
    solver = lbfgs if settings.solver == "lbfgs" else kernel
    state = keeper.state or solver.initial_state(stored.shape[1], len(split.class_names), steps.SCALE)
    if elsewhere:
        blocks = elsewhere(split, features, stored, rows, settings)
    else:
        blocks = Blocks(stored, split.labels, rows)
    with ExitStack() as stack:
        write_line = stack.enter_context(LineLog(log)).write if log else lambda _: None
        for entry in keeper.history:
            write_line(encode(entry))
        if not resume:
            keeper.begin(notify)
        try:
            for running_loss in _epochs(blocks, settings, state, on_rows, on_step):
                entry = _entry(running_loss, state, stored, split.labels, held_out)
                _check_finite(settings, state, entry.running_loss, entry.validation_loss)
                write_line(encode(entry))
                keeper.epoch_done(state, entry)
                on_epoch(entry)
            parameters = state.parameters()
            cross_entropy, accuracy = _scores(blocks, parameters, settings)
            check_unchanged(split)
            loss = cross_entropy + float(softmax.penalty(parameters[:-1].astype(np.float64), settings.reg))
            _check_finite(settings, state, loss)
        except (KeyboardInterrupt, SystemExit, ClusterError):  # `cli.signals.Stopped` is a SystemExit
            keeper.save()
            if keeper.epochs_on_disk:
                notify(f"stopped; --resume goes on from epoch {keeper.epochs_on_disk}: {keeper.path}")
            raise
        except GateError:
            keeper.discard()
            raise
    receipt = Receipt(
        **msgspec.structs.asdict(run),
        array_sha256=array_sha256(parameters),
        loss=loss,
        train_accuracy=accuracy,
        validation_accuracy=keeper.history[-1].validation_accuracy,
        history=keeper.history,
    )
    model = Model(parameters, receipt)
    if out:
        model = model.save(out)
        keeper.discard()
    return model


def _epochs(
    blocks: Blocks, settings: Settings, state: State, on_rows: OnRows, on_step: OnStep | None
) -> Iterator[float]:
    """The running loss after each epoch, by the solver that `state` belongs to."""
    if isinstance(state, lbfgs.State):
        yield from lbfgs.minimise(blocks, settings, state, on_rows=on_rows, on_step=on_step)
        return
    rows = blocks.stored, blocks.labels, blocks.rows
    for (loss,) in descend(*rows, [settings], state, on_rows=on_rows, on_step=on_step):
        yield float(loss)


def _scores(blocks: Blocks, parameters: NDArray[np.float32], settings: Settings) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over all rows trained on.

    In blocks, for several threads or machines, where L-BFGS has used these already; one thread needs less
    memory.
    """
    if settings.solver == "lbfgs":
        tally = blocks.total(tally_of_block, parameters)
    else:
        tally = tally_of_block(blocks.stored, blocks.labels, blocks.rows, parameters)
    return float(tally.nats[0] / len(blocks.rows)), float(tally.correct[0] / len(blocks.rows))


def _entry(
    running_loss: float,
    state: State,
    stored: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    held_out: NDArray[np.uint32],
) -> Epoch:
    """The history entry of the epoch just done, with the scores of the held-out rows."""
    if not len(held_out):
        return Epoch(state.epoch, running_loss, None, None)
    (loss,), (accuracy,) = cross_entropy_and_accuracy(state.parameters(), stored, labels, held_out)
    return Epoch(state.epoch, running_loss, float(loss), float(accuracy))


def _check_finite(settings: Settings, state: State, *losses: float | None) -> None:
    if not all(math.isfinite(loss) for loss in losses if loss is not None):
        raise GateError(
            "training diverged",
            f"epoch {state.epoch}",
            expected="a finite loss",
            got="NaN or infinity",
            remedy=f"try --lr below {settings.lr:g}" if settings.lr else "try a smaller --reg",
        )


class _Keeper:
    """Keeps the state after the last epoch, and writes it to the checkpoint from time to time."""

    def __init__(self, out: Path | None, run: Run) -> None:
        self.path = checkpoint_path(out) if out else None
        self.run = run
        self.state: State | None = None
        self.history: list[Epoch] = []
        self._end_of_epoch: State | None = None
        self.epochs_on_disk = 0
        self._written_at = time.monotonic()
        if self.path:
            check_writable_target(self.path)

    def load(self, notify: Callable[[str], object]) -> None:
        """Load the state and the history from the checkpoint, if there is one."""
        if self.path and self.path.exists():
            self.state, self.history = checkpoint.load(self.path, self.run)
            self.epochs_on_disk = self.state.epoch
        elif self.path:
            notify(f"no checkpoint to resume from: {self.path}; training starts from the beginning")

    def begin(self, notify: Callable[[str], object]) -> None:
        """Discard the checkpoint of an earlier run, if there is one, and say so."""
        if self.path and self.path.exists():
            self.discard()
            notify(f"discarded the checkpoint of an interrupted run, which --resume continues: {self.path}")

    def epoch_done(self, state: State, entry: Epoch) -> None:
        """Keep the state after an epoch; write it if the last checkpoint is old enough."""
        self.history.append(entry)
        if self.path:
            self._end_of_epoch = state.copy()  # the next epoch changes `state` in place
            if time.monotonic() - self._written_at >= _SECONDS_BETWEEN_CHECKPOINTS:
                self.save()

    def save(self) -> None:
        """Write the state after the last epoch, unless it is on disk already."""
        state = self._end_of_epoch
        if self.path and state and state.epoch > self.epochs_on_disk:
            done = self.history[: state.epoch]  # a signal may come between an entry and its state
            checkpoint.save(self.path, self.run, Checkpoint(state, done))
            self.epochs_on_disk = state.epoch
            self._written_at = time.monotonic()

    def discard(self) -> None:
        """Remove the checkpoint, if there is one; raises as `checkpoint.discard` does."""
        if self.path:
            checkpoint.discard(self.path)
