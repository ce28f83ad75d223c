"""What the rows share: the program as a process, real or forked; the dataset that it is served; figures."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from servers import Server, serving, small_dataset

from mnist_softmax.data.catalog import MNIST, Dataset

PROGRAM = [sys.executable, str(ROOT / "tests" / "torture" / "program.py")]
TEMPORARY = ".tmp-mnist-softmax-"


def load_dataset() -> tuple[Dataset, dict[str, bytes]]:
    """The dataset that stands for mnist in the program under test, and the contents of its files by name."""
    folder = os.environ.get("TORTURE_DATA")
    if not folder:
        dataset, contents = small_dataset("mnist")
        return replace(dataset, mirrors=("http://127.0.0.1:9/",)), contents  # nobody listens there
    return MNIST, {file.packed_name: (Path(folder) / file.packed_name).read_bytes() for file in MNIST.files}


DATASET, CONTENTS = load_dataset()


@dataclass
class Tally:
    """What a row counts. `bad` holds a line for each thing that should not have happened."""

    done: int = 0
    bad: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def expect(self, condition: object, line: str) -> bool:
        """Note `line` as bad unless `condition` holds."""
        if not condition:
            self.bad.append(line)
            sys.stderr.write(f"BAD: {line}\n")
        return bool(condition)

    def most(self, name: str, value: float) -> None:
        """Keep the largest value under a name."""
        self.notes[name] = max(self.notes.get(name, 0.0), value)


@dataclass(frozen=True)
class Row:
    """A row of the table: what is done `count` times by `run`, and how its figure reads."""

    title: str
    count: int
    run: Callable[[int, random.Random, Path], Tally]
    figure: Callable[[Tally], str]
    how: str


def environment(**changes: object) -> dict[str, str]:
    """The environment without this program's variables, with some changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MNIST_SOFTMAX_")}
    return {**kept, "PYTHONPATH": str(ROOT), **{name: str(value) for name, value in changes.items()}}


@contextmanager
def mirror() -> Iterator[Server]:
    """A server that delivers the dataset."""
    with Server(serving(CONTENTS)) as server:
        yield server


def temporaries(folder: Path) -> list[str]:
    """Temporaries of the program anywhere under a folder."""
    return [str(path) for path in folder.rglob(f"{TEMPORARY}*")]


def outlast(folder: Path) -> None:
    """Make the temporaries under a folder old enough to be removed: the next run comes ten seconds later."""
    for path in temporaries(folder):
        os.utime(path, (1, 1))


def state_of(pid: int) -> str:
    """The letter of a process's state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Zygote:
    """Forks processes of the program; see program.py."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*PROGRAM, "--zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(OPENBLAS_NUM_THREADS=1),
        )
        self.ask({"wait": self.start("--version", cwd=Path(tempfile.gettempdir()), output=os.devnull)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def ask(self, request: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(
        self,
        *arguments: object,
        cwd: Path,
        output: str | Path = "output",
        at: float = 0.0,
        locks: bool = True,
        **variables: object,
    ) -> int:
        """Fork a process that runs the command line; its number. `at`: not before this monotonic time."""
        return self.ask(
            {
                "arguments": [str(argument) for argument in arguments],
                "cwd": str(cwd),
                "output": str(cwd / output),
                "at": at,
                "locks": locks,
                "environment": {name: str(value) for name, value in variables.items()},
            }
        )

    def wait(self, pid: int) -> int:
        """Exit code, or minus the signal."""
        return self.ask({"wait": pid})

    def run(self, *arguments: object, cwd: Path, **options: Any) -> int:
        return self.wait(self.start(*arguments, cwd=cwd, **options))

    def seconds(self, *arguments: object, cwd: Path, **options: Any) -> float:
        """How long a run takes."""
        began = time.monotonic()
        code = self.run(*arguments, cwd=cwd, **options)
        if code:
            raise SystemExit(f"{arguments} ended with {code}: {(cwd / 'output').read_text()}")
        return time.monotonic() - began
