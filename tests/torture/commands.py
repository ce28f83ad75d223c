"""Every command is killed, or has no room, memory, descriptors, threads, or right to write.

A kill, a full disk and a read-only one are met by forked processes. Limits are met by real ones, from the
lowest under which ``--version`` works to more than enough.
"""

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from common import DATASET, Row, Tally, Zygote, environment, mirror, outlast, temporaries
from jobs import JOBS, Jobs
from kills import wait_for_a_change

#: The program as it is installed, with no module loaded before its own, and the small dataset.
ENTRY = f"""
from mnist_softmax.cli import signals

signals.handle(signals.die)

from mnist_softmax.cli.main import main
from mnist_softmax.data.catalog import DATASETS, DataFile, Dataset

DATASETS['mnist'] = {DATASET!r}
main()
"""
BARE = [
    sys.executable,
    "-c",
    ENTRY,
]
CLONE_NEWNS = 0x20000
MEGABYTE = 1 << 20
#: Fault -> option of prlimit, its unit, where to look for the lowest limit that the program starts under, what
#: half of the limits are above, and more than any command needs.
LIMITS = {
    "memory": ("as", MEGABYTE, 16, 256, 360),
    "descriptors": ("nofile", 1, 3, 6, 20),
    "threads": ("nproc", 1, 1, 1, 4),
}
FAULTS = ("kill", "full disk", "read-only", *LIMITS)
#: Another user, as the limit on threads does not hold for root. What root may read and write, it may too.
USER = 61_000 + os.getpid() % 4000
#: Runs a job under a fault; the folder that it ran in, or None if it ended before a kill.
Meeting = Callable[[str, dict[str, Any]], Path | None]
NOISE = ("Traceback", "Exception ignored", "OpenBLAS", "Error in", "Fatal")


class Torture:
    """The jobs, the disk and the figures of a run of this row."""

    def __init__(self, zygote: Zygote, folder: Path, url: str, rng: random.Random) -> None:
        self.zygote, self.folder, self.rng = zygote, folder, rng
        self.jobs = Jobs(zygote, folder / "jobs", url)
        self.tally = Tally(notes=dict.fromkeys((*FAULTS, "5"), 0))
        self.disk, self.work, self.output = folder / "disk", folder / "work", folder / "said"
        self.disk.mkdir()
        self._lowest: dict[str, int] = {}

    def judge(self, name: str, what: str, work: Path, code: int, said: str, expected: set[int]) -> None:
        """Check how a run under a fault ended, what it said and what it left."""
        what = f"{JOBS[name].line}, {what}: exit {code}: {said[-300:]}"
        errors = said.count("mnist-softmax: error: ")
        last = said.splitlines()[-1] if said else ""
        self.tally.expect(code in expected, what)
        self.tally.expect(not any(word in said for word in NOISE), f"{what}: more than the error")
        self.tally.expect(errors == (code != 0), f"{what}: {errors} error lines")
        self.tally.expect(
            code == 0 or last.startswith("mnist-softmax: error: "), f"{what}: not the last line"
        )
        self.tally.expect(not temporaries(work), f"{what}: a temporary left")
        self.tally.expect(not (wrong := self.jobs.wrong(name, work, code)), f"{what}: {wrong}")
        if code == 0:
            self.tally.expect(not (missing := self.jobs.missing(name, said)), f"{what}: not said: {missing}")

    def kill(self, name: str, variables: dict[str, Any]) -> Path | None:
        """SIGKILL at a random instant, or after the first file has changed."""
        shutil.copytree(self.jobs.old[name], self.work)
        process = self.zygote.start(*JOBS[name].arguments, cwd=self.work, output=self.output, **variables)
        changing = self.rng.random() < 0.5
        if changing:
            wait_for_a_change(self.work, process)
        delay = self.rng.uniform(0, (0.3 if changing else 1.1) * self.jobs.seconds[name])
        time.sleep(delay)
        os.kill(process, signal.SIGKILL)
        if self.zygote.wait(process) != -signal.SIGKILL:  # it had ended by itself
            return None
        what = f"{JOBS[name].line} killed after {delay * 1000:.1f} ms"
        self.tally.expect(not (wrong := self.jobs.wrong(name, self.work, None)), f"{what}: {wrong}")
        return self.work

    def on_disk(self, name: str, what: str, variables: dict[str, Any], expected: set[int]) -> str:
        """Run a job on the small disk; what it said."""
        code = self.zygote.run(*JOBS[name].arguments, cwd=self.disk, output=self.output, **variables)
        said = self.output.read_text()
        self.judge(name, what, self.disk, code, said, expected)
        self.tally.notes["5"] += code == 5
        return said

    def fill(self, name: str) -> None:
        """The files that a job begins with, alone on the disk."""
        for path in self.disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.jobs.old[name], self.disk, dirs_exist_ok=True)

    def full_disk(self, name: str, variables: dict[str, Any]) -> Path | None:
        """No room but for a random part of what the job writes."""
        self.fill(name)
        free = os.statvfs(self.disk).f_bavail * os.statvfs(self.disk).f_frsize
        room = 4096 * self.rng.randrange(14)
        ballast = self.disk / "cache" / "ballast"
        ballast.parent.mkdir()
        ballast.write_bytes(bytes(free - 4096 - room))
        self.on_disk(name, f"{room} bytes of room", variables, {0, 5})
        ballast.unlink()
        return self.disk

    def read_only(self, name: str, variables: dict[str, Any]) -> Path | None:
        """The disk is mounted read-only; a cold cache on it may be one that was copied there."""
        job, jobs = JOBS[name], self.jobs
        self.fill(name)
        cold = variables is jobs.cold
        copied = cold and self.rng.random() < 0.5
        if copied:
            # Without what a kill left there: nobody has written to that folder since.
            left = shutil.ignore_patterns(".tmp-*")
            shutil.copytree(self.folder / "jobs" / "cache", self.disk / "cache", ignore=left)
        fetches = name == "download" or (job.data and not copied)
        refused = job.writes or (fetches and cold)
        subprocess.run(["mount", "-o", "remount,ro", str(self.disk)], check=True)
        try:
            said = self.on_disk(name, "read-only", variables, {5 if refused else 0})
            named = "Read-only file system" in said.rpartition("mnist-softmax: error: ")[2]
            self.tally.expect(named or not refused, f"{job.line}, read-only: {said[-300:]}: not named")
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(self.disk)], check=True)
        return self.disk

    def limited(self, fault: str, limit: int, *arguments: str, **variables: Any) -> tuple[int, str, str]:
        """Run the program under a limit: exit code, stdout, stderr."""
        option, unit, *_ = LIMITS[fault]
        user = [
            "setpriv",
            f"--reuid={USER}",
            "--clear-groups",
            *(f"--{kind}-caps=+dac_override" for kind in ("inh", "ambient")),
        ]
        done = subprocess.run(
            [
                "prlimit",
                f"--{option}={limit * unit}",
                *(user if fault == "threads" else []),
                *BARE,
                *arguments,
            ],
            cwd=self.work,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def lowest(self, fault: str) -> int:
        """The lowest limit under which the program starts: before, Python does not, or not its modules."""
        if fault not in self._lowest:
            limit = LIMITS[fault][2]
            while self.limited(fault, limit, "--version")[0] not in {0, 5}:
                limit += max(1, limit // 8)
            self._lowest[fault] = limit
        return self._lowest[fault]

    def limit(self, fault: str, name: str, variables: dict[str, Any]) -> Path | None:
        """Not enough of something, or just enough."""
        shutil.copytree(self.jobs.old[name], self.work)
        for path in (self.work, *self.work.iterdir()):
            path.chmod(0o777)
        least = max(self.lowest(fault), self.rng.choice((0, LIMITS[fault][3])))
        limit = self.rng.randint(least, LIMITS[fault][4])
        code, out, err = self.limited(fault, limit, *JOBS[name].arguments, **variables)
        self.judge(name, f"{LIMITS[fault][0]} {limit}", self.work, code, out + err, {0, 5})
        self.tally.notes["5"] += code == 5
        return self.work

    def meet(self, name: str, fault: str) -> None:
        """One job under one fault, another time if it had ended before a kill; then the job without a fault."""
        meeting: dict[str, Meeting] = {
            "kill": self.kill,
            "full disk": self.full_disk,
            "read-only": self.read_only,
            **{limit: partial(self.limit, limit) for limit in LIMITS},
        }
        self.jobs.prepare(name)
        variables = self.rng.choice((self.jobs.cold, self.jobs.warm))
        place = None
        while not place:
            shutil.rmtree(self.work, ignore_errors=True)
            self.output.unlink(missing_ok=True)
            place = meeting[fault](name, variables)
        outlast(place)
        self.output.unlink(missing_ok=True)
        code = self.zygote.run(*JOBS[name].arguments, cwd=place, output=self.output, **variables)
        self.judge(name, f"after {fault}", place, code, self.output.read_text(), {0})
        self.tally.done += 1
        self.tally.notes[fault] += 1


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` runs: each fault in turn, each with another command."""
    folder.mkdir(parents=True)
    folder.parent.chmod(0o755)  # for the other user
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):  # a disk that goes when this process goes
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with mirror() as server, Zygote() as zygote:
        torture = Torture(zygote, folder, server.url, rng)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "torture", str(torture.disk)], check=True)
        try:
            for number in range(count):
                names = list(JOBS)
                name = names[(number + number // len(FAULTS)) % len(names)]
                torture.meet(name, FAULTS[number % len(FAULTS)])
        finally:
            subprocess.run(["umount", str(torture.disk)], check=True)
    return torture.tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    kinds = ", ".join(f"{name} {tally.notes[name]}" for name in FAULTS)
    return (
        f"{tally.done} runs of {len(JOBS)} commands ({kinds}): {tally.notes['5']} exit 5; "
        f"{len(tally.bad)} other codes, tracebacks, second error lines, missing results, temporaries, states neither old nor new, or next runs that failed"
    )


ROW = Row(
    "every command, killed or without room, memory, descriptors, threads or the right to write",
    288,
    run,
    figure,
    "forked processes on the generated dataset, over older files, with a cold or a warm cache: SIGKILL as in "
    "`kills`, a tmpfs of 512 KiB that is full but for a random rest, or that is mounted read-only; and real "
    "processes under `prlimit --as`, `--nofile` and, as another user, `--nproc`, each from the lowest value "
    "under which `--version` works to enough; what ends with 0 has printed all that an undisturbed run prints; then "
    "the same command runs again without a fault; needs root",
)
