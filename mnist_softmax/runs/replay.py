"""Train again as a receipt says, and keep the weights of some moments: how the templates formed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.split import Split
from mnist_softmax.errors import WeightsError
from mnist_softmax.runs.model import Model
from mnist_softmax.runs.reproduce import Outcome, receipt_of, reproduce
from mnist_softmax.scoring.metrics import cross_entropy_and_accuracy
from mnist_softmax.training.descent import OnRows

#: The most moments that are kept, and the most rows, counting every epoch, that are trained on for them.
MOST_MOMENTS, MOST_ROWS = 20, 20_000_000


@dataclass(frozen=True, eq=False)
class Moment:
    """Weights on the way, and their scores.

    Attributes
    ----------
    rows, epochs : trained on until then, counting every epoch; 0 at the start.
    parameters : (N + 1, L) float32; rows 0..N-1 are W, the last is B.
    loss, accuracy : mean cross-entropy and accuracy on the rows of the split that was to be scored.
    """

    rows: int
    epochs: float
    parameters: NDArray[np.float32]
    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Replay:
    """How weights formed.

    Attributes
    ----------
    moments : at most `MOST_MOMENTS`, from W = 0 to the end of training.
    outcome : the end compared with the weights of the receipt.
    """

    moments: tuple[Moment, ...]
    outcome: Outcome


def obstacle(model: Model) -> str:
    """Why a model cannot be replayed, as far as it shows without its data; "" if it may be tried."""
    if model.receipt is None:
        return "the weights have no receipt"
    if model.source is None:
        return "the receipt names no data"
    return _too_long(model.receipt.rows * model.receipt.hyperparameters.epochs)


def _too_long(rows: int) -> str:
    return f"training takes {rows:,} rows, more than {MOST_ROWS:,}" if rows > MOST_ROWS else ""


def replay(model: Model, split: Split, scored: Split, on_rows: OnRows = lambda _: None) -> Replay:
    """Train again on `split`, the training rows that the receipt names; score the moments on `scored`.

    The first steps change the most, so the moments are spaced geometrically: the first is before any step,
    the second after one.

    Raises
    ------
    WeightsError : see `obstacle` and `reproduce`; `scored` does not fit the model; the result has another
        shape, or weights on the way were too large to be scored.
    GateError : training diverged.
    DataError : the data was changed while it was in use.
    LocalIOError : features larger than memory cannot be written.
    """
    settings = receipt_of(model).hyperparameters
    model.parameters_for(scored)
    passes = settings.row_passes(len(split.labels))
    if reason := _too_long(passes):  # the receipt may count fewer rows than there are
        raise WeightsError(reason, model.path)
    rows = passes // settings.epochs
    batches = max(-(-rows // settings.batch_size), 1)
    kept: dict[int, NDArray[np.float32]] = {}
    wanted = _spaced(batches * settings.epochs)

    def on_step(done: int, parameters: Callable[[], NDArray[np.float32]]) -> None:
        if done in wanted:
            kept[done] = parameters()

    outcome = reproduce(model, split, on_rows, on_step)
    if outcome.array.shape != model.array.shape:
        raise WeightsError("training again gave weights of another shape", model.path)
    kept[batches * settings.epochs] = outcome.array
    stored, numbers = model.features_of(scored), np.arange(len(scored.labels))
    moments = []
    for steps, parameters in kept.items():
        epochs, rest = divmod(steps, batches)
        trained_on = epochs * rows + rest * settings.batch_size
        (loss,), (accuracy,) = cross_entropy_and_accuracy(parameters, stored, scored.labels, numbers)
        if not np.isfinite(loss):
            raise WeightsError("weights on the way were too large", model.path, got="logits that overflow")
        moments.append(Moment(trained_on, trained_on / rows, parameters, float(loss), float(accuracy)))
    return Replay(tuple(moments), outcome)


def _spaced(steps: int) -> set[int]:
    """From 0 to `steps`, at most `MOST_MOMENTS` numbers; a geometric series from 1 on, but for rounding."""
    return {0, *np.geomspace(1, steps, MOST_MOMENTS - 1).round().astype(int).tolist()}
