"""Each open, write, fsync, rename, unlink, truncate and mkdir fails, or the process is killed there.

strace counts, in a first run, the calls that touch the work's folder. Then there is, for each call, a run for
each error in which that one call fails, and a run that SIGKILL ends at that call.
"""

import random
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from common import DATASET, PROGRAM, Row, Tally, environment, mirror, outlast, temporaries
from kills import outcome, wrong_cache, wrong_log, wrong_weights

CALLS = "openat,write,fsync,rename,unlink,ftruncate,mkdir"
FAULTS = ("error=ENOSPC", "error=EIO", "error=EACCES", "signal=SIGKILL")
#: What the program can do without: the stamp and the lock of a cache, the removal of old temporaries, and the
#: permission to write to a file that it will replace.
DISPENSABLE = re.compile(r"[/\"]cache/|unlink\(|O_DIRECTORY|O_WRONLY\|O_NONBLOCK.*EACCES")


class Traced(NamedTuple):
    """How a traced process ended, and its calls on files under its folder."""

    code: int
    err: str
    calls: list[tuple[str, int, str]]  # name, number among the calls of that name, the line


def traced(folder: Path, *arguments: object, inject: str = "", **variables: Any) -> Traced:
    """Run the program in a folder under strace."""
    trace = folder.with_suffix(".trace")
    faster = [] if "signal" in inject else ["--seccomp-bpf"]  # which keeps strace from sending a signal
    done = subprocess.run(
        [
            *(
                "strace",
                "-f",
                *faster,
                "-qq",
                "-y",
                "-s",
                "0",
                "-o",
                str(trace),
                "-e",
                f"trace={CALLS}",
            ),
            *(["-e", f"inject={inject}"] if inject else []),
            *PROGRAM,
            *map(str, arguments),
        ],
        cwd=folder,
        env=environment(OPENBLAS_NUM_THREADS=1, PYTHONDONTWRITEBYTECODE=1, **variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = trace.read_text(errors="replace").splitlines()
    main = lines[0].split()[0]  # files are written by the first thread alone
    numbers: Counter[str] = Counter()
    calls = []
    for line in lines:
        thread, _, call = line.partition(" ")
        name = call.strip().partition("(")[0]
        if thread == main and name in CALLS.split(","):
            numbers[name] += 1
            files = re.sub(r"AT_FDCWD(<[^>]*>)?(, )?", "", call)
            if str(folder) in files or re.match(r' *\w+\("[^/]', files):
                calls.append((name, numbers[name], call.strip()))
    return Traced(done.returncode, done.stderr, calls)


@dataclass
class Scenario:
    """Commands that make the old state, and the one that is traced in a copy of it."""

    name: str
    folder: Path
    before: list[tuple[object, ...]]
    command: tuple[object, ...]
    variables: dict[str, Any]

    def prepare(self) -> list[tuple[str, int]]:
        """Make the old state and the new one; the calls that lead from the one to the other."""
        self.old, self.new = self.folder / "old", self.folder / "new"
        self.old.mkdir(parents=True)
        for command in self.before:
            done = traced(self.old, *command, **self.variables)
            if done.code:
                raise SystemExit(f"{command} ended with {done.code}: {done.err}")
        shutil.copytree(self.old, self.new)
        done = traced(self.new, *self.command, **self.variables)
        if done.code:
            raise SystemExit(f"{self.command} ended with {done.code}: {done.err}")
        return [(name, number) for name, number, _ in done.calls]

    def wrong(self, work: Path, code: int) -> str:
        """What is wrong with what a failed call left."""
        found = wrong_cache(work / "cache")
        if code == 0 and any(
            not (work / "cache" / "mnist" / file.packed_name).exists() for file in DATASET.files
        ):
            found = "done, but a file is missing"
        if self.name != "download":
            found = found or wrong_weights(work, self.old, self.new)
            if code == 0 and outcome(work) != outcome(self.new):
                found = found or "done, but not what is left without the fault"
        if self.name == "train":
            logs = [folder / "log.jsonl" for folder in (work, self.old, self.new)]
            found = found or wrong_log(*(log.read_bytes() if log.exists() else b"" for log in logs))
        return found


def scenarios(folder: Path, url: str) -> Iterator[Scenario]:
    """A download into an empty cache, a save over old weights, a run with log and checkpoints over an old one."""
    variables: dict[str, Any] = {
        "MNIST_SOFTMAX_CACHE_DIR": "cache",
        "MNIST_SOFTMAX_MIRROR": url,
        "TORTURE_CHECKPOINT_SECONDS": 0,
    }
    yield Scenario("download", folder / "download", [], ("download",), variables)
    old: tuple[object, ...] = ("train", "--epochs", 1, "--lr", 0.1, "--out", "w.npy")
    save = ("train", "--epochs", 1, "--out", "w.npy")
    yield Scenario("save", folder / "save", [old], save, variables)
    train = ("train", "--epochs", 3, "--out", "w.npy", "--log", "log.jsonl")
    yield Scenario("train", folder / "train", [(*old, "--log", "log.jsonl")], train, variables)


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """Every call and every error; at most `count` of them, drawn at random."""
    tally = Tally(notes={"download": 0, "save": 0, "train": 0, "5": 0, "without": 0, "killed": 0, "calls": 0})
    with mirror() as server:
        cases = []
        for scenario in scenarios(folder, server.url):
            calls = scenario.prepare()
            tally.notes["calls"] += len(calls)
            cases += [(scenario, *call, fault) for call in calls for fault in FAULTS]
        if count < len(cases):
            cases = rng.sample(cases, count)
        for scenario, call, number, fault in cases:
            inject(scenario, call, number, fault, tally)
    return tally


def inject(scenario: Scenario, call: str, number: int, fault: str, tally: Tally) -> None:
    """One run in which one call fails, or a kill comes with it; after a kill, the same command again."""
    work = scenario.folder / "work"
    shutil.copytree(scenario.old, work)
    how = f"{call}:{fault}:when={number}"
    done = traced(work, *scenario.command, inject=how, **scenario.variables)
    tally.done += 1
    tally.notes[scenario.name] += 1
    if "KILL" in fault:
        tally.notes["killed"] += 1
        what = f"{scenario.name}, {how}: exit {done.code}"
        tally.expect(done.code == -signal.SIGKILL, f"{what}: not killed")
        tally.expect(not (wrong := scenario.wrong(work, done.code)), f"{what}: {wrong}")
        outlast(work)
        again = traced(work, *scenario.command, **scenario.variables)
        tally.expect(again.code == 0, f"{what}: then exit {again.code}: {again.err[-300:]}")
        tally.expect(not temporaries(work), f"{what}: then a temporary left")
        tally.expect(not (wrong := scenario.wrong(work, again.code)), f"{what}: then {wrong}")
    else:
        hit = [line for _, _, line in done.calls if "INJECTED" in line]
        what = f"{scenario.name}, {how}: exit {done.code}: {hit}: {done.err[-300:]}"
        if tally.expect(len(hit) == 1, f"{what}: the fault missed"):
            dispensable = done.code == 0 and DISPENSABLE.search(hit[0])
            tally.notes["5"] += done.code == 5
            tally.notes["without"] += bool(dispensable)
            tally.expect(done.code == 5 or dispensable, f"{what}: not 5")
            last = done.err.splitlines()[-1] if done.err else ""
            tally.expect(
                done.code == 0 or last.startswith("mnist-softmax: error: "), f"{what}: no error line"
            )
            tally.expect("Traceback" not in done.err, f"{what}: traceback")
            tally.expect(call == "unlink" or not temporaries(work), f"{what}: a temporary left")
            tally.expect(not (wrong := scenario.wrong(work, done.code)), f"{what}: {wrong}")
    shutil.rmtree(work)


def figure(tally: Tally) -> str:
    """The figure of the table."""
    notes = tally.notes
    return (
        f"{notes['calls']} calls, {tally.done:,} faults (download {notes['download']}, save {notes['save']}, "
        f"train {notes['train']}): {notes['5']} exit 5, {notes['without']} finished without the call (the "
        f"cache's stamp and lock, the removal of old temporaries), {notes['killed']} kills; "
        f"{len(tally.bad)} other codes, tracebacks, temporaries, or states neither old nor new"
    )


ROW = Row(
    "each open, write, fsync, rename, unlink, truncate and mkdir in turn fails with ENOSPC, EIO or EACCES, or "
    "SIGKILL comes with it",
    100_000,
    run,
    figure,
    "strace injects the error, or the kill, into one call of a real process, for every call that touches the "
    "work's folder, with a checkpoint at every epoch",
)
