"""Signals to process 1 of a container, which the kernel protects from those that it does not handle."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from common import PROGRAM, Row, Tally, environment, state_of, temporaries

NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]


def child_of(pid: int) -> int:
    """The process that `unshare` forked."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (numbers := children.read_text().split()):
        time.sleep(0.005)
    return int(numbers[0])


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` signals to a training run; every fourth gets two of them."""
    tally = Tally(notes={"slowest": 0.0, "twice": 0})
    command = [*NAMESPACE, *PROGRAM, *"train --dataset mnist-sample --epochs 100000 --out w.npy".split()]
    for number in range(count):
        folder.mkdir(parents=True)
        chosen = rng.choice((signal.SIGINT, signal.SIGTERM))
        with subprocess.Popen(
            command, cwd=folder, env=environment(), stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            assert process.stderr is not None
            process.stderr.readline()
            program = child_of(process.pid)
            time.sleep(rng.uniform(0, 0.5))
            began = time.monotonic()
            os.kill(program, chosen)
            if number % 4 == 3:
                time.sleep(rng.uniform(0, 0.01))
                if Path(f"/proc/{program}").exists() and state_of(program) != "Z":
                    os.kill(program, chosen)
                tally.notes["twice"] += 1
            _, err = process.communicate(timeout=30)
            tally.most("slowest", time.monotonic() - began)
        tally.done += 1
        # `unshare` ends with the program's status, or by the signal that ended it.
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        what = f"{chosen.name}: status {process.returncode}: {err[-300:]!r}"
        tally.expect(status == 128 + chosen, f"{what}: not {128 + chosen}")
        tally.expect(b"Traceback" not in err and b"Exception ignored" not in err, f"{what}: traceback")
        tally.expect(number % 4 == 3 or not temporaries(folder), f"{what}: a temporary left")
        shutil.rmtree(folder)
    tally.expect(tally.notes["slowest"] < 2, f"slowest end {tally.notes['slowest']:.2f} s")
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    return (
        f"{tally.done} signals, {tally.notes['twice']} of them sent twice: {len(tally.bad)} wrong statuses, "
        f"tracebacks or temporaries; slowest end {tally.notes['slowest']:.2f} s"
    )


ROW = Row(
    "SIGINT or SIGTERM to process 1 of a container",
    40,
    run,
    figure,
    "`unshare --pid --fork --mount-proc`; needs root",
)
