"""The receipt: what is known of weights, and the one schema that writes, reads and checks it.

It is JSON and holds no clock time, so the same run writes the same bytes. msgspec checks the types; what only
the program knows (names of datasets and feature steps, ranges of settings) is checked here.
"""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np

from mnist_softmax.data.catalog import DATASETS
from mnist_softmax.data.split import Source, Split
from mnist_softmax.errors import UsageError, WeightsError
from mnist_softmax.features import steps
from mnist_softmax.settings import FEATURE_STEPS, SETTINGS, Settings, check_features
from mnist_softmax.training import blas
from mnist_softmax.version import __version__

_Count = Annotated[int, msgspec.Meta(gt=0, lt=1 << 32)]
_Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Record = TypeVar("_Record", bound=msgspec.Struct)
_Classes = Annotated[list[str], msgspec.Meta(min_length=1, max_length=256)]


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One epoch of a history.

    Attributes
    ----------
    epoch : 1 for the first.
    running_loss : mean cross-entropy of the batches, each as it was before its own step; no penalty.
    validation_loss, validation_accuracy : after the epoch; None with no rows held out.
    """

    epoch: _Count
    running_loss: float
    validation_loss: float | None
    validation_accuracy: _Fraction | None


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What is known before training starts. Two runs that agree in all of it give the same bytes.

    Attributes
    ----------
    dataset, data_dir : where the rows came from; `data_dir` as it was given.
    files : file name -> SHA-256 of the unpacked IDX file.
    features : the chain of feature steps.
    settings : every hyperparameter by name, as `settings.Settings` has them.
    rows : how many were trained on.
    versions : those that decide the bits of a result; BLAS names the type of processor that it works for.
    """

    dataset: str | None
    data_dir: str | None
    files: dict[str, str]
    image_height: _Count
    image_width: _Count
    class_names: _Classes
    features: list[str]
    settings: dict[str, Any]
    rows: _Count
    versions: dict[str, str]

    def __post_init__(self) -> None:
        """Check what msgspec cannot; it turns a ValueError into an error that says where."""
        if self.dataset is not None and (self.dataset not in DATASETS or self.data_dir is not None):
            raise ValueError("a dataset that is not known")
        if self.data_dir is not None and "\0" in self.data_dir:
            raise ValueError("a folder that no system can have")
        try:
            check_features(self.features)
            if self.settings.keys() != SETTINGS.keys() or self.hyperparameters.val_size is None:
                raise ValueError(f"settings other than {', '.join(SETTINGS)}")
        except UsageError as error:
            raise ValueError(str(error)) from error

    @cached_property
    def hyperparameters(self) -> Settings:
        """The settings, checked."""
        return Settings(**self.settings)

    @property
    def source(self) -> Source:
        """Where the rows came from."""
        folder = None if self.data_dir is None else Path(os.fsdecode(self.data_dir.encode()))
        return Source(self.dataset, folder)

    @property
    def columns(self) -> int:
        """How many features a row has."""
        return steps.count(self.image_height, self.image_width, self.features)


class Receipt(Run, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What is known of weights.

    Attributes
    ----------
    array_sha256 : of the bytes of the array, without the header of the file.
    loss : exact, over the rows trained on, with the penalty.
    train_accuracy, validation_accuracy : fractions; the latter None with no rows held out.
    history : one entry for each epoch.
    """

    format: Literal[1] = 1
    array_sha256: str
    loss: float
    train_accuracy: _Fraction
    validation_accuracy: _Fraction | None
    history: list[Epoch]


def run_of(split: Split, settings: Settings, features: Sequence[str], rows: int) -> Run:
    """What identifies the training of `rows` rows of a split; `settings` are those for its rows."""
    folder = split.source.data_dir
    return Run(
        dataset=split.source.dataset,
        # JSON is UTF-8: a name that is not is recorded as nearly as can be.
        data_dir=None if folder is None else os.fsencode(folder).decode(errors="backslashreplace"),
        files=dict(split.files),
        image_height=split.height,
        image_width=split.width,
        class_names=list(split.class_names),
        features=list(features),
        settings=asdict(settings),
        rows=rows,
        versions=versions(),
    )


def train_arguments(receipt: Receipt, source: Source, out: Path) -> list[str]:
    """The arguments of the `mnist-softmax train` that makes the same weights, nothing left to a default."""
    where = ["--dataset", source.dataset] if source.dataset else ["--data-dir", str(source.data_dir)]
    steps_taken = [f"--{'' if name in receipt.features else 'no-'}{name}" for name in FEATURE_STEPS]
    arguments = ["train", *where, *steps_taken]
    for key, value in receipt.settings.items():
        arguments += ["--" + key.replace("_", "-"), str(value)]
    return [*arguments, "--out", str(out)]


def versions() -> dict[str, str]:
    """The versions here."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "mnist_softmax": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas.description(),
    }


def encode(record: msgspec.Struct) -> bytes:
    """JSON of a receipt or of the head of a checkpoint."""
    return msgspec.json.encode(record)


def decode(data: bytes, kind: type[_Record], path: Path, what: str, remedy: str = "") -> _Record:
    """Read what `encode` wrote.

    Raises
    ------
    WeightsError : not JSON, or not of the schema; the place is named.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = re.sub(r"\s+", " ", str(error))[:120]
        raise WeightsError(f"{what} is damaged", path, got=reason, remedy=remedy) from error
