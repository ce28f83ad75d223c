"""Options that several commands share; those of hyperparameters are made from the table of settings."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mnist_softmax.cli import commands
from mnist_softmax.cli.types import WEIGHTS, ChainType, ListType, PathType, SettingType
from mnist_softmax.data.catalog import DATASETS
from mnist_softmax.errors import UsageError
from mnist_softmax.settings import FEATURE_STEPS, SETTINGS, Settings

if TYPE_CHECKING:
    from mnist_softmax.data.split import Source

Decorator = Callable[[Any], Any]

#: The key in `Context.meta` of the config file that a command was given.
CONFIG = "mnist_softmax.config"

command = commands.command


def _setting(name: str, help_text: str, *, swept: bool) -> Decorator:
    """The option of a setting; `swept` is that of a sweep, which may take several values."""
    entry = SETTINGS[name]
    as_list, rule = swept and entry.swept, entry.rule(sgd_alone=swept)
    kind: Any = click.Choice(entry.choices) if entry.choices else SettingType(entry)
    text, default = help_text or entry.help, entry.default
    if entry.limits:
        text = f"{text.rstrip('.')} ({entry.limits})."
    if as_list:
        kind, text = ListType(kind), f"{text.rstrip('.')}; a comma-separated list."
        default = str(default)
    if rule:  # the default is not known before the data and the chain of features
        default, text = None, f"{text} Default: {rule}."
    flag = "--" + name.replace("_", "-")
    return click.option(flag, name, type=kind, default=default, show_default=True, help=text)


features = click.option(
    "--features",
    type=ChainType(),
    default="none",
    show_default=True,
    help="What the model sees instead of the pixels: a comma-separated chain of "
    + "; ".join(f"{name}, which {text}" for name, text in FEATURE_STEPS.items())
    + ".",
)


def settings(command: Any, *, swept: bool = False, only: Mapping[str, str] | None = None) -> Any:
    """An option for every setting, and --features; the command gets both, and if `swept` also `lists`.

    A setting that is not given has the default that fits the features. `only` has the names of those that get
    an option, each with a help text of its own or "".
    """
    names = only or {name: "" for name in SETTINGS if not (swept and name == "solver")}

    @functools.wraps(command)
    def with_settings(*args: Any, features: tuple[str, ...], **options: Any) -> Any:
        source = click.get_current_context().get_parameter_source
        values = {name: options.pop(name) for name in names}
        given = {name: value for name, value in values.items() if source(name) is not ParameterSource.DEFAULT}
        if swept:
            defaults = Settings.for_features(features)
            options["lists"] = {
                name: given.pop(name, (getattr(defaults, name),))
                for name, entry in SETTINGS.items()
                if entry.swept
            }
        made = Settings.for_features(features, **given)
        return command(*args, settings=made, features=features, **options)

    each = [_setting(name, text, swept=swept) for name, text in names.items()]
    return _added(with_settings, [*each, features])


def _added(command: Any, options: list[Decorator]) -> Any:
    """Add options to a command, in this order and before its own."""
    for option in reversed(options):
        command = option(command)
    return command


def path(*names: str, suffix: str = "", **attributes: Any) -> Decorator:
    """An option that takes a path, of a file with this suffix if it has one."""
    return click.option(*names, type=PathType(Path, suffix), **attributes)


cluster = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Compute on a Dask cluster, to the same result: the address of its scheduler, such as "
    "tcp://127.0.0.1:8786 or tls://HOST:8786, or local for workers on this machine.",
)
as_json = click.option("--json", is_flag=True, help="Print one JSON object on stdout.")


def as_report(command: Any) -> Any:
    """``--json`` and ``--markdown``; the command gets `form`: "json", "markdown" or "text"."""

    @functools.wraps(command)
    def with_form(*args: Any, json: bool, markdown: bool, **options: Any) -> Any:
        given = [name for name, flag in (("json", json), ("markdown", markdown)) if flag]
        form = stronger(*given) if len(given) == 2 else "".join(given) or "text"
        return command(*args, form=form, **options)

    text = "Print Markdown, for the summary of a CI job."
    return _added(with_form, [as_json, click.option("--markdown", is_flag=True, help=text)])


weights = click.argument("weights", type=WEIGHTS, default="weights.npy")
split = click.option(
    "--split", type=click.Choice(["test", "train"]), default="test", show_default=True, help="Rows to use."
)


@dataclass(frozen=True)
class Data:
    """The options that say which data to read and how to fetch it; `source` is None if none was named."""

    source: "Source | None"
    cache_dir: Path | None
    offline: bool


cache_dir = path(
    "--cache-dir",
    cls=commands.OfTheMachine,
    metavar="DIR",
    envvar="MNIST_SOFTMAX_CACHE_DIR",
    show_envvar=True,
    help="Where datasets are kept. Default: the user's cache folder.",
)


def cache(command: Any) -> Any:
    """``--cache-dir`` and ``--offline``; the command gets them as part of `data`."""

    @functools.wraps(command)
    def with_data(*args: Any, cache_dir: Path | None, offline: bool, **options: Any) -> Any:
        source = _chosen_source(options.pop("dataset", None), options.pop("data_dir", None))
        return command(*args, data=Data(source, cache_dir, offline), **options)

    return _added(
        with_data,
        [
            cache_dir,
            click.option(
                "--offline",
                cls=commands.OfTheMachine,
                is_flag=True,
                envvar="MNIST_SOFTMAX_OFFLINE",
                show_envvar=True,
                help="Never use the network; fail if data is not cached.",
            ),
        ],
    )


def data(default: str) -> Decorator:
    """``--dataset``, ``--data-dir`` and the cache's options; `default` is the help's word for the default."""
    options = [
        click.option(
            "--dataset",
            type=click.Choice(list(DATASETS)),
            help=f"A known dataset. Default: {default}.",
        ),
        path(
            "--data-dir",
            metavar="DIR",
            help="Folder with IDX files of your own, and class names in classes.txt, instead of --dataset; "
            "or a .npz file.",
        ),
    ]
    return lambda command: _added(cache(command), options)


def stronger(first: str, second: str) -> str:
    """Which of two parameters that exclude each other counts, since both are set.

    The command line wins over the environment, and that over the config file.

    Raises
    ------
    UsageError : both are set in the same place.
    """
    ranks = [ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT, ParameterSource.COMMANDLINE]
    ctx = click.get_current_context()
    by_first, by_second = (
        ranks.index(source) if source in ranks else -1
        for source in map(ctx.get_parameter_source, (first, second))
    )
    if by_first == by_second:
        place = ("config", "environment", "command line")[by_first]
        flags = {param.name: param.opts[0] for param in ctx.command.params}
        both = f"{flags[first]} and {flags[second]} exclude each other"
        raise UsageError(both, got=f"both in the {place}")
    return first if by_first > by_second else second


def _chosen_source(dataset: str | None, data_dir: Path | None) -> "Source | None":
    """The data that --dataset or --data-dir names; None if neither is set."""
    from mnist_softmax.data.split import Source

    if dataset and data_dir:
        wins = stronger("dataset", "data_dir")
        dataset, data_dir = (dataset, None) if wins == "dataset" else (None, data_dir)
    return Source(dataset=dataset, data_dir=data_dir) if dataset or data_dir else None
