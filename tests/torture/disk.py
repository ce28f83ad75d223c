"""A disk that is really full: weights, log, checkpoint and cache on a small tmpfs."""

import os
import random
import shutil
import subprocess
from pathlib import Path

from common import PROGRAM, Row, Tally, environment, mirror, temporaries
from kills import wrong_cache, wrong_log, wrong_weights

SAVE = "train --epochs 40 --out w.npy --log log.jsonl".split()


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` runs on a disk with room for a random part of what they write."""
    tally = Tally(notes={"5": 0, "0": 0})
    disk, old, new = folder / "disk", folder / "old", folder / "new"
    for place in (disk, old, new):
        place.mkdir(parents=True)
    with mirror() as server:
        warm = environment(
            MNIST_SOFTMAX_CACHE_DIR=folder / "cache",
            MNIST_SOFTMAX_MIRROR=server.url,
            TORTURE_CHECKPOINT_SECONDS=0,
        )
        subprocess.run([*PROGRAM, *SAVE, "--lr", "0.1"], cwd=old, env=warm, check=True, capture_output=True)
        subprocess.run([*PROGRAM, *SAVE], cwd=new, env=warm, check=True, capture_output=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "torture", str(disk)], check=True)
        try:
            for number in range(count):
                for path in disk.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                downloading = number % 3 == 2
                if not downloading:
                    shutil.copytree(old, disk, dirs_exist_ok=True)
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                (disk / "ballast").write_bytes(bytes(free - min(free, 4096 * rng.randrange(12))))
                cold = {**warm, "MNIST_SOFTMAX_CACHE_DIR": "cache"}
                done = subprocess.run(
                    [*PROGRAM, *(["download"] if downloading else SAVE)],
                    cwd=disk,
                    env=cold if downloading else warm,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                tally.done += 1
                tally.notes[str(done.returncode)] = tally.notes.get(str(done.returncode), 0) + 1
                what = f"exit {done.returncode}: {done.stderr[-300:]}"
                tally.expect(done.returncode in {0, 5}, what)
                tally.expect("Traceback" not in done.stderr, f"{what}: traceback")
                tally.expect(not temporaries(disk), f"{what}: a temporary left")
                wrong = wrong_cache(disk / "cache")
                if not downloading:
                    logs = ((place / "log.jsonl").read_bytes() for place in (disk, old, new))
                    wrong = wrong or wrong_weights(disk, old, new) or wrong_log(*logs)
                tally.expect(not wrong, f"{what}: {wrong}")
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    return (
        f"{tally.done} runs: {tally.notes['5']} exit 5, {tally.notes['0']} had enough room; "
        f"{len(tally.bad)} other codes, tracebacks, temporaries, or states neither old nor new"
    )


ROW = Row(
    "a full disk",
    150,
    run,
    figure,
    "a tmpfs of 128 KiB, filled but for a random rest: a run with log and checkpoints over old weights, or a "
    "download into an empty cache; needs root",
)
