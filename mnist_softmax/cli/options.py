"""Options that several commands share, and the types that check them."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mnist_softmax.datasets import DATASETS
from mnist_softmax.errors import UsageError

if TYPE_CHECKING:
    from mnist_softmax.data import Source

Decorator = Callable[[Any], Any]


class FiniteFloat(click.types.FloatParamType):
    """A finite float in a range; click's own FLOAT accepts nan and inf."""

    def __init__(
        self, low: float, high: float = math.inf, *, low_open: bool = False, high_open: bool = False
    ) -> None:
        self.low, self.high, self.low_open, self.high_open = low, high, low_open, high_open

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return `value` as a float, or fail with what was expected."""
        try:
            number = float(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        too_low = number <= self.low if self.low_open else number < self.low
        too_high = number >= self.high if self.high_open else number > self.high
        if not math.isfinite(number) or too_low or too_high:
            self.fail(f"expected {self.range()}, got {value}", param, ctx)
        return number

    def range(self) -> str:
        """The range in words."""
        low = f"a finite number {'above' if self.low_open else 'of at least'} {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {'below' if self.high_open else 'at most'} {self.high:g}"


class NumberList(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Comma-separated numbers, each of which `element` accepts; in a config file a number or a list."""

    name = "list"

    def __init__(self, element: "click.ParamType[Any]") -> None:
        self.element = element

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Return the numbers as a tuple, or fail with the one that was wrong."""
        parts = (
            value.split(",")
            if isinstance(value, str)
            else value
            if isinstance(value, list | tuple)
            else [value]
        )
        if not parts:
            self.fail("expected at least one number", param, ctx)
        return tuple(self.element.convert(part, param, ctx) for part in parts)


LR = FiniteFloat(0, low_open=True)
REG = FiniteFloat(0)
MOMENTUM = FiniteFloat(0, 1, high_open=True)
SEED = click.IntRange(0)


def path_option(*names: str, **attributes: Any) -> Decorator:
    """An option that takes a path."""
    return click.option(*names, type=click.Path(path_type=Path), **attributes)


def json_option(command: Any) -> Any:
    """``--json``."""
    return click.option("--json", is_flag=True, help="Print one JSON object on stdout.")(command)


def cache_options(command: Any) -> Any:
    """``--cache-dir`` and ``--offline``, for every command that reads a dataset."""
    command = click.option(
        "--offline",
        is_flag=True,
        envvar="MNIST_SOFTMAX_OFFLINE",
        show_envvar=True,
        help="Never use the network: what is not cached is an error.",
    )(command)
    return path_option(
        "--cache-dir",
        metavar="DIR",
        envvar="MNIST_SOFTMAX_CACHE_DIR",
        show_envvar=True,
        help="Where datasets are kept. Default: the user's cache folder.",
    )(command)


def source_options(default: str) -> Decorator:
    """``--dataset``, ``--data-dir`` and the cache's options; `default` says what is used without them."""

    def add(command: Any) -> Any:
        command = cache_options(command)
        command = path_option(
            "--data-dir", metavar="DIR", help="Folder with IDX files of your own, instead of --dataset."
        )(command)
        return click.option(
            "--dataset",
            type=click.Choice(list(DATASETS)),
            help=f"A known dataset. Default: {default}.",
        )(command)

    return add


def deskew_option(command: Any) -> Any:
    """``--deskew``, for every command that trains."""
    return click.option(
        "--deskew/--no-deskew",
        help="Straighten and centre each image first. The receipt records it, so eval does the same.",
    )(command)


def preprocessing_steps(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps of `preprocess` that the options ask for."""
    return ("deskew",) if options["deskew"] else ()


def schedule_options(command: Any) -> Any:
    """``--epochs``, ``--batch-size``, ``--schedule`` and ``--val-size``: what models of a sweep share."""
    for option in (
        click.option(
            "--val-size",
            type=click.IntRange(0),
            help="Rows held out of the training file for validation. Default: min(5000, rows // 10).",
        ),
        click.option(
            "--schedule",
            type=click.Choice(["constant", "cosine"]),
            default="cosine",
            show_default=True,
            help="How the learning rate goes: cosine falls to 0 at the end.",
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(1),
            default=128,
            show_default=True,
            help="Rows in a minibatch.",
        ),
        click.option("--epochs", type=click.IntRange(1, 10**9), default=10, show_default=True),
    ):
        command = option(command)
    return command


def chosen_source(ctx: click.Context, dataset: str | None, data_dir: Path | None) -> "Source | None":
    """What --dataset or --data-dir asks for; None where neither is given.

    The two count as one option: where both are set, the command line wins over the environment, and that over
    the config file.

    Raises
    ------
    UsageError : both are set in the same place.
    """
    from mnist_softmax.data import Source

    if dataset and data_dir:
        ranks = [
            ParameterSource.DEFAULT_MAP,
            ParameterSource.ENVIRONMENT,
            ParameterSource.COMMANDLINE,
        ]
        sources = [ctx.get_parameter_source(name) for name in ("dataset", "data_dir")]
        by_dataset, by_folder = (ranks.index(source) if source in ranks else -1 for source in sources)
        if by_dataset == by_folder:
            raise UsageError("--dataset and --data-dir exclude each other")
        return Source(dataset=dataset) if by_dataset > by_folder else Source(data_dir=data_dir)
    if data_dir:
        return Source(data_dir=data_dir)
    return Source(dataset=dataset) if dataset else None


def mirrors_from_environment() -> list[str] | None:
    """The mirrors of MNIST_SOFTMAX_MIRROR, separated by white space; None where it names none."""
    return os.environ.get("MNIST_SOFTMAX_MIRROR", "").split() or None
