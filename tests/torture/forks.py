"""Runs the program in forked processes, one at a time, with stdout and stderr apart: files, or one terminal.

Like the zygote of program.py, a process that has loaded all that the program ever loads forks one for each
request. It also measures memory, ends what takes too long, and reports every attempt to start a program.
"""

import errno
import json
import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

SECONDS = 10.0
#: The most address space of a process, so that one that takes too much does no harm.
_ADDRESSES = 3 << 30
_STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "pty.spawn")
_STARTED = 98


@dataclass(frozen=True)
class Ended:
    """How a process ended. On a terminal, `out` has both streams.

    Attributes
    ----------
    code : the exit code, or minus the signal.
    megabytes : the most memory that was resident.
    seconds, cpu : that it took, and of a processor.
    late : whether it was killed because its time was over.
    """

    code: int
    out: bytes
    err: bytes
    megabytes: float
    seconds: float
    cpu: float
    late: bool

    @property
    def started(self) -> bool:
        """Whether it tried to start a program."""
        return self.code == _STARTED

    @property
    def errors(self) -> list[str]:
        """The error lines; on a terminal a bar comes before, and a carriage return."""
        lines = re.split("[\r\n]", (self.out + self.err).decode(errors="replace"))
        return [line for line in lines if line.startswith("mnist-softmax: error: ")]

    def fault(self, codes: set[int], *, many: bool = False) -> str:
        """What is wrong with how it ended: its code, a traceback, not one error line, the last on stderr.

        `many`: there may be more than one, as `predict` prints for several pictures.
        """
        text = self.err.decode(errors="replace") or self.out.decode(errors="replace")
        if self.late:
            return f"no end within {self.seconds:.0f} s"
        if self.started:
            return f"started a program: {text[-200:]!r}"
        if b"Traceback" in self.out + self.err or self.code not in codes:
            return f"exit {self.code}, not one of {sorted(codes)}: {text[-300:]!r}"
        errors = self.errors[-1:] if many else self.errors
        if bool(self.code) != (len(errors) == 1) or (errors and not text.endswith(errors[0] + "\n")):
            return f"exit {self.code} without one error line at the end: {text[-300:]!r}"
        return ""


class Forks:
    """Forks processes of the program."""

    def __enter__(self) -> Self:
        from common import environment

        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(OPENBLAS_NUM_THREADS=1),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(
        self,
        *arguments: object,
        cwd: Path,
        terminal: bool = False,
        seconds: float = SECONDS,
        **variables: object,
    ) -> Ended:
        """Run a command line in a folder to its end, or for so many seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "terminal": terminal,
            "seconds": seconds,
            "environment": {name: str(value) for name, value in variables.items()},
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        out, err = (answer.pop(name).encode("latin-1") for name in ("out", "err"))
        return Ended(out=out, err=err, **answer)

    def must(self, *arguments: object, cwd: Path, **options: Any) -> None:
        """Run what prepares a state."""
        done = self.run(*arguments, cwd=cwd, **options)
        if done.code:
            raise SystemExit(f"{arguments} ended with {done.code}: {done.err.decode()}")


def _watch(event: str, details: tuple[Any, ...]) -> None:
    if event in _STARTS:
        os.write(2, f"started {event} {details!r}\n".encode(errors="replace"))
        os._exit(_STARTED)


def _be_the_program(request: dict[str, Any], out: int, err: int) -> NoReturn:
    from mnist_softmax.cli.main import main

    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, 64)
        os.chdir(request["cwd"])
        os.environ.update(request["environment"])
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
        sys.argv = ["mnist-softmax", *request["arguments"]]
        sys.addaudithook(_watch)
        main()
    except SystemExit as ending:
        code = int(ending.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _read_all(sources: dict[int, bytearray], deadline: float) -> bool:
    """Read until all sources have ended; whether that was before the deadline."""
    left = set(sources)
    while left:
        rest = deadline - time.monotonic()
        if rest <= 0:
            return False
        ready, _, _ = select.select(left, [], [], rest)
        for source in ready:
            try:
                data = os.read(source, 1 << 16)
            except OSError as error:  # a terminal that nobody has open any more
                if error.errno != errno.EIO:
                    raise
                data = b""
            sources[source] += data
            if not data:
                left.discard(source)
    return True


def _run(request: dict[str, Any]) -> dict[str, Any]:
    if request["terminal"]:
        reader, writer = pty.openpty()
        attributes = termios.tcgetattr(writer)
        attributes[1] &= ~termios.OPOST  # or line feeds become two characters
        termios.tcsetattr(writer, termios.TCSANOW, attributes)
        termios.tcsetwinsize(writer, (50, 200))
        ends, readers = (writer, writer), (reader, reader)
    else:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        ends, readers = (out_end, err_end), (out, err)
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_the_program(request, *ends)
    for end in set(ends):
        os.close(end)
    sources = {reader: bytearray() for reader in readers}
    late = not _read_all(sources, began + request["seconds"])
    if late:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    for source in sources:
        os.close(source)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "out": sources[readers[0]].decode("latin-1"),
        "err": b"".join([] if request["terminal"] else [sources[readers[1]]]).decode("latin-1"),
        "megabytes": usage.ru_maxrss / 1024,
        "seconds": time.monotonic() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "late": late,
    }


def _load_everything() -> None:
    """Import all modules of the program, and what they import when it is needed."""
    import pkgutil
    from importlib import import_module

    from PIL import Image

    import mnist_softmax
    from mnist_softmax import blas
    from mnist_softmax.data import patience

    for module in pkgutil.walk_packages(mnist_softmax.__path__, "mnist_softmax."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for name in ("filelock", "jinja2", "requests", "platformdirs"):
        import_module(name)
    Image.init()
    blas.description()
    object.__setattr__(
        patience.NORMAL, "backoff_seconds", 0.01
    )  # the wait between two tries is not what is tested


if __name__ == "__main__":
    import program  # noqa: F401  # puts the small dataset in place of mnist

    _load_everything()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_run(json.loads(line))) + "\n")
        sys.stdout.flush()
