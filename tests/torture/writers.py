"""Two processes, or eight, write the same file at the same time: each output of each command."""

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import DATASET, Row, Tally, Zygote, mirror, temporaries
from jobs import Jobs
from kills import outcome, wrong_cache

PROCESSES = (2, 8)


@dataclass(frozen=True)
class Writers:
    """What its writers run, with {n} where they differ, and the file that they all write.

    `job` names the job that begins with the same files. Where a writer `refuses` to be the second one, all but
    one may end with 5.
    """

    line: str
    output: str
    job: str = "train"
    refuses: bool = False


WRITERS = {
    "quickstart": Writers("quickstart", "quickstart.npy"),
    "download": Writers("download --force", "cache"),
    "train --out": Writers("train --epochs 4 --seed {n} --out w.npy", "w.npy"),
    "train --log": Writers(
        "train --epochs 20 --seed {n} --out w{n}.npy --log log.jsonl", "log.jsonl", refuses=True
    ),
    "train --resume": Writers("train --epochs 20 --out w.npy --resume", "w.npy", job="train --resume"),
    "sweep --out": Writers("sweep --lr 0.1,0.2 --epochs 2 --seed {n} --out s.npy", "s.npy"),
    "eval --predictions": Writers("eval {n}.npy --predictions p.csv", "p.csv"),
    "report": Writers("report {n}.npy -o page.html", "page.html"),
    "compare": Writers("compare {n}.npy a.npy --differences d.csv", "d.csv"),
}


class Rounds:
    """The writers, the folders that they begin in, and what each writes alone."""

    def __init__(self, zygote: Zygote, folder: Path, url: str) -> None:
        self.zygote, self.folder = zygote, folder
        self.jobs = Jobs(zygote, folder / "jobs", url)
        old = self.jobs.old["train"]
        for number in range(max(PROCESSES)):
            arguments = ("train", "--epochs", number + 1, "--out", f"{number}.npy")
            zygote.seconds(*arguments, cwd=old, **self.jobs.warm)
        (old / "output").unlink()
        self._alone: dict[tuple[str, int], bytes] = {}

    def alone(self, name: str, number: int) -> bytes:
        """What a writer writes alone."""
        if (name, number) not in self._alone:
            self.run(name, [number], self.jobs.cold)
            self._alone[name, number] = outcome(self.folder / "work")[WRITERS[name].output]
        return self._alone[name, number]

    def run(self, name: str, numbers: list[int], variables: dict[str, Any]) -> tuple[list[int], list[str]]:
        """Run writers at once in a new folder; their exit codes, and what they said."""
        work, said = self.folder / "work", self.folder / "said"
        for path in (work, said):
            shutil.rmtree(path, ignore_errors=True)
        said.mkdir()
        shutil.copytree(self.jobs.old[WRITERS[name].job], work)
        at = time.monotonic() + 0.02 * len(numbers)
        processes = [
            self.zygote.start(
                *WRITERS[name].line.format(n=number).split(),
                cwd=work,
                output=said / f"{number}",
                at=at,
                **variables,
            )
            for number in numbers
        ]
        codes = [self.zygote.wait(process) for process in processes]
        return codes, [(said / f"{number}").read_text() for number in numbers]

    def judge(self, name: str, numbers: list[int], variables: dict[str, Any], tally: Tally) -> None:
        """One round."""
        writers, work = WRITERS[name], self.folder / "work"
        wanted = {self.alone(name, number) for number in numbers}
        codes, said = self.run(name, numbers, variables)
        tally.done += 1
        tally.notes[name] += 1
        for code, text in zip(codes, said, strict=True):
            tally.notes["refused"] += code == 5 and writers.refuses
            refusal = code == 5 and writers.refuses and text.endswith("another process is writing\n")
            tally.expect(code == 0 or refusal, f"{len(numbers)} {name}: exit {code}: {text[-300:]}")
            tally.expect("Traceback" not in text, f"{len(numbers)} {name}: {text[-300:]}")
        tally.expect(0 in codes, f"{len(numbers)} {name}: all refused")
        found = outcome(work)
        tally.expect(found[writers.output] in wanted, f"{len(numbers)} {name}: {writers.output} is nobody's")
        own = {f"w{number}.npy" for number in numbers if "w{n}" in writers.line}
        old = {path.name for path in self.jobs.old[writers.job].iterdir() if path.suffix != ".checkpoint"}
        left = set(found) - old - own - {"cache"}
        tally.expect(not left and not temporaries(work), f"{len(numbers)} {name}: left {left}")
        tally.expect(not (wrong := wrong_cache(work / "cache")), f"{len(numbers)} {name}: {wrong}")
        if variables is self.jobs.cold:
            cached = {path.name for path in (work / "cache" / DATASET.name).iterdir()}
            whole = {file.name for file in DATASET.files} | {file.packed_name for file in DATASET.files}
            tally.expect(cached == whole | {".lock", "stamp.json"}, f"{len(numbers)} {name}: cache {cached}")


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` rounds: each output in turn, with as many writers as chance says, and a cold or a warm cache."""
    tally = Tally(notes={**dict.fromkeys(WRITERS, 0), "refused": 0})
    names = list(WRITERS)
    with mirror() as server, Zygote() as zygote:
        rounds = Rounds(zygote, folder, server.url)
        for number in range(count):
            name = names[number % len(names)]
            cold = name == "download" or rng.random() < 0.3
            together = list(range(rng.choice(PROCESSES)))
            rounds.judge(name, together, rounds.jobs.cold if cold else rounds.jobs.warm, tally)
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    kinds = ", ".join(f"{name} {tally.notes[name]}" for name in WRITERS)
    return (
        f"{tally.done} rounds ({kinds}); {tally.notes['refused']} second writers of a log refused with 5: "
        f"{len(tally.bad)} other codes, files that no writer writes alone, or files left beside them"
    )


ROW = Row(
    "2 or 8 writers of the same file at once",
    120,
    run,
    figure,
    "forked processes that begin at the same moment, over an old file, with a warm or a cold cache and a "
    "checkpoint at every epoch; each writes something else, and the file is compared with what each writes alone",
)
