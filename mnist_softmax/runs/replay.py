"""What training again shows: how the end compares, and how the weights formed. `reproduce` trains."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.errors import WeightsError
from mnist_softmax.scoring.metrics import cross_entropy_and_accuracy
from mnist_softmax.settings import Settings

#: The most moments that are kept, and the most rows, counting every epoch, that are trained on for them.
MOST_MOMENTS, MOST_ROWS = 20, 20_000_000


@dataclass(frozen=True, eq=False)
class Outcome:
    """Weights compared with the same weights trained again.

    Attributes
    ----------
    identical : whether the arrays are equal, byte for byte.
    array, array_sha256 : the array trained again, and its SHA-256.
    largest_difference : max|a - b| divided by the largest weight; None if the shapes differ.
    figures : name -> (in the receipt, trained again), for the loss and the accuracies.
    versions : name -> (in the receipt, here), for those that differ.
    faults : the differences beyond the tolerance; empty if the weights were reproduced.
    """

    identical: bool
    array: NDArray[np.float32]
    array_sha256: str
    largest_difference: float | None
    figures: dict[str, tuple[float | None, float | None]]
    versions: dict[str, tuple[str | None, str | None]]
    faults: list[str]

    @property
    def word(self) -> str:
        """The result: "different", "identical" or, within the tolerance, "equal"."""
        return "different" if self.faults else "identical" if self.identical else "equal"


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


def too_long(rows: int) -> str:
    """Why training on so many rows, counting every epoch, is not done for a replay; "" if it is."""
    return f"training takes {rows:,} rows, more than {MOST_ROWS:,}" if rows > MOST_ROWS else ""


class Keeper:
    """Keeps the parameters of some moments of a run: the first is before any step, the second after one.

    The first steps change the most, so from there on the moments are spaced geometrically.

    Parameters
    ----------
    settings : of the run, with its `val_size`.
    rows : how many the training file has.

    Attributes
    ----------
    rows : how many are trained on in an epoch.
    """

    def __init__(self, settings: Settings, rows: int) -> None:
        self.rows = settings.row_passes(rows) // settings.epochs
        self._batch_size = settings.batch_size or max(self.rows, 1)  # L-BFGS takes all rows in each step
        self._batches = max(-(-self.rows // self._batch_size), 1)
        self._done = 0
        last = self._batches * settings.epochs
        self._wanted = {0, *np.geomspace(1, last, MOST_MOMENTS - 1).round().astype(int).tolist()}
        self._kept: dict[int, NDArray[np.float32]] = {}

    def on_step(self, done: int, parameters: Callable[[], NDArray[np.float32]]) -> None:
        """Keep the parameters before a step, if it is the time; see `training.descent.OnStep`."""
        self._done = done + 1
        if done in self._wanted:
            self._kept[done] = parameters()

    def moments(
        self, end: NDArray[np.float32], stored: NDArray[np.uint8], labels: NDArray[np.uint8]
    ) -> tuple[Moment, ...]:
        """Score what was kept, and the parameters at the end, on all of these rows.

        Raises
        ------
        WeightsError : parameters so large that a logit overflows.
        """
        numbers, moments = np.arange(len(labels)), []
        for done, parameters in {**self._kept, self._done: end}.items():
            epochs, rest = divmod(done, self._batches)
            rows = epochs * self.rows + rest * self._batch_size
            (loss,), (accuracy,) = cross_entropy_and_accuracy(parameters, stored, labels, numbers)
            if not np.isfinite(loss):
                raise WeightsError("weights on the way were too large", got="logits that overflow")
            moments.append(Moment(rows, rows / self.rows, parameters, float(loss), float(accuracy)))
        return tuple(moments)
