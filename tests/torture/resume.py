"""Resumed after a kill, a run leaves the bytes that an uninterrupted one leaves."""

import random
import shutil
import subprocess
import time
from pathlib import Path

from common import PROGRAM, Row, Tally, environment, outlast
from kills import outcome

#: A run of a few seconds on the built-in sample, so that there are checkpoints at the usual interval.
COMMAND = [
    *PROGRAM,
    *"train --dataset mnist-sample --epochs 250 --out w.npy --log log.jsonl --resume".split(),
]


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` runs that are killed at a random moment and resumed, until one is not killed in time."""
    tally = Tally(notes={"kills": 0, "from a checkpoint": 0})
    whole = folder / "whole"
    whole.mkdir(parents=True)
    began = time.monotonic()
    subprocess.run(COMMAND, cwd=whole, env=environment(), check=True, capture_output=True)
    seconds = time.monotonic() - began
    while tally.done < count:
        work = folder / "work"
        work.mkdir()
        kills = 0
        while True:
            delay = rng.uniform(0.3, seconds)
            with subprocess.Popen(
                COMMAND,
                cwd=work,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process:
                try:
                    said, _ = process.communicate(timeout=delay)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    outlast(work)
                    kills += 1
                    continue
            break
        if not kills:  # it was faster
            shutil.rmtree(work)
            continue
        tally.notes["kills"] += kills
        tally.done += 1
        tally.notes["from a checkpoint"] += "warning: no checkpoint" not in said
        tally.expect(process.returncode == 0, f"exit {process.returncode}: {said[-300:]}")
        tally.expect(outcome(work) == outcome(whole), f"another outcome, killed after {delay:.2f} s")
        shutil.rmtree(work)
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    same = tally.done - len(tally.bad)
    return (
        f"{same} of {tally.done} runs byte-identical (the weights file, the log) after "
        f"{tally.notes['kills']} kills; {tally.notes['from a checkpoint']} had a checkpoint to resume from"
    )


ROW = Row(
    "resume after a kill at random moments",
    50,
    run,
    figure,
    "real processes, 250 epochs of the built-in sample, a checkpoint a second; a run is killed and "
    "resumed until it happens to finish, then compared with an uninterrupted one",
)
