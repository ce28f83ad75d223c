"""The command group, its commands loaded on demand, and the one place that maps errors to exit codes."""

import errno
import gc
import importlib
import mmap
import os
import signal
import sys
from typing import NoReturn

import click

from mnist_softmax.cli import output, signals, usage
from mnist_softmax.errors import LocalIOError, MnistSoftmaxError
from mnist_softmax.version import __version__

#: Bytes of addresses that a run on MNIST needs. OpenBLAS ends the process, with a message of its own, where
#: it does not get its share.
_LEAST_MEMORY = 256 << 20
#: In the order in which a newcomer needs them; each is `mnist_softmax.cli.<name>:command`.
COMMANDS = (
    "quickstart",
    "download",
    "train",
    "eval",
    "predict",
    "show",
    "report",
    "compare",
    "sweep",
    "reproduce",
    "gradcheck",
    "info",
    "export",
    "completion",
)


class _LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mnist_softmax.cli.{cmd_name}")
        command: click.Command = module.command
        return command


@click.group(
    cls=_LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "MNIST_SOFTMAX",
        "max_content_width": 100,
    },
    epilog="\b\nExample:\n  mnist-softmax download\n  mnist-softmax train --lr 0.2 --reg 1e-4\n"
    "  mnist-softmax eval --min-accuracy 0.92",
)
@click.version_option(__version__, prog_name=output.PROGRAM, allow_from_autoenv=False)
def cli() -> None:
    """Train softmax regression on MNIST with the gradient derived by hand.

    Exit codes: 0 success, 2 wrong usage, 3 no mirror delivered, 4 wrong data, 5 local trouble,
    6 wrong weights, 7 a quality gate was missed or training diverged.
    """


def _run() -> int:
    try:
        output.prepare_streams()
        mmap.mmap(-1, _LEAST_MEMORY).close()
        cli.main(sys.argv[1:] or ["--help"], prog_name=output.PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        return _report(usage.usage_error(error))
    except MnistSoftmaxError as error:
        return _report(error)
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        return _report(refusal)
    return 0


def _refusal(error: Exception) -> LocalIOError | None:
    """What the system refused anywhere in the program: a call, memory, a thread; None for a bug."""
    if isinstance(error, OSError) and error.errno != errno.ENOMEM:
        where = error.filename if isinstance(error.filename, str | os.PathLike) else "unknown file"
        return LocalIOError("input or output failed", where, got=error.strerror or error)
    if isinstance(error, MemoryError | OSError):
        return LocalIOError("not enough memory", got=getattr(error, "strerror", None) or str(error) or None)
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return LocalIOError("cannot start a thread", got="a limit on processes, or no memory")
    causes = [error, error.__cause__, error.__context__]  # NumPy explains a failed import at length
    if isinstance(error, ImportError) and any("failed to map segment" in str(cause) for cause in causes):
        return LocalIOError("not enough memory", got="a library that could not be loaded")
    return None


def _report(error: MnistSoftmaxError) -> int:
    try:
        sys.stdout.flush()  # results first: the error is the last line
    except LocalIOError as failed:
        error = failed  # the results are lost, which matters more
    except (AttributeError, ValueError):
        pass  # closed
    output.fail(str(error))
    return error.exit_code


def main() -> NoReturn:
    """Run the command line and exit with one of the exit codes of docs/cli.md."""
    sys.unraisablehook = signals.unraisable
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy loads it: no thread to start, no memory for it
    gc.set_threshold(100_000)  # imports make many objects and no garbage, and what follows makes little
    try:
        signals.handle(signals.stop)
        code = _run()
        signals.handle(signal.SIG_DFL)  # all is done: nothing is left to clean up
        gc.freeze()  # and nobody needs the memory back, piece by piece
    except BaseException as error:
        stopped = signals.behind(error)
        if stopped is None:
            raise
        signals.die(stopped.signal_number)
    sys.exit(code)
