"""The types of options and arguments: values of a setting, lists and chains of them, paths."""

import math
import os
from pathlib import Path
from typing import Any

import click

from mnist_softmax.errors import UsageError, brief
from mnist_softmax.settings import FEATURE_STEPS, Setting, check_features


class SettingType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """The values of a `Setting`, as a click type."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.name = {float: "float", int: "integer", str: "text"}[setting.kind]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as a float, int or str, or fail with what was expected."""
        try:
            return self.setting.parse(value) if isinstance(value, str) else self.setting.check(value)
        except UsageError:
            got = value[:60] if value and isinstance(value, str) else brief(value)
            self.fail(f"expected {self.setting.expected}, got {got}", param, ctx)


class ListType(click.ParamType):  # type: ignore[type-arg]
    """Values of a setting, separated by commas; in a config file one value or a list."""

    name = "list"

    def __init__(self, element: "SettingType | click.Choice[str]") -> None:
        self.element = element

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Return the values as a tuple, or fail with the wrong one."""
        parts = value.split(",") if isinstance(value, str) else value
        parts = parts if isinstance(parts, list | tuple) else [parts]
        if not parts:
            self.fail("expected at least one number", param, ctx)
        return tuple(self.element.convert(part, param, ctx) for part in parts)


class ChainType(ListType):
    """A chain of feature steps, separated by commas, or "none"; in a config file one name or a list."""

    def __init__(self) -> None:
        super().__init__(click.Choice(list(FEATURE_STEPS)))

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names as a tuple, or fail with the wrong one."""
        chain = () if value in ("none", [], ()) else super().convert(value, param, ctx)
        try:
            return check_features(chain)
        except UsageError as error:
            self.fail(str(error).partition(": ")[2], param, ctx)


class PathType(click.Path):
    """A path. As the value of an option, `-` or another option is taken for a mistake.

    The shells complete it to folders and to files of a suffix, if it has one.
    """

    def __init__(self, path_type: type | None = None, suffix: str = "") -> None:
        self.suffix = suffix
        # What may not be read is no wrong usage: whoever opens it says so.
        super().__init__(readable=False, path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as a path, or fail."""
        text = str(value)
        dashed = text.startswith("-") and isinstance(param, click.Option)
        try:
            possible = b"\0" not in os.fsencode(text)
        except UnicodeEncodeError:  # a config file may hold what this locale cannot
            possible = False
        # Only a folder's name may end in a slash, which Path drops.
        of_folder = (getattr(param, "metavar", "DIR") or "").endswith(("DIR", "FOLDER..."))
        slashed = text.endswith((os.sep, "/")) and not of_folder
        if dashed or slashed or not text or not possible:
            hint = f"; results go to stdout by themselves, './{text}' names a file" if dashed else ""
            self.fail(f"expected a path, got {text!r}{hint}", param, ctx)
        return super().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:  # noqa: ARG002
        """Return the kind of files that the shell shall list; the scripts of `completion` know it."""
        from click.shell_completion import CompletionItem

        kind = "dir" if param.metavar == "DIR" else self.suffix or "file"
        return [CompletionItem(incomplete, type=kind)]


PATH, WEIGHTS = PathType(Path), PathType(Path, ".npy")


def integer(low: int, high: float = math.inf) -> SettingType:
    """The integers from `low` to `high`, as the type of an option that is no hyperparameter."""
    return SettingType(Setting("integer", int, low, "", low=low, high=high))


#: A fraction from 0 to 1, for gates.
FRACTION = SettingType(Setting("fraction", float, 0.0, "", high=1))
