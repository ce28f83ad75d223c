"""A Dask cluster that falls apart and comes back: the bytes of this machine, or one line of an error.

While a training by L-BFGS or a sweep runs on it, workers are killed, frozen and joined, some of them with another
BLAS kernel or with other data; the scheduler is frozen, or killed for good; the program is killed and resumed.
"""

import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clusters import Cluster, Process, cluster
from common import PROGRAM, Row, Tally, environment, outlast
from conftest import write_folder

#: Seconds that a scheduler or all workers may be away; a processor that does other work starts a worker in five.
PATIENCE = 15
PATIENT: Any = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": f"{PATIENCE}s"}
#: Seconds of a run on a cluster: after the first nothing more happens, so that it ends; after the second it hangs.
EVENTFUL_SECONDS, MOST_SECONDS = 15, 120
#: Seconds until the program, on such a processor, has surely begun to speak with the scheduler.
START_SECONDS = 20
MOST_WORKERS = 4
#: The folder that the process runs in, for the program and for each worker.
DATA = ("--data-dir", "/proc/self/cwd/rows")
COMMANDS = {
    "train": [
        *"train --solver lbfgs --reg 0 --epochs 150 --out w.npy --log log.jsonl --resume".split(),
        *DATA,
    ],
    "sweep": [
        *"sweep --epochs 5 --lr 0.01,0.1,0.2,0.5 --reg 0,1e-5,1e-4,1e-3 --seed 0,1,2,3,4,5 --json".split(),
        *DATA,
    ],
}
#: Lines that may be on stderr before the error, if there is one.
HARMLESS = re.compile(
    r"epoch \d+/150: .*|mnist-softmax: warning: "
    r"(worker not used: tcp://\S*: other (version of blas|data in train-images-idx3-ubyte): .*"
    r"|no worker has answered so far: .*|stopped; --resume goes on from epoch .*|no checkpoint.*)"
)


class Driver:
    """The program, at work on a cluster."""

    def __init__(self, name: str, made: Cluster, work: Path) -> None:
        self.name, self.work, self.began = name, work, time.monotonic()
        with (work / "output").open("w") as out, (work / "errors").open("w") as errors:
            self.popen = subprocess.Popen(
                [*PROGRAM, *COMMANDS[name], "--cluster", made.address],
                cwd=work,
                env=environment(**PATIENT),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
            )

    def ends_within(self, seconds: float) -> bool:
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def errors(self) -> list[str]:
        """The lines of stderr that are not harmless."""
        lines = (self.work / "errors").read_text().splitlines()
        return [line for line in lines if not HARMLESS.fullmatch(line)]

    def result(self) -> dict[str, bytes]:
        names = ("w.npy", "log.jsonl") if self.name == "train" else ("output",)
        return {name: (self.work / name).read_bytes() for name in names}


class Round:
    """A cluster, the program at work on it, and what may happen to them; each event counts itself by its name."""

    def __init__(self, rng: random.Random, made: Cluster, driver: Driver, counts: Counter[str]) -> None:
        self.rng, self.made, self.driver, self.counts = rng, made, driver, counts

    def live(self) -> list[Process]:
        """The workers that can contribute."""
        self.made.workers[:] = [worker for worker in self.made.workers if worker.popen.poll() is None]
        return self.made.workers

    def join(self) -> None:
        if len(self.live()) < MOST_WORKERS:
            self.made.worker(threads=self.rng.choice((1, 2)))
            self.counts["joins"] += 1

    def kill(self) -> None:
        if len(self.live()) < 2:
            self.join()
        self.rng.choice(self.live()).kill()
        self.counts["kills of a worker"] += 1

    def kill_all(self) -> None:
        for worker in self.live():
            worker.kill()
        self.counts["kills of all workers"] += 1
        time.sleep(self.rng.uniform(0, 2))
        self.join()

    def freeze(self) -> None:
        self._freeze(self.rng.choice(self.live()), "workers")

    def freeze_scheduler(self) -> None:
        self._freeze(self.made.scheduler, "schedulers")

    def _freeze(self, process: Process, what: str) -> None:
        process.freeze()
        self.driver.ends_within(self.rng.uniform(0.3, 2))
        process.thaw()
        self.counts[f"frozen {what}"] += 1

    def other_blas(self) -> None:
        self.made.worker(OPENBLAS_CORETYPE="Prescott")
        self.made.workers.pop()
        self.counts["joins of other BLAS"] += 1

    def other_data(self) -> None:
        folder, self.made.folder = self.made.folder, self.made.folder / "other"  # which it runs in
        self.made.worker()
        self.made.folder = folder
        self.made.workers.pop()
        self.counts["joins of other data"] += 1

    def kill_driver(self) -> None:
        if self.driver.name == "train":
            self.driver.kill()
            outlast(self.driver.work)
            self.driver = Driver("train", self.made, self.driver.work)
            self.counts["kills of the program"] += 1


EVENTS: tuple[Callable[[Round], None], ...] = (
    Round.join,
    Round.kill,
    Round.kill_all,
    Round.freeze,
    Round.freeze_scheduler,
    Round.other_blas,
    Round.other_data,
    Round.kill_driver,
)


def play(rng: random.Random, name: str, work: Path, dask: Path, tally: Tally) -> Driver | None:
    """Run the program on a new cluster until it ends; None where the scheduler was killed on the way."""
    for folder in (dask, dask / "other"):
        folder.mkdir(parents=True)
    (dask / "rows").symlink_to(work / "rows")
    (dask / "other" / "rows").symlink_to(work.parent / "other")
    with cluster(dask, *rng.choices((1, 2), k=rng.randint(1, 3))) as made:
        game = Round(rng, made, Driver(name, made, work), tally.notes["counts"])
        began = time.monotonic()
        last = began + rng.uniform(2, 10) if rng.random() < 0.2 else None  # of the scheduler
        while not game.driver.ends_within(rng.uniform(0.2, 2.5)):
            if last and time.monotonic() > last:
                made.scheduler.kill()
                killed = time.monotonic()
                begun = (work / "errors").stat().st_size or killed > game.driver.began + START_SECONDS
                ended = game.driver.ends_within(PATIENCE + 5 + (0 if begun else START_SECONDS))
                if begun:
                    tally.most("slowest end", time.monotonic() - killed)
                errors = game.driver.errors()
                good = ended and game.driver.popen.returncode == 5 and len(errors) == 1
                good = good and errors[0].startswith("mnist-softmax: error: ")
                tally.expect(good, f"{name}, no scheduler, {begun}: {game.driver.popen.returncode}, {errors}")
                tally.notes["counts"]["kills of the scheduler"] += 1
                game.driver.kill()
                return None
            if time.monotonic() > began + MOST_SECONDS:
                game.driver.popen.send_signal(signal.SIGTERM)
                tally.expect(False, f"{name}: a hang, then {game.driver.ends_within(5)}")
                game.driver.kill()
                return None
            if time.monotonic() < began + EVENTFUL_SECONDS:
                rng.choice(EVENTS)(game)
            elif not game.live():
                game.join()
        return game.driver


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` rounds, every second one a sweep."""
    tally = Tally(notes={"counts": Counter(), "slowest end": 0.0})
    write_folder(folder / "rows", rows=75_000)
    write_folder(folder / "other", rows=75_000, seed=1)
    wanted = {}
    for name, command in COMMANDS.items():
        alone = folder / f"alone-{name}"
        alone.mkdir()
        (alone / "rows").symlink_to(folder / "rows")
        with (alone / "output").open("w") as out:
            subprocess.run(
                [*PROGRAM, *command],
                cwd=alone,
                env=environment(),
                check=True,
                stdout=out,
                stderr=subprocess.DEVNULL,
            )
        wanted[name] = alone
    while tally.done < count:
        name = ("train", "sweep")[tally.done % 2]
        work = folder / "work"
        work.mkdir()
        (work / "rows").symlink_to(folder / "rows")
        driver, clusters = None, 0
        while driver is None and clusters < 5:
            clusters += 1
            driver = play(rng, name, work, folder / f"dask-{clusters}", tally)
        tally.expect(driver, f"{name}: no end on {clusters} clusters")
        if driver:
            found = driver.popen.returncode, driver.errors()
            if tally.expect(found == (0, []), f"{name}: exit and errors {found}"):
                expected = {key: (wanted[name] / key).read_bytes() for key in driver.result()}
                tally.expect(driver.result() == expected, f"{name}: other bytes")
        tally.done += 1
        for path in (work, *folder.glob("dask-*")):
            shutil.rmtree(path)
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    counts: Counter[str] = tally.notes["counts"]
    events = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return (
        f"{tally.done} rounds ({events}); {len(tally.bad)} other bytes, hangs, wrong codes, or lines "
        f"that are not the program's; {tally.notes['slowest end']:.1f} s from the kill of a scheduler to the end"
    )


ROW = Row(
    "a Dask cluster that falls apart and comes back",
    24,
    run,
    figure,
    "real schedulers, workers and programs on loopback: `train --solver lbfgs --resume` and `sweep --json` on "
    "75,000 generated rows, and something of the above every second; if the scheduler is gone, the same command "
    "runs again on a new cluster; then files and ranking are compared with those of this machine alone",
)
