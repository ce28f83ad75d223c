"""SIGKILL at random instants of a download, a save, a log being written and a run being resumed.

After each kill the files on disk must be the old or the new ones; the same command, run again, must succeed
and leave what an uninterrupted run leaves, byte for byte.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import CONTENTS, DATASET, Row, Tally, Zygote, mirror, outlast, state_of, temporaries

SHORT = ("train", "--epochs", 1, "--out", "w.npy")
LONG = ("train", "--epochs", 40, "--out", "w.npy", "--log", "log.jsonl")


def outcome(folder: Path) -> dict[str, bytes]:
    """What a run left: every file in its folder by name, without what the process printed. A folder is empty."""
    return {
        path.name: path.read_bytes() if path.is_file() else b""
        for path in folder.iterdir()
        if path.name != "output"
    }


def wrong_weights(work: Path, old: Path, new: Path) -> str:
    """What is wrong with the weights file in `work`: it must be that of `old` or of `new`, byte for byte.

    Where `old` has none, `work` need not have one.
    """
    paths = [folder / "w.npy" for folder in (work, old, new)]
    found, *whole = [path.read_bytes() if path.exists() else b"" for path in paths]
    return "" if found in whole else "neither the old nor the new weights file"


def wrong_cache(cache: Path) -> str:
    """The first file of the dataset that is there and not right."""
    for path in (cache / DATASET.name).glob("*-ubyte*"):
        if path.name in CONTENTS and path.read_bytes() != CONTENTS[path.name]:
            return f"{path.name} is wrong"
    return ""


def wrong_log(found: bytes, old: bytes, new: bytes) -> str:
    """What is wrong with a log that must be the old one or whole lines of the new one."""
    whole = new.startswith(found) and found[-1:] in {b"", b"\n"}
    return "" if found == old or whole else "the log does not hold whole lines"


def wait_for_a_change(work: Path, process: int) -> None:
    """Wait until a process first changes a file in a folder, or ends."""

    def state() -> dict[str, int]:
        return {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(work) if entry.name != "output"}

    before = state()
    with suppress(FileNotFoundError):  # a temporary that is gone again has changed something
        while state() == before and state_of(process) != "Z":
            pass


class Scenario:
    """Something that is killed: how it is set up, what runs, what must hold after the kill and at the end."""

    def __init__(self, zygote: Zygote, folder: Path, url: str) -> None:
        self.zygote, self.url = zygote, url
        self.cache = folder / "cache"
        self.options: dict[str, Any] = {"MNIST_SOFTMAX_CACHE_DIR": self.cache, "MNIST_SOFTMAX_MIRROR": url}
        self.command: tuple[object, ...] = ()
        self.template = folder / "template"
        self.whole = folder / "whole"
        self.template.mkdir(parents=True)

    def measure(self) -> None:
        """Run it once without a kill, for its outcome, its length, and how much of that it writes."""
        shutil.copytree(self.template, self.whole)
        began = time.monotonic()
        process = self.zygote.start(*self.command, cwd=self.whole, **self.options)
        wait_for_a_change(self.whole, process)
        changed = time.monotonic()
        if code := self.zygote.wait(process):
            raise SystemExit(f"{self.command} ended with {code}: {(self.whole / 'output').read_text()}")
        self.seconds, self.writing = time.monotonic() - began, time.monotonic() - changed

    def after_kill(self, work: Path) -> str:
        """What is wrong with the state that the kill left."""
        raise NotImplementedError

    def at_end(self, work: Path) -> str:
        """What is wrong with the state after the second run."""
        return "" if outcome(work) == outcome(self.whole) else "not what an uninterrupted run leaves"


class Download(Scenario):
    """A cold cache being filled."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.options["MNIST_SOFTMAX_CACHE_DIR"] = "cache"
        self.command = ("download",)

    def after_kill(self, work: Path) -> str:
        return wrong_cache(work / "cache")

    def at_end(self, work: Path) -> str:
        found = {path.name for path in (work / "cache" / DATASET.name).iterdir()}
        names = {file.name for file in DATASET.files} | {file.packed_name for file in DATASET.files}
        return self.after_kill(work) or ("" if found == names | {".lock", "stamp.json"} else f"left {found}")


class Save(Scenario):
    """New weights over old ones."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.command = SHORT
        self.zygote.seconds(*SHORT, "--lr", 0.1, cwd=self.template, **self.options)
        (self.template / "output").unlink()

    def after_kill(self, work: Path) -> str:
        return wrong_weights(work, self.template, self.whole)


class Log(Scenario):
    """A log being written over an old one."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.command = LONG
        (self.template / "log.jsonl").write_bytes(b'{"old": 1}\n' * 9)

    def after_kill(self, work: Path) -> str:
        old, found, whole = ((at / "log.jsonl").read_bytes() for at in (self.template, work, self.whole))
        return wrong_log(found, old, whole) or wrong_weights(work, self.template, self.whole)


class Resume(Log):
    """A run that writes a checkpoint at every epoch; it is resumed from what the kill left."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.command = (*LONG, "--resume")
        self.options["TORTURE_CHECKPOINT_SECONDS"] = 0.0


SCENARIOS: dict[str, Callable[..., Scenario]] = {
    "download": Download,
    "save": Save,
    "log": Log,
    "resume": Resume,
}


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` kills, a quarter in each scenario."""
    tally = Tally()
    tally.notes.update(dict.fromkeys(SCENARIOS, 0))
    with mirror() as server, Zygote() as zygote:
        scenarios = {name: kind(zygote, folder / name, server.url) for name, kind in SCENARIOS.items()}
        for scenario in scenarios.values():
            scenario.measure()
        while tally.done < count:
            name = list(scenarios)[tally.done % len(scenarios)]
            scenario = scenarios[name]
            work = folder / "work"
            shutil.copytree(scenario.template, work)
            process = zygote.start(*scenario.command, cwd=work, **scenario.options)
            if rng.random() < 0.5:  # half of the kills at any instant, half once it has begun to write
                delay = rng.uniform(0, 1.1 * scenario.seconds)
            else:
                wait_for_a_change(work, process)
                delay = rng.uniform(0, 1.1 * scenario.writing)
            time.sleep(delay)
            os.kill(process, signal.SIGKILL)
            if zygote.wait(process) == -signal.SIGKILL:  # else it had ended by itself
                tally.done += 1
                tally.notes[name] += 1
                what = f"{name} killed after {delay * 1000:.1f} ms"
                tally.expect(not (wrong := scenario.after_kill(work)), f"{what}: {wrong}")
                outlast(work)
                code = zygote.run(*scenario.command, cwd=work, **scenario.options)
                said = (work / "output").read_text()[-300:]
                tally.expect(code == 0 and "Traceback" not in said, f"{what}: then exit {code}: {said}")
                tally.expect(not (left := temporaries(work)), f"{what}: left {left}")
                tally.expect(not (wrong := scenario.at_end(work)), f"{what}: then {wrong}")
            shutil.rmtree(work)
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    kinds = ", ".join(f"{name} {tally.notes[name]}" for name in SCENARIOS)
    return (
        f"{tally.done:,} kills ({kinds}): {len(tally.bad)} states neither old nor new, temporaries left, or "
        "next runs that failed"
    )


ROW = Row(
    "SIGKILL at a random instant of download, save, log and resume",
    1000,
    run,
    figure,
    "processes forked after all modules are loaded, so that a kill meets the work and not the imports; a "
    "download into an empty cache, new weights over old ones, a log over an old one, a checkpoint at every "
    "epoch; half of the kills come after the first file has changed; then the same command runs again, and "
    "its files are compared with those of an uninterrupted run",
)
