"""The system calls of a save, in their order: data on disk before the rename, the folder synced after it."""

import random
import re
from pathlib import Path

from common import Row, Tally, mirror
from faults import scenarios, traced

#: What must be seen for a file, in this order.
WANTED = ["write", "fsync", "rename", "fsync of the folder"]


def run(count: int, rng: random.Random, folder: Path) -> Tally:  # noqa: ARG001
    """The calls of a save over an old pair, file by file; `count` times."""
    tally = Tally(notes={"files": 0})
    with mirror() as server:
        save = next(one for one in scenarios(folder, server.url) if one.name == "save")
        save.prepare()
        variables = {**save.variables, "TORTURE_CHECKPOINT_SECONDS": ""}
        work = save.old
        for number in range(count):
            rate = 0.1 + 0.1 * (number % 2 == 0)  # never what is there already
            calls = traced(work, *save.command, "--lr", rate, **variables).calls
            seen: dict[str, list[str]] = {}
            for name, _number, line in calls:
                found = re.search(rf"{re.escape(str(work))}/(\.tmp-[\w-]+)", line)
                if found and name in WANTED:
                    seen.setdefault(found[1], []).append(name)
                elif name == "fsync" and f"<{work}>" in line and seen:
                    seen[list(seen)[-1]].append("fsync of the folder")
            tally.done += 1
            tally.notes["files"] = len(seen)
            tally.expect(len(seen) == 3, f"{len(seen)} files written, not receipt, weights, receipt")
            for temporary, order in seen.items():
                tally.expect(order == WANTED, f"{temporary}: {order}")
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    return (
        f"{tally.done} saves: receipt, weights, receipt, each by {', '.join(WANTED)}, in that order; "
        f"{len(tally.bad)} exceptions"
    )


ROW = Row("system calls of a save", 20, run, figure, "strace of a real process that saves over an old pair")
