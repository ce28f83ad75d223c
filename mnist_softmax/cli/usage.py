"""Usage errors, in the same words whatever the version of click, with the name that was probably meant."""

import os
from collections.abc import Iterable, Iterator

import click
from click.core import ParameterSource

from mnist_softmax.errors import UsageError


def meant(word: str, known: Iterable[str], skip: int = 0, otherwise: str = "") -> str:
    """``did you mean 'train'?``, with the known name nearest to `word`, or else `otherwise`.

    Upper and lower case are the same here, and the first `skip` characters do not count.
    """
    from difflib import get_close_matches

    word, names = word[skip:].lower(), {name[skip:].lower(): name for name in known}
    close = get_close_matches(word, names, n=1)
    close += [name for name in names if len(word) > 1 and (name.startswith(word) or name.endswith(word))]
    return f"did you mean {names[close[0]]!r}?" if close else otherwise


def variables(option: click.Parameter, prefix: str) -> list[str]:
    """The environment variables that set an option: that of the command with this prefix, then its own."""
    if not isinstance(option, click.Option) or not option.allow_from_autoenv:
        return []
    own = [option.envvar] if isinstance(option.envvar, str) else []
    return [f"{prefix}_{(option.name or '').upper()}", *own]


def idle_variables(ctx: click.Context) -> Iterator[str]:
    """A line about each variable that has the program's prefix and sets nothing."""
    root = ctx.find_root()
    group, prefix = root.command, f"{root.auto_envvar_prefix}_"
    assert isinstance(group, click.Group)
    ours = {name for name in os.environ if name.startswith(prefix) and not name.startswith(f"{prefix}TEST_")}
    known = [prefix + name for name in ("CACHE_DIR", "OFFLINE", "MIRROR", "QUIET")]
    # A command takes time to load: first those that the variables name, the others only for what is unknown.
    commands = group.list_commands(ctx)
    for name in sorted(commands, key=lambda name: not any(f"_{name.upper()}_" in other for other in ours)):
        if not ours <= set(known):
            for option in getattr(group.get_command(ctx, name), "params", ()):
                known += variables(option, prefix + name.upper())
    for name in sorted(ours & set(known)):
        if not os.environ[name]:
            yield f"the variable {name} is empty, so it sets nothing"
    for name in sorted(ours - set(known)):
        hint = meant(name, known, len(prefix))
        yield str(UsageError(f"unknown variable {name}", remedy=hint))


def usage_error(error: click.UsageError, where: str = "") -> UsageError:
    """What click found wrong, as an error of ours; `where` the value is, if click does not know it."""
    ctx, param, what = error.ctx, getattr(error, "param", None), error.message.removesuffix(".")
    hint = f"try '{ctx.command_path if ctx else 'mnist-softmax'} --help'"
    if ctx and isinstance(error, click.NoSuchOption):
        # Of -lr click refuses the -l; the word as it was typed is in the error before that.
        word = getattr(error.__context__, "option_name", error.option_name)
        known = [name for each in ctx.command.get_params(ctx) for name in each.opts + each.secondary_opts]
        what, hint = f"no such option {word!r}", meant(word, known, otherwise=hint)
    elif ctx and isinstance(ctx.command, click.Group) and what.startswith("No such command"):
        hint = meant(what.split("'")[1], ctx.command.list_commands(ctx), otherwise=hint)
    elif param and isinstance(error, click.MissingParameter):
        what = f"missing argument {param.human_readable_name}"
    elif ctx and param:
        name = max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name
        choice = getattr(param.type, "element", param.type)
        is_unknown = isinstance(choice, click.Choice) and "'" in what
        hint = meant(what.split("'")[1], choice.choices) if is_unknown else ""
        if ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT:
            name = next(filter(os.environ.get, variables(param, ctx.auto_envvar_prefix or "")))
            if isinstance(param.type, click.types.BoolParamType):
                what = f"expected 1 or 0, got {os.environ[name]!r}"
        what = f"wrong value of {where or name}: {what}"
    return UsageError(what[:1].lower() + what[1:], remedy=hint)
