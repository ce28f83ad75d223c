"""32 processes fill one empty cache at the same time; then the same with a lock that does nothing."""

import random
import shutil
import time
from pathlib import Path
from typing import Any

from common import CONTENTS, DATASET, Row, Tally, Zygote, mirror, temporaries
from kills import wrong_cache

PROCESSES = 32


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` rounds with the lock, and `count` without."""
    tally = Tally(notes={"lock": 0, "no lock": 0, "exact": 0, "gets": 0})
    wanted = sorted(f"/{file.packed_name}" for file in DATASET.files)
    with mirror() as server, Zygote() as zygote:
        for locks in (True, False):
            for _ in range(count):
                work = folder / "work"
                work.mkdir(parents=True)
                server.requests.clear()
                # All begin at once, but for some milliseconds.
                at = time.monotonic() + 0.5
                options: dict[str, Any] = {
                    "locks": locks,
                    "MNIST_SOFTMAX_CACHE_DIR": "cache",
                    "MNIST_SOFTMAX_MIRROR": server.url,
                }
                numbers = [
                    zygote.start("download", cwd=work, output=f"{n}", at=at + rng.uniform(0, 0.02), **options)
                    for n in range(PROCESSES)
                ]
                codes = [zygote.wait(number) for number in numbers]
                tally.done += 1
                tally.notes["lock" if locks else "no lock"] += 1
                said = "".join((work / f"{n}").read_text() for n in range(PROCESSES))
                tally.expect(codes == [0] * PROCESSES, f"exit codes {codes}: {said[-300:]}")
                tally.expect("Traceback" not in said, f"traceback: {said[-300:]}")
                tally.expect(not (wrong := wrong_cache(work / "cache")), wrong)
                there = {path.name for path in (work / "cache" / DATASET.name).iterdir()}
                tally.expect(there >= set(CONTENTS), "a file is missing")
                tally.expect(not temporaries(work), "a temporary left")
                if locks:
                    exact = sorted(server.requests) == wanted
                    tally.notes["exact"] += tally.expect(exact, f"GETs: {server.requests}")
                else:
                    tally.most("gets", len(server.requests))
                shutil.rmtree(work)
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    notes = tally.notes
    return (
        f"{notes['exact']} of {notes['lock']} rounds of {PROCESSES} processes with exactly one GET per file; "
        f"with the lock a no-op, {notes['no lock']} rounds with up to {notes['gets']} GETs for four files; "
        f"{len(tally.bad)} corrupt or missing files, failed processes or temporaries"
    )


ROW = Row(
    "32 processes on an empty cache",
    100,
    run,
    figure,
    "forked processes that begin `download` within 20 ms of each other; then every file is compared",
)
