"""Config files: flat TOML; the keys are the command's options, with underscores for dashes."""

import json
import re
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mnist_softmax.cli.options import CONFIG
from mnist_softmax.cli.types import ListType, PathType, SettingType
from mnist_softmax.cli.usage import meant, usage_error
from mnist_softmax.errors import LocalIOError, UsageError, brief
from mnist_softmax.settings import SETTINGS, Settings

#: Options that make no sense in a file.
_NOT_IN_A_FILE = {"config", "help", "print_config"}
#: The most bytes of a config file: `tomllib` needs time quadratic in the length of a dotted key.
_LONGEST_CONFIG = 1 << 14


def _checked(key: str, value: Any, option: click.Parameter, ctx: click.Context, path: Path) -> Any:
    """The value of a key, checked against the type and range of its option."""
    kind = bool if getattr(option, "is_flag", False) else str
    numeric = isinstance(getattr(option.type, "element", option.type), SettingType)
    items = value if isinstance(option.type, ListType) and isinstance(value, list) else [value]
    if any(isinstance(item, str) if numeric else not isinstance(item, kind) for item in items):
        wanted = "a number" if numeric else "true or false" if kind is bool else "a string"
        raise UsageError(f"wrong value of {key}", path, expected=wanted, got=brief(value))
    try:
        option.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise usage_error(error, f"{key}: {path}") from error
    return value


def read_config(path: Path, ctx: click.Context) -> dict[str, Any]:
    """Read the options of ``ctx.command`` from a TOML file.

    Returns
    -------
    Option name -> value, checked against the type and range of the option.

    Raises
    ------
    UsageError : no such file, too long, not TOML, an unknown key, a wrong type or value; names the key.
    LocalIOError : the file cannot be read.
    """
    import tomllib  # here: `--help` needs neither

    from mnist_softmax.files import open_regular

    try:
        with open_regular(path) as file:
            data = file.read(_LONGEST_CONFIG + 1)
        if len(data) > _LONGEST_CONFIG:
            raise UsageError("the config is too long", path, expected=f"at most {_LONGEST_CONFIG} bytes")
        table = tomllib.loads(data.decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError("no such config file", path) from error
    except (ValueError, RecursionError) as error:
        raise UsageError("not a TOML file", path, got=error) from error
    except OSError as error:
        raise LocalIOError("cannot read the config", path, got=error.strerror) from error
    options = {param.name: param for param in ctx.command.params if param.name not in _NOT_IN_A_FILE}
    for key in table:
        if key not in options:
            hint = meant(key, filter(None, options), otherwise=f"try '{ctx.command_path} --help'")
            raise UsageError(f"unknown key {key!r}", path, remedy=hint)
    return {key: _checked(key, value, options[key], ctx, path) for key, value in table.items()}


def _apply(ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        ctx.default_map = {**(ctx.default_map or {}), **read_config(path, ctx)}
        ctx.meta[CONFIG] = path
    return path


def config_option(command: Any) -> Any:
    """Add ``--config FILE``; environment and command line win over it."""
    return click.option(
        "--config",
        metavar="FILE",
        type=PathType(Path, ".toml"),
        is_eager=True,
        callback=_apply,
        expose_value=False,
        help="TOML file with any of these options (underscores for dashes).",
    )(command)


def _was_given(ctx: click.Context, name: str) -> bool:
    """Whether an option was set; the environment's cache options belong to the machine and do not count."""
    source = ctx.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        return name not in {"cache_dir", "offline", "quiet"} or name in (ctx.default_map or {})
    return source in {ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP}


def effective_config(
    ctx: click.Context, settings: Settings, dataset: str | None, data_dir: Path | None
) -> list[str]:
    """The settings in effect, as lines of a TOML file for ``--config``.

    It has the data, all settings, and whatever else was set; a setting left to the data is a comment.

    Raises
    ------
    UsageError : a path is not UTF-8.
    """
    from mnist_softmax.data.split import is_unicode
    from mnist_softmax.records.receipt import as_argument

    lines = []
    for param in ctx.command.params:
        name = param.name or ""
        value = getattr(settings, name) if name in SETTINGS else ctx.params.get(name)
        if name == "dataset":
            value = dataset
        elif name == "data_dir":
            value = data_dir
        elif name in _NOT_IN_A_FILE or not (name in {*SETTINGS, "features"} or _was_given(ctx, name)):
            continue
        if value is not None:
            # JSON's numbers, booleans and strings are valid TOML, except characters beyond ASCII.
            value = as_argument(value) if isinstance(value, Path) else value
            written = json.dumps(value, ensure_ascii=False)
            if not is_unicode(written):
                raise UsageError(f"{name} is not UTF-8, as a config file must be", value)
            lines.append(f"{name} = " + re.sub("[^ -~]", lambda c: f"\\U{ord(c[0]):08x}", written))
        elif name in SETTINGS and SETTINGS[name].follows:
            lines.append(f"# {name} = {SETTINGS[name].follows}")
    return lines
