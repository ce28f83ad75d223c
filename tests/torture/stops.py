"""SIGINT or SIGTERM at random moments: the status of that signal, within two seconds, nothing left behind."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from common import PROGRAM, Row, Tally, environment, mirror, state_of, temporaries

COMMANDS: dict[str, list[str]] = {
    "download": ["download"],
    "train": [*"train --epochs 400 --out w.npy --log log.jsonl".split()],
    "train, with checkpoints": [*"train --epochs 40 --out w.npy".split()],
    "eval": [*"eval old.npy --predictions p.csv".split()],
    "help": ["train", "--help"],
}


def start(arguments: list[str], work: Path, **variables: Any) -> subprocess.Popen[bytes]:
    """Start the program and wait until its first line runs."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=work,
        env=environment(TORTURE_READY=1, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.read(1)
    return process


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` signals to processes that are alive."""
    tally = Tally(notes={**dict.fromkeys(COMMANDS, 0), "slowest": 0.0})
    folder.mkdir(parents=True)
    with mirror() as server:
        variables = {"MNIST_SOFTMAX_CACHE_DIR": folder / "cache", "MNIST_SOFTMAX_MIRROR": server.url}
        old = [*PROGRAM, *"train --epochs 1 --out old.npy".split()]
        subprocess.run(old, cwd=folder, env=environment(**variables), check=True, capture_output=True)
        for name, command in COMMANDS.items():
            for number in range(count // len(COMMANDS)):
                options: dict[str, Any] = dict(variables)
                if name == "download":
                    options["MNIST_SOFTMAX_CACHE_DIR"] = "cache"
                if "checkpoints" in name:
                    options["TORTURE_CHECKPOINT_SECONDS"] = 0
                if number == 0:
                    seconds = stop_one(command, folder, options, None, 0, tally, name)
                while not stop_one(command, folder, options, rng, seconds, tally, name):
                    pass
    tally.expect(tally.notes["slowest"] < 2, f"slowest end {tally.notes['slowest']:.2f} s")
    return tally


def stop_one(
    command: list[str],
    folder: Path,
    options: dict[str, Any],
    rng: random.Random | None,
    seconds: float,
    tally: Tally,
    name: str,
) -> float:
    """Signal one process at a random moment of its `seconds`; 0 if it had ended. Without `rng`, time one."""
    work = folder / "work"
    work.mkdir()
    if name == "eval":
        shutil.copy(folder / "old.npy", work)
    process = start(command, work, **options)
    began = time.monotonic()
    if rng is None:
        process.communicate()
        shutil.rmtree(work)
        return time.monotonic() - began
    delay = rng.uniform(0, seconds)
    number = rng.choice((signal.SIGINT, signal.SIGTERM))
    time.sleep(delay)
    alive = state_of(process.pid) != "Z"
    os.kill(process.pid, number)
    sent = time.monotonic()
    out, err = process.communicate(timeout=30)
    took = time.monotonic() - sent
    if alive and process.returncode == 0 and state_is_complete(name, out, work):
        alive = False  # it was past its last line
    if alive:
        tally.done += 1
        tally.notes[name] += 1
        tally.most("slowest", took)
        what = f"{name}, {number.name} after {delay:.3f} s: status {process.returncode}: {err[-300:]!r}"
        tally.expect(process.returncode == -number, f"{what}: not {-number}")
        tally.expect(b"Traceback" not in err and b"Exception ignored" not in err, f"{what}: traceback")
        tally.expect(not temporaries(work), f"{what}: a temporary left")
    shutil.rmtree(work)
    return float(alive)


def state_is_complete(name: str, out: bytes, work: Path) -> bool:
    """Whether a process that ended with 0 did all that it was asked for."""
    return bool(out) and (not name.startswith("train") or (work / "w.npy").exists())


def figure(tally: Tally) -> str:
    """The figure of the table."""
    kinds = ", ".join(f"{name} {tally.notes[name]}" for name in COMMANDS)
    return (
        f"{tally.done} signals ({kinds}): {len(tally.bad)} wrong statuses, tracebacks or temporaries; "
        f"slowest end {tally.notes['slowest']:.2f} s"
    )


ROW = Row(
    "SIGINT or SIGTERM at random moments",
    500,
    run,
    figure,
    "real processes, from the program's first line to its end; one that had ended by itself is not counted",
)
