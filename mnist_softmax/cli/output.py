"""What the program prints: results on stdout, everything else on stderr, bars on a terminal only."""

import io
import json
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from mnist_softmax.cli.signals import Stopped
from mnist_softmax.errors import LocalIOError, one_line
from mnist_softmax.views import markdown

PROGRAM = "mnist-softmax"

#: Whether only results and errors are printed; `--quiet` sets it.
quiet = False


class _Stream(io.FileIO):
    """A standard stream that writes all it is given.

    One that does not block, as a parent process may have made it, is waited for.
    """

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while left:
            written = super().write(left)
            if written is None:
                select.select([], [self], [])
            else:
                left = left[written:]
        return len(data)


class _Stdout(_Stream):
    """Standard output that reports a failed write once, instead of failing again at exit."""

    _failed = False

    def write(self, data: Any) -> int:
        if self._failed:
            return len(data)
        try:
            return super().write(data)
        except BrokenPipeError:
            self._failed = True
            raise Stopped(getattr(signal, "SIGPIPE", 13)) from None
        except OSError as error:
            self._failed = True
            raise LocalIOError("cannot write", "stdout", got=error.strerror) from error


def prepare_streams() -> None:
    """Make the three standard streams behave as the rest of the program expects.

    Raises
    ------
    LocalIOError : stdout is closed.
    """
    closed = [fd for fd in (0, 1, 2) if not _is_open(fd)]
    # A file opened later must not take the number of a closed stream and become stdout or stderr.
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)
    if 1 in closed or sys.stdout is None:
        raise LocalIOError("cannot write", "stdout", got="a closed file")
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Stdout(1, "w", closefd=False)), sys.stdout.encoding, "backslashreplace"
    )
    if sys.stderr is not None and 2 not in closed:
        stream: Any = _Stream(2, "w", closefd=False)  # with no buffer, whose rest could fail again at exit
        sys.stderr = io.TextIOWrapper(stream, sys.stderr.encoding, "backslashreplace", write_through=True)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def emit(text: str) -> None:
    """Print a line of results on stdout; control characters in it are escaped."""
    sys.stdout.write(one_line(text) + "\n")


def emit_drawing(line: str) -> None:
    """Print a line of a drawing, with its colour codes."""
    sys.stdout.write(line + "\n")


def emit_json(value: Mapping[str, Any] | bytes) -> None:
    """Print one JSON object on stdout, always in ASCII; bytes are an object already encoded."""
    text = value.decode() if isinstance(value, bytes) else json.dumps(value, allow_nan=False)
    emit(re.sub("[^ -~]", lambda c: json.dumps(c[0])[1:-1], text))


def emit_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, see `table`."""
    for line in table(header, rows):
        emit(line)


def emit_report(parts: Iterable[markdown.Part], title: str = "") -> None:
    """Print lines and tables; as Markdown if there is a title."""
    if title:
        for line in markdown.lines(title, parts):
            emit(line)
        return
    for part in parts:
        if isinstance(part, str):
            emit(part)
        else:
            emit_table(*part)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Rows under a header, each column as wide as it needs; `markdown.TEXT_COLUMNS` are left-aligned."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if name in markdown.TEXT_COLUMNS else f"{cell:>{width}}"
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def note(text: str) -> None:
    """Print a line on stderr, above a bar if one is drawn; control characters in it are escaped.

    A closed or full stderr is ignored.
    """
    if not quiet:
        _print(text)


def _print(text: str) -> None:
    text = one_line(text)
    with suppress(OSError, ValueError, AttributeError):
        if _bars:
            _bars[-1].write(text, file=sys.stderr)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def warn(text: str, *, of_error: bool = False) -> None:
    """Print a warning; one of an error, which only is not the last, whatever --quiet says."""
    (_print if of_error else note)(f"{PROGRAM}: warning: {text}")


def fail(text: str) -> None:
    """Print an error."""
    _print(f"{PROGRAM}: error: {text}")


_bars: list[Any] = []


def is_terminal() -> bool:
    """Whether stderr is one, for bars and drawings to go to."""
    return not quiet and sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def progress_bar(total: int | None, what: str, unit: str) -> Iterator[Callable[[int], object]]:
    """Draw a bar on stderr while the block runs, if stderr is a terminal; yields what advances it."""
    if not is_terminal():
        yield lambda _: None
        return
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread of its own
    plain = "utf" not in (sys.stderr.encoding or "").lower()
    with tqdm(
        total=total, desc=what, unit=unit, unit_scale=True, leave=False, file=sys.stderr, ascii=plain
    ) as bar:
        _bars.append(bar)
        try:
            yield bar.update
        finally:
            _bars.remove(bar)


@contextmanager
def download_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """Draw one bar at a time; yields a function of a file's name, its bytes so far and its total bytes.

    Where no bar can be drawn, the first call prints a line.
    """
    name, done, advance = "", 0, None
    with ExitStack() as stack:

        def report(file: str, so_far: int, total: int | None) -> None:
            nonlocal name, done, advance
            if advance is None and not is_terminal():
                size = f" ({total} bytes)" if total else ""
                note(f"downloading what is not in the cache, beginning with {file}{size}")
            if advance is None or file != name or so_far < done:
                stack.close()
                name, done = file, 0
                advance = stack.enter_context(progress_bar(total, file, "B"))
            advance(so_far - done)
            done = so_far

        yield report


def percent(fraction: float | None) -> str:
    """A fraction as the program prints it: ``92.55 %``."""
    return "-" if fraction is None else f"{100 * fraction:.2f} %"
