"""Run peers side by side, one unit of work at a time in turn, so that a drifting machine cancels out."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

HERE = Path(__file__).parent


#: Starts Python again on one core.
_ON_ONE_CORE = """import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"""


class Peer:
    """A process of `peer.py`'s protocol; with `core` it runs on that one alone."""

    def __init__(
        self, script: str | Path, folder: Path, environment: Mapping[str, str] = {}, core: int | None = None
    ) -> None:
        on_core = [] if core is None else ["-c", _ON_ONE_CORE, str(core)]
        self._process = subprocess.Popen(
            [sys.executable, *on_core, str(HERE / script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.version = self._read().removeprefix("ready ")

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended with {self._process.wait()}")
        return line.strip()

    def seconds(self, work: str = "epoch", times: int = 1) -> float:
        """Have it do `work` so many times in a row; return the seconds of all."""
        assert self._process.stdin is not None
        self._process.stdin.write(times * f"{work}\n")
        self._process.stdin.flush()
        return sum(float(self._read()) for _ in range(times))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def interleaved(peers: Mapping[str, tuple[Peer, str, int]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each peer's work, done so many times a turn, `rounds` turns each."""
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, (peer, work, times) in peers.items():
            seconds[name].append(peer.seconds(work, times) / times)
    return seconds


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Minimum, median and maximum of ours over theirs, round by round."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return min(each), median(each), max(each)


def machine() -> str:
    """Cores, processor, system and Python: what absolute times are of."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {cpu}, {platform.system()}, Python {platform.python_version()}"
