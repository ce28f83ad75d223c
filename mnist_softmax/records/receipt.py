"""The receipt: how weights were trained, with one schema that writes, reads and checks it.

It is JSON and holds no clock time, so the same run writes the same bytes. msgspec checks the types; this
module checks the names of datasets and feature steps and the ranges of settings.
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

from mnist_softmax import blas
from mnist_softmax.data.catalog import DATASETS
from mnist_softmax.data.split import Source, Split
from mnist_softmax.errors import UsageError, WeightsError
from mnist_softmax.features import steps
from mnist_softmax.settings import SETTINGS, Settings, check_features
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
    running_loss : mean cross-entropy of the batches, each computed before its own step; no penalty. Of L-BFGS
        that of all rows, after the epoch.
    validation_loss, validation_accuracy : after the epoch; None without held-out rows.
    """

    epoch: _Count
    running_loss: float
    validation_loss: float | None
    validation_accuracy: _Fraction | None


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What is known before training starts. Two runs with equal attributes give the same bytes.

    Attributes
    ----------
    dataset, data_dir : where the rows came from; `data_dir` as it was given.
    files : file name -> SHA-256 of the unpacked IDX file.
    features : the chain of feature steps.
    settings : every hyperparameter by name, as `settings.Settings` has them.
    rows : how many rows were trained on.
    versions : of all that affects the bits of a result; that of BLAS includes the type of processor.
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
        """Check what msgspec cannot; it adds the place to a ValueError."""
        if self.dataset is not None and (self.dataset not in DATASETS or self.data_dir is not None):
            raise ValueError("an unknown dataset, or a dataset with a data_dir")
        if self.data_dir is not None and "\0" in self.data_dir:
            raise ValueError("a data_dir with a NUL character")
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
    """How weights were trained, and the result.

    Attributes
    ----------
    array_sha256 : of the bytes of the array, without the header of the file.
    loss : of the final weights over all rows trained on, with the penalty.
    train_accuracy, validation_accuracy : fractions; the latter None without held-out rows.
    history : one entry for each epoch; L-BFGS may need fewer than `settings` allows.
    """

    format: Literal[1] = 1
    array_sha256: str
    loss: float
    train_accuracy: _Fraction
    validation_accuracy: _Fraction | None
    history: list[Epoch]


def run_of(split: Split, settings: Settings, features: Sequence[str], rows: int) -> Run:
    """The `Run` of training on `rows` rows of a split; `settings` has its `val_size` filled in."""
    folder = split.source.data_dir
    return Run(
        dataset=split.source.dataset,
        data_dir=None if folder is None else os.fsencode(folder).decode(),
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
    """The arguments of `mnist-softmax train` that make the same weights, with every setting explicit."""
    folder = as_argument(source.data_dir or "")
    where = ["--dataset", source.dataset] if source.dataset else ["--data-dir", folder]
    arguments = ["train", *where, "--features", ",".join(receipt.features) or "none"]
    for key, value in receipt.settings.items():
        if value is not None:  # of another solver
            arguments += ["--" + key.replace("_", "-"), str(value)]
    return [*arguments, "--out", as_argument(out)]


def as_argument(path: str | Path) -> str:
    """A path as the command line and config files take it: with a dash first it looks like an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def versions() -> dict[str, str]:
    """The versions on this machine."""
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
    WeightsError : not JSON, or not of the schema; the message names the place.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = re.sub(r"\s+", " ", str(error))[:120]
        raise WeightsError(f"{what} is damaged", path, got=reason, remedy=remedy) from error
