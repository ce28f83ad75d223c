"""Train again as a receipt says, and compare the result with the weights of the receipt."""

import math
from typing import Any

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from mnist_softmax.data.split import Source, Split
from mnist_softmax.errors import WeightsError
from mnist_softmax.records.receipt import Receipt
from mnist_softmax.rows import OnRows, OnStep
from mnist_softmax.runs.fit import fit
from mnist_softmax.runs.model import Model
from mnist_softmax.runs.replay import Keeper, Outcome, Replay, too_long
from mnist_softmax.runs.score import check_data

#: The largest allowed difference of a weight on other hardware or with other versions, as a fraction of the
#: largest weight. OpenBLAS's kernels for different processors were seen to differ by 1e-6.
WEIGHT_TOLERANCE = 1e-4
#: The largest allowed difference, absolute, of an accuracy (a tenth of a point) and of a loss there.
FIGURE_TOLERANCE = 1e-3

_FIGURES = ("loss", "train_accuracy", "validation_accuracy")


def receipt_of(model: Model) -> Receipt:
    """The receipt of a model that can be trained again.

    Raises
    ------
    WeightsError : it has none, or one that names no data.
    """
    if model.receipt is None or model.source is None:
        lacks = "no receipt" if model.receipt is None else "the receipt names no data"
        raise WeightsError(lacks, model.path, remedy="only weights that name their data can be trained again")
    return model.receipt


def reproduce(
    model: Model, split: Split, on_rows: OnRows = lambda _: None, on_step: OnStep | None = None
) -> Outcome:
    """Train again as the receipt says, on the same rows, and compare weights and figures.

    `on_rows` and `on_step` are called as by `descend`.

    Raises
    ------
    WeightsError : there is no receipt, or `split` is not the data that it names.
    GateError : training diverged.
    """
    receipt = receipt_of(model)
    check_data(receipt, split, model.path)
    again = fit(split, receipt.hyperparameters, receipt.features, on_rows=on_rows, on_step=on_step)
    assert again.receipt is not None
    versions = _differences(receipt.versions, again.receipt.versions)
    figures = {name: (getattr(receipt, name), getattr(again.receipt, name)) for name in _FIGURES}
    tolerance = FIGURE_TOLERANCE if versions else 0.0
    faults = [
        f"{name} {stated} in the receipt, {now} now"
        for name, (stated, now) in figures.items()
        if not _close(stated, now, tolerance)
    ]
    faults += [
        f"another {name} in the receipt"
        for name in ("rows", "image_height", "image_width", "class_names")
        if getattr(receipt, name) != getattr(again.receipt, name)
    ]
    told, found = ([x for entry in r.history for x in astuple(entry)] for r in (receipt, again.receipt))
    if len(told) != len(found) or not all(map(_close, told, found, [tolerance] * len(told))):
        faults.append("another history in the receipt")
    difference = _largest_difference(model.array, again.array)
    if difference is None:
        faults.append(f"{model.array.shape} weights, {again.array.shape} now")
    elif difference > (WEIGHT_TOLERANCE if versions else 0):
        faults.append(f"weights that differ by up to {difference:.2g} of the largest")
    sha256 = again.receipt.array_sha256
    return Outcome(sha256 == receipt.array_sha256, again.array, sha256, difference, figures, versions, faults)


def obstacle(model: Model) -> str:
    """Why a model cannot be replayed, as far as it shows without its data; "" if it may be tried."""
    if model.receipt is None:
        return "the weights have no receipt"
    if model.source is None:
        return "the receipt names no data"
    return too_long(model.receipt.rows * model.receipt.hyperparameters.epochs)


def replay(model: Model, split: Split, scored: Split, on_rows: OnRows = lambda _: None) -> Replay:
    """Train again as `reproduce` does, and keep the weights of some moments, with their scores on `scored`.

    Raises
    ------
    WeightsError : see `reproduce` and `obstacle`; `scored` does not fit the model; the result has another
        shape, or weights on the way were too large to be scored.
    GateError : training diverged.
    DataError : the data was changed while it was in use.
    LocalIOError : features larger than memory cannot be written.
    """
    settings = receipt_of(model).hyperparameters
    model.parameters_for(scored)
    keeper = Keeper(settings, len(split.labels))
    if reason := too_long(keeper.rows * settings.epochs):  # the receipt may count fewer rows than there are
        raise WeightsError(reason, model.path)
    outcome = reproduce(model, split, on_rows, keeper.on_step)
    if outcome.array.shape != model.array.shape:
        raise WeightsError("training again gave weights of another shape", model.path)
    return Replay(keeper.moments(outcome.array, model.features_of(scored), scored.labels), outcome)


def _differences(there: dict[str, str], here: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    keys = sorted(there.keys() | here.keys())
    return {key: (there.get(key), here.get(key)) for key in keys if there.get(key) != here.get(key)}


def _close(stated: float | None, again: float | None, tolerance: float) -> bool:
    if stated is None or again is None:
        return stated is again
    return math.isclose(stated, again, rel_tol=0, abs_tol=tolerance)


def _largest_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    if a.shape != b.shape:
        return None
    largest = max(float(np.abs(a).max()), float(np.abs(b).max()))
    return float(np.abs(a.astype(np.float64) - b).max()) / largest if largest else 0.0


def facts(model: Model, source: Source, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """What `mnist-softmax reproduce --json` prints."""
    was, now = outcome.figures["train_accuracy"]
    return {
        "weights": str(model.path),
        "weights_sha256": model.sha256,
        "outcome": outcome.word,
        "array_sha256": receipt_of(model).array_sha256,
        "array_sha256_again": outcome.array_sha256,
        "largest_difference": outcome.largest_difference,
        "largest_difference_allowed": WEIGHT_TOLERANCE if outcome.versions else 0,
        "train_accuracy": was,
        "train_accuracy_again": now,
        "figures_allowed": FIGURE_TOLERANCE if outcome.versions else 0,
        "versions": {
            name: {"receipt": there, "here": here} for name, (there, here) in outcome.versions.items()
        },
        "faults": outcome.faults,
        "dataset": source.label,
        "seconds": round(seconds, 3),
    }
