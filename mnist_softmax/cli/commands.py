"""What all commands have in common: --quiet, a look at the environment, help that ends with examples."""

import os
from collections.abc import Callable
from typing import Any

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.usage import idle_variables, variables
from mnist_softmax.errors import UsageError


class OfTheMachine(click.Option):
    """An option with a variable for all commands, over which that of a command wins."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The value of the first of the two that is set."""
        # click would take the one for all commands; and its version 8.2 takes any value, even 0, for true.
        return next(filter(None, map(os.environ.get, variables(self, ctx.auto_envvar_prefix or ""))), None)


class _Command(click.Command):
    """A command that takes --quiet, after its other options, and checks the environment before it runs."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        quiet = OfTheMachine(
            ["-q", "--quiet"],
            is_flag=True,
            envvar="MNIST_SOFTMAX_QUIET",
            show_envvar=True,
            help="Print results and errors only: no progress, notes or warnings.",
        )
        self.params.append(quiet)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, which gets all options but --quiet."""
        assert self.callback is not None
        output.quiet = ctx.params["quiet"]
        for line in idle_variables(ctx):
            output.warn(line)
        return ctx.invoke(self.callback, **{name: ctx.params[name] for name in ctx.params if name != "quiet"})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what would be lost if it is given twice."""
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        for param in given:  # of any other option the last one counts
            if given.count(param) > 1 and (param.name == "config" or param.type.name == "list"):
                raise UsageError(f"{param.opts[0]} is given twice", remedy="give it once")
        return super().parse_args(ctx, args)


def command(name: str, short_help: str, *examples: str) -> Callable[[Any], click.Command]:
    """A click command whose help ends with examples."""
    epilog = "\n".join(["\b", "Example:", *(f"  {example}" for example in examples)])
    return click.command(name, cls=_Command, short_help=short_help, epilog=epilog)
