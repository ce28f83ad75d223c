"""The command line in this process, with a terminal or a full disk for its streams."""

import io
import os
import struct
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mnist_softmax.cli import main, output


def _run(arguments: Any, cwd: Path, out: Any, err: Any, environment: dict[str, str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MNIST_SOFTMAX_")]:
            patch.delenv(name)
        for name in ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["mnist-softmax", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "__stdout__", out)  # whose size is the terminal's
        patch.setattr(sys, "stderr", err)
        patch.setattr(output, "prepare_streams", lambda: None)
        try:
            return main._run()
        finally:
            out.flush()
            err.flush()


def _memory() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")


def _text(stream: Any) -> str:
    return bytes(stream.buffer.getvalue()).decode()


class Seen(NamedTuple):
    """How a run finished, what the terminal showed, and what went to the stream beside it."""

    code: int
    terminal: str
    beside: str

    @property
    def lines(self) -> list[str]:
        """The lines of the terminal."""
        return self.terminal.splitlines()


def run_on_terminal(
    *arguments: object,
    cwd: Path,
    stream: str = "stdout",
    columns: int = 80,
    encoding: str = "utf-8",
    **environment: str,
) -> Seen:
    """Run with `stream`, "stdout" or "stderr", on a pseudo-terminal of 24 lines."""
    import fcntl
    import pty
    import termios

    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    chunks: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(parent, chunks))
    reader.start()
    beside = _memory()
    try:
        with open(child, "w", encoding=encoding, errors="backslashreplace", newline="\n") as terminal:
            streams = (terminal, beside) if stream == "stdout" else (beside, terminal)
            code = _run(arguments, cwd, *streams, {"TERM": "xterm-256color", **environment})
    finally:
        reader.join()
        os.close(parent)
    return Seen(code, b"".join(chunks).decode(encoding).replace("\r\n", "\n"), _text(beside))


def _read_all(fd: int, chunks: list[bytes]) -> None:
    while True:
        try:
            chunk = os.read(fd, 65536)
        except OSError:  # what Linux answers when the other end is closed
            return
        if not chunk:
            return
        chunks.append(chunk)


def run_on_full_disk(*arguments: object, cwd: Path) -> tuple[int, str]:
    """Run with the program's own stdout on /dev/full; return the exit code and stderr."""
    err = _memory()
    with open("/dev/full", "wb", buffering=0) as full:
        raw = output._Stdout(full.fileno(), "w", closefd=False)
        out = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
        return _run(arguments, cwd, out, err, {}), _text(err)
