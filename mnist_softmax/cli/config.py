"""Config files: flat TOML, keys named as the options of the command with underscores."""

import tomllib
from pathlib import Path
from typing import Any

import click

from mnist_softmax.cli.options import FiniteFloat, NumberList
from mnist_softmax.errors import LocalIOError, UsageError

#: Options that make no sense in a file.
_NOT_IN_A_FILE = {"config", "help"}
#: No honest config is longer.
_LONGEST_CONFIG = 1 << 20


def _wanted(kind: "click.ParamType[Any]", *, is_flag: bool) -> tuple[str, tuple[type, ...]]:
    """What an option takes from TOML, in words and as types. A bool is never a number here."""
    if is_flag:
        return "true or false", (bool,)
    if isinstance(kind, NumberList):
        words, types = _wanted(kind.element, is_flag=False)
        return f"{words} or a list", types
    if isinstance(kind, FiniteFloat):
        return "a number", (int, float)
    if isinstance(kind, click.types.IntParamType):
        return "an integer", (int,)
    return "a string", (str,)


def _value(key: str, value: Any, option: click.Parameter, ctx: click.Context, path: Path) -> Any:
    words, types = _wanted(option.type, is_flag=getattr(option, "is_flag", False))
    is_list = isinstance(option.type, NumberList) and isinstance(value, list)
    for item in value if is_list else [value]:
        if not isinstance(item, types) or (isinstance(item, bool) and bool not in types):
            raise UsageError(f"wrong type of {key}", path, expected=words, got=repr(item)[:60])
    if isinstance(value, str) and "\0" in value:  # no path, and nothing else, can hold it
        raise UsageError(f"wrong value of {key}", path, got="a NUL character")
    try:
        option.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise UsageError(f"wrong value of {key}", path, got=error.message.rstrip(".")) from error
    return value


def read_config(path: Path, ctx: click.Context) -> dict[str, Any]:
    """Read the options of ``ctx.command`` from a TOML file.

    Returns
    -------
    Option name -> value, each of the type and in the range that the option takes.

    Raises
    ------
    UsageError : no such file, not TOML, an unknown key, a wrong type or value; the key is named.
    LocalIOError : the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_LONGEST_CONFIG + 1)
        if len(data) > _LONGEST_CONFIG:
            raise UsageError("the config is too long", path, expected=f"at most {_LONGEST_CONFIG} bytes")
        table = tomllib.loads(data.decode())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UsageError("no such config file", path) from error
    except (ValueError, RecursionError) as error:
        raise UsageError("not a TOML file", path, got=error) from error
    except OSError as error:
        raise LocalIOError("cannot read the config", path, got=error.strerror) from error
    options = {
        param.name: param for param in ctx.command.params if param.name and param.name not in _NOT_IN_A_FILE
    }
    for key in table:
        if key not in options:
            known = ", ".join(sorted(options))
            raise UsageError(f"unknown key {key!r}", path, expected=f"one of {known}")
    return {key: _value(key, value, options[key], ctx, path) for key, value in table.items()}


def _apply(ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        ctx.default_map = {**(ctx.default_map or {}), **read_config(path, ctx)}
    return path


def config_option(command: Any) -> Any:
    """Add ``--config FILE``; environment and command line win over it."""
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        is_eager=True,
        callback=_apply,
        expose_value=False,
        help="TOML file with any of these options (underscores for dashes).",
    )(command)
