"""Training again from a receipt, and how close that came to the weights that the receipt describes."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import run, weights
from mnist_softmax.data import Source, Split, train_validation_rows
from mnist_softmax.errors import WeightsError
from mnist_softmax.metrics import cross_entropy_and_accuracy
from mnist_softmax.run import Result, Settings
from mnist_softmax.weights import Weights, is_number

#: The most that a weight may be off on other hardware or with other versions, as a fraction of the largest
#: weight. The kernels that OpenBLAS has for different processors were seen to differ by 1e-6.
WEIGHT_TOLERANCE = 1e-4
#: The same for accuracies (a tenth of a point) and for the loss, as they are.
FIGURE_TOLERANCE = 1e-3

_FIGURES = ("loss", "train_accuracy", "validation_accuracy")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


#: What `mnist-softmax train` accepts for each of the settings.
_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "lr": lambda value: is_number(value) and value > 0,
    "reg": lambda value: is_number(value) and value >= 0,
    "momentum": lambda value: is_number(value) and 0 <= value < 1,
    "schedule": lambda value: value in ("constant", "cosine"),
    "epochs": lambda value: _is_count(value) and value > 0,
    "batch_size": lambda value: _is_count(value) and value > 0,
    "seed": _is_count,
    "val_size": _is_count,
}


@dataclass(frozen=True)
class Recipe:
    """What a receipt says of how its weights were made.

    Attributes
    ----------
    files : file name -> SHA-256 of the unpacked IDX file, as the receipt has them.
    versions : see `run.versions`.
    """

    source: Source
    settings: Settings
    preprocessing: tuple[str, ...]
    files: dict[str, Any]
    versions: dict[str, Any]


def recipe(made: Weights) -> Recipe:
    """Read from a receipt how its weights were made.

    Raises
    ------
    WeightsError : there is no receipt, or what it says is nothing that `mnist-softmax train` does.
    """
    receipt, beside = made.receipt, weights.receipt_path(made.path)
    if receipt is None:
        raise WeightsError("no receipt", beside, remedy="only weights with a receipt can be trained again")
    settings, history, versions = receipt["settings"], receipt["history"], receipt.get("versions")
    for key in sorted(_SETTINGS.keys() | settings.keys()):
        if key not in settings or key not in _SETTINGS or not _SETTINGS[key](settings[key]):
            raise _damaged(beside, key, settings.get(key))
    if len(history) != settings["epochs"]:
        raise _damaged(beside, "history", len(history), f"a history of {settings['epochs']} epochs")
    if not isinstance(versions, dict):
        raise _damaged(beside, "versions", versions)
    for key in _FIGURES:
        figure = receipt.get(key)
        if not is_number(figure) and (figure is not None or key != "validation_accuracy"):
            raise _damaged(beside, key, figure)
    if receipt["preprocessing"] not in ([], ["deskew"]):
        raise _damaged(beside, "preprocessing", receipt["preprocessing"])
    dataset, folder = receipt["dataset"], receipt["data_dir"]
    if (dataset is None) == (folder is None):
        raise _damaged(beside, "data_dir", folder, "either a dataset or a data_dir")
    if folder is not None and "\0" in folder:
        raise _damaged(beside, "data_dir", folder)
    source = Source(dataset=dataset) if folder is None else Source(data_dir=Path(folder))
    numbers = {key: float(settings[key]) for key in ("lr", "reg", "momentum")}
    return Recipe(
        source,
        Settings(**{**settings, **numbers}),
        tuple(receipt["preprocessing"]),
        receipt["files"],
        versions,
    )


def _damaged(path: Path, key: str, got: object, expected: str | None = None) -> WeightsError:
    wanted = expected or f"another value of {key}"
    return WeightsError("the receipt is damaged", path, expected=wanted, got=_shown(got))


def _shown(value: object) -> str:
    """A value of a receipt in a message; what may be large or deep by its type alone."""
    return type(value).__name__ if isinstance(value, list | dict) else json.dumps(value)[:80]


def train_arguments(how: Recipe, source: Source, out: Path) -> list[str]:
    """The arguments of the `mnist-softmax train` that makes the same weights, nothing left to a default."""
    where = ["--dataset", source.dataset] if source.dataset else ["--data-dir", str(source.data_dir)]
    arguments = ["train", *where, "--deskew" if how.preprocessing else "--no-deskew"]
    for key, value in asdict(how.settings).items():
        arguments += ["--" + key.replace("_", "-"), str(value)]
    return [*arguments, "--out", str(out)]


def check_data(how: Recipe, split: Split, path: Path) -> None:
    """Make sure that the data is that of the receipt of the weights at `path`.

    Raises
    ------
    WeightsError : it is other data, or fewer rows than the receipt holds out.
    """
    for name, sha256 in split.files.items():
        if how.files.get(name) != sha256:
            raise WeightsError(
                f"the weights were trained on another {name}",
                path,
                expected=f"SHA-256 {_shown(how.files.get(name))}",
                got=_shown(sha256),
            )
    if (how.settings.val_size or 0) >= len(split.labels):
        raise _damaged(weights.receipt_path(path), "val_size", how.settings.val_size)


@dataclass(frozen=True)
class Comparison:
    """Weights beside the same weights trained again.

    Attributes
    ----------
    identical : byte for byte.
    sha256 : of what was trained again.
    largest_difference : max|a - b| over the largest weight; None where the shapes differ.
    accuracies : on the rows trained on: of the weights, and trained again; None where the shapes differ.
    versions : name -> (the receipt's, here), of those that are not the same.
    faults : what is more different than versions and hardware explain; none when they were reproduced.
    """

    identical: bool
    sha256: str
    largest_difference: float | None
    accuracies: tuple[float, float] | None
    versions: dict[str, tuple[str | None, str | None]]
    faults: list[str]

    @property
    def outcome(self) -> str:
        """In a word: "different", "identical" or "equal", which is within the tolerance."""
        return "different" if self.faults else "identical" if self.identical else "equal"


def compare(made: Weights, how: Recipe, again: Result, split: Split) -> Comparison:
    """Compare weights, and the figures in their receipt, with what `run.fit` gave for their recipe."""
    sha256 = hashlib.sha256(weights.pack(again.parameters)).hexdigest()
    versions = _differences(how.versions, run.versions())
    stated = made.receipt or {}
    faults = [
        f"{key} {stated[key]} in the receipt and {again.receipt[key]} again"
        for key in _FIGURES
        if not _close(stated[key], again.receipt[key])
    ]
    if made.array.shape != again.parameters.shape:
        faults.append(f"{made.array.shape} weights and {again.parameters.shape} again")
        return Comparison(False, sha256, None, None, versions, faults)
    difference = _largest_difference(made.array, again.parameters)
    accuracies = (_accuracy(made, how, split), float(again.receipt["train_accuracy"]))
    if difference > (WEIGHT_TOLERANCE if versions else 0):
        faults.append(f"weights that differ by up to {difference:.2g} of the largest")
    if not _close(*accuracies):
        faults.append(f"accuracy {accuracies[0]:.4f} and {accuracies[1]:.4f} again")
    return Comparison(sha256 == made.sha256, sha256, difference, accuracies, versions, faults)


def _differences(there: dict[str, Any], here: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    known = {key: value for key, value in there.items() if isinstance(value, str)}
    keys = sorted(there.keys() | here.keys())
    return {key: (known.get(key), here.get(key)) for key in keys if known.get(key) != here.get(key)}


def _close(stated: float | None, again: float | None) -> bool:
    if stated is None or again is None:
        return stated is again
    return math.isclose(stated, again, rel_tol=0, abs_tol=FIGURE_TOLERANCE)


def _largest_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    largest = max(float(np.abs(a).max()), float(np.abs(b).max()))
    return float(np.abs(a.astype(np.float64) - b).max()) / largest if largest else 0.0


def _accuracy(made: Weights, how: Recipe, split: Split) -> float:
    """Of the weights themselves, whatever their receipt says, on the rows that they were trained on."""
    rows, _ = train_validation_rows(len(split.labels), how.settings.val_size or 0, how.settings.seed)
    _, (accuracy,) = cross_entropy_and_accuracy(made.array, split.images, split.labels, rows)
    return float(accuracy)
