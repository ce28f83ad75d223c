"""The system calls of a save, in their order: data on disk before the rename, the folder synced after it."""

import random
from pathlib import Path

from common import TEMPORARY, Row, Tally, mirror
from faults import scenarios, traced

#: What must be seen, in this order and nothing twice: weights and receipt are one file, written at once.
WANTED = ["write", "fsync", "rename", "fsync of the folder"]


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """The calls of a save over old weights; `count` times."""
    tally = Tally()
    with mirror() as server:
        save = next(one for one in scenarios(folder, server.url) if one.name == "save")
        save.prepare()
        variables = {**save.variables, "TORTURE_CHECKPOINT_SECONDS": ""}
        work = save.old
        for number in range(count):
            rate = 0.1 + 0.1 * (number % 2 == 0)  # never what is there already
            calls = traced(work, *save.command, "--lr", rate, **variables).calls
            order = []
            for name, _number, line in calls:
                if f"{work}/{TEMPORARY}" in line and name in WANTED:
                    order.append(name)
                elif name == "fsync" and f"<{work}>" in line:
                    order.append("fsync of the folder")
            tally.done += 1
            tally.expect(order == WANTED, f"{order}")
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    return (
        f"{tally.done} saves, each by one {', one '.join(WANTED)}, in that order; {len(tally.bad)} exceptions"
    )


ROW = Row("system calls of a save", 20, run, figure, "strace of a real process that saves over old weights")
