"""Containers that share a folder: process and host names of their own, one file system.

A live writer holds a lock on its temporary, so no other container removes it, however old it looks; what a
killed writer left has no lock, and the next writer removes it once it is ten seconds old.
"""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from common import PROGRAM, Row, Tally, environment, temporaries

NAMESPACES = ["unshare", "--pid", "--fork", "--mount-proc", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"']
TOGETHER = 4
TRAIN = "train --dataset mnist-sample --epochs 8 --val-size 0".split()
#: Holds the temporary of a file that it is writing until its input ends.
WRITER = """
import sys
from pathlib import Path
from mnist_softmax.files import atomic_write
with atomic_write(Path("held.npy")) as file:
    file.write(b"half")
    print(flush=True)
    sys.stdin.read()
"""


def contained(host: str, *command: str) -> list[str]:
    """A command in a container of its own."""
    return [*NAMESPACES, host, *command]


def writer(folder: Path) -> subprocess.Popen[bytes]:
    """A process in a container that has a temporary open in a folder."""
    process = subprocess.Popen(
        contained("writer", PROGRAM[0], "-c", WRITER),
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def train(folder: Path, host: str, out: str, tally: Tally) -> None:
    """Train in a container."""
    command = contained(host, *PROGRAM, *TRAIN, "--out", out)
    every_epoch = environment(TORTURE_CHECKPOINT_SECONDS=0)
    done = subprocess.run(command, cwd=folder, env=every_epoch, capture_output=True, text=True, check=False)
    tally.done += 1
    tally.expect(done.returncode == 0, f"training: exit {done.returncode}: {done.stderr[-300:]}")


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` rounds of trainings at once, beside a live writer; then of one after that writer is killed."""
    tally = Tally(notes={"live": 0, "killed": 0})
    whole = folder / "whole"
    whole.mkdir(parents=True)
    train(whole, "whole", "w.npy", tally)
    wanted = (whole / "w.npy").read_bytes()
    for _ in range(count):
        work = folder / "work"
        work.mkdir()
        process = writer(work)
        [held] = temporaries(work)
        os.utime(held, (1, 1))
        names = ["w.npy" if rng.random() < 0.5 else f"{one}.npy" for one in range(TOGETHER)]
        trainings = [
            threading.Thread(target=train, args=(work, f"host{one}", name, tally))
            for one, name in enumerate(names)
        ]
        for training in trainings:
            training.start()
        for training in trainings:
            training.join()
        tally.notes["live"] += tally.expect(Path(held).exists(), "a live temporary was removed")
        tally.expect(all((work / name).read_bytes() == wanted for name in names), "other weights")
        if rng.random() < 0.5:
            process.communicate()
            tally.expect((work / "held.npy").read_bytes() == b"half", "the writer lost its file")
        else:
            kill_in_container(process)
            tally.notes["killed"] += 1
            there = tally.expect(temporaries(work) == [held], f"after the kill: {temporaries(work)}")
            for age, left in ((5, [held]), (20, [])) if there else ():
                os.utime(held, times=(time.time() - age,) * 2)
                train(work, "next", "next.npy", tally)
                found = temporaries(work)
                tally.expect(found == left, f"{age} s after the kill: {found} instead of {left}")
        tally.expect(not temporaries(work), f"left {temporaries(work)}")
        shutil.rmtree(work)
    return tally


def kill_in_container(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for process 1 of a container."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    process.communicate()


def figure(tally: Tally) -> str:
    """The figure of the table."""
    notes = tally.notes
    return (
        f"{tally.done} trainings beside {notes['live']} live temporaries that look old, {notes['killed']} of which "
        f"were killed later: {len(tally.bad)} failed trainings, other weights, live temporaries removed, or "
        "dead ones left or removed within ten seconds"
    )


ROW = Row(
    "trainings in containers that share a folder",
    25,
    run,
    figure,
    f"`unshare --pid --fork --mount-proc --uts`, each with its own host name: {TOGETHER} trainings at once, with a checkpoint at every epoch, on "
    "the same or on different files, beside a writer whose temporary has its time set back; half of the writers are then killed, and their temporary is looked "
    "for after a training 5 and one 20 seconds later; needs root",
)
