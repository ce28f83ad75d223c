"""Every command of the program with all that it writes, on the small dataset, over older files of the same names."""

import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import TEMPORARY, Zygote, state_of
from kills import outcome, wrong_cache, wrong_log


@dataclass(frozen=True)
class Job:
    """A command line; whether it reads the dataset, and whether it writes files beside the cache."""

    line: str
    data: bool = True
    writes: bool = True

    @property
    def arguments(self) -> list[str]:
        return self.line.split()


TRAIN = "train --epochs 20 --out w.npy --log log.jsonl"
JOBS = {
    "quickstart": Job("quickstart"),
    "download": Job("download --force", writes=False),
    "train": Job(TRAIN),
    "train --resume": Job(f"{TRAIN} --resume"),
    "sweep": Job("sweep --lr 0.1,0.2 --seed 0,1 --epochs 4 --out s.npy"),
    "eval": Job("eval a.npy --confusion --predictions p.csv"),
    "report": Job("report a.npy -o page.html"),
    "compare": Job("compare a.npy b.npy --differences d.csv"),
    "predict": Job("predict --weights a.npy --show digit.png", data=False, writes=False),
    "show": Job("show a.npy", data=False, writes=False),
    "show --index": Job("show a.npy --index 3", writes=False),
    "show --mistakes": Job("show a.npy --mistakes", writes=False),
    "reproduce": Job("reproduce a.npy", writes=False),
    "reproduce --dry-run": Job("reproduce a.npy --dry-run", data=False, writes=False),
    "gradcheck": Job("gradcheck --rows 8", writes=False),
    "info": Job("info a.npy --json", data=False, writes=False),
}
OLD = (
    "quickstart-pixels.npy",
    "quickstart.npy",
    "w.npy",
    "log.jsonl",
    "s.npy",
    "p.csv",
    "page.html",
    "d.csv",
)


class Jobs:
    """The jobs, each with the folder that it begins in and the one that it leaves.

    Attributes
    ----------
    old, new : job name -> folder; `new` only of jobs that were prepared.
    seconds : job name -> how long a run with a cold cache takes; the same.
    warm, cold : the program's environment, with the shared cache, and with an empty one in the work's folder.
    """

    def __init__(self, zygote: Zygote, folder: Path, url: str) -> None:
        from PIL import Image

        self.cold: dict[str, Any] = {
            "MNIST_SOFTMAX_CACHE_DIR": "cache",
            "MNIST_SOFTMAX_MIRROR": url,
            "TORTURE_CHECKPOINT_SECONDS": 0,
        }
        self.warm = {**self.cold, "MNIST_SOFTMAX_CACHE_DIR": folder / "cache"}
        before, checkpoint = folder / "before", folder / "checkpoint"
        before.mkdir(parents=True)
        picture = Image.new("L", (28, 28))
        picture.paste(255, (12, 5, 16, 23))
        picture.save(before / "digit.png")
        for name in ("a", "b"):
            zygote.seconds("train", "--seed", ord(name), "--out", f"{name}.npy", cwd=before, **self.warm)
        for name in OLD:
            (before / name).write_bytes((before / "b.npy").read_bytes() if "npy" in name else b"old\n")
        (before / "output").unlink()
        shutil.copytree(before, checkpoint)
        leave_checkpoint(zygote, checkpoint, self.warm)
        self.old = {name: checkpoint if "--resume" in name else before for name in JOBS}
        self.new: dict[str, Path] = {}
        self.seconds: dict[str, float] = {}
        self._said: dict[str, set[str]] = {}
        self._zygote, self._folder = zygote, folder

    def prepare(self, name: str) -> None:
        """Run a job undisturbed, if that is still to be done, for what it leaves and how long it takes."""
        if name not in self.new:
            self.new[name] = self._folder / "new" / name
            shutil.copytree(self.old[name], self.new[name])
            self.seconds[name] = self._zygote.seconds(*JOBS[name].arguments, cwd=self.new[name], **self.cold)
            self._said[name] = lines((self.new[name] / "output").read_text())

    def missing(self, name: str, said: str) -> set[str]:
        """The lines that an undisturbed run prints and this one did not, but for those about epochs and files."""
        return self._said[name] - lines(said)

    def wrong(self, name: str, work: Path, code: int | None) -> str:
        """What is wrong with what a job left in a folder: each file is the old one or the new one.

        With exit code 0 it is the new one. A checkpoint may be any, but not there after 0; a log may be whole
        lines of the new one.
        """
        found, old, new = outcome(work), outcome(self.old[name]), outcome(self.new[name])
        for file in sorted({*found, *old, *new}):
            if file == "cache" or file.startswith(TEMPORARY):
                continue
            here = found.get(file)
            if code == 0:
                right = here == new.get(file)
            elif file.endswith(".jsonl"):
                right = not wrong_log(here or b"", old[file], new[file])
            else:
                right = here in {old.get(file), new.get(file)} or file.endswith(".checkpoint")
            if not right:
                return f"{file} is wrong"
        return wrong_cache(work / "cache")


def lines(text: str) -> set[str]:
    """The lines of an output without times, and without those that a warm cache or a resumed run does not have."""
    kept = (
        line for line in text.splitlines() if not re.search(r"^epoch|^mnist-softmax|^downloading|/", line)
    )
    return {re.sub(r"[\d.]+ s\b", "T s", line) for line in kept}


def leave_checkpoint(zygote: Zygote, folder: Path, variables: dict[str, Any]) -> None:
    """Leave the checkpoint of an interrupted training in a folder, and else what was there."""
    checkpoint, old = folder / "w.npy.checkpoint", outcome(folder)
    while not checkpoint.exists():  # a run may be over before the signal comes
        process = zygote.start(*JOBS["train"].arguments, cwd=folder, **variables)
        while not checkpoint.exists() and state_of(process) != "Z":
            time.sleep(0.0005)
        os.kill(process, signal.SIGTERM)
        zygote.wait(process)
    for name, content in old.items():
        (folder / name).write_bytes(content)
    (folder / "output").unlink()
