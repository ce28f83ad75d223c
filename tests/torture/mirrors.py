"""Everything that a server can do wrong, met by the program with its real time limits, all at the same time.

The faults are those of tests/data/test_download.py. Each is met three ways: as the only mirror, as three mirrors,
and before a good one.
"""

import random
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from common import CONTENTS, DATASET, Row, Tally, Zygote, state_of, temporaries
from data.test_download import BROKEN, LIES, PATH
from kills import wrong_cache
from servers import Answer, Server, serving

DEADLINE = 60.0
SETTINGS = ("alone", "three", "before a good one")


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` kinds of faults, in each setting; and many mirrors that stall or are silent."""
    tally = Tally(notes={"kinds": 0, "slowest": 0.0, "saved": 0, "won": 0})
    faults: dict[str, tuple[Answer, Any, str]] = {**BROKEN, **LIES}
    kinds = rng.sample(sorted(faults), min(count, len(faults)))
    good = serving({name: CONTENTS[name] for name in CONTENTS})
    with ExitStack() as stack, Zygote() as zygote:
        better = stack.enter_context(Server(dict(good)))
        cases = []
        for kind in kinds:
            for setting in SETTINGS:
                servers = [
                    stack.enter_context(Server(good | {PATH: faults[kind][0]}))
                    for _ in range(3 if setting == "three" else 1)
                ]
                cases.append((f"{kind}, {setting}", [server.url for server in servers], "good" in setting))
        for many in (3, 5, 8) if count >= len(faults) else ():
            for kind in ("silence", "silence in the body", "a dripping body", "dripping headers"):
                server = stack.enter_context(Server({f"/{n}{PATH}": faults[kind][0] for n in range(many)}))
                urls = [f"{server.url}{n}" for n in range(many)]
                cases += [
                    (f"{kind}, {many} mirrors", urls, False),
                    (f"{kind}, {many} and a good one", urls, True),
                ]
        started = []
        for number, (what, urls, saved) in enumerate(cases):
            work = folder / f"{number}"
            work.mkdir(parents=True)
            mirrors = " ".join([*urls, better.url] if saved else urls)
            variables: dict[str, Any] = {"MNIST_SOFTMAX_CACHE_DIR": "cache", "MNIST_SOFTMAX_MIRROR": mirrors}
            process = zygote.start("download", cwd=work, **variables)
            started.append((what, saved, work, process, time.monotonic()))
            time.sleep(0.02)
        watch(started, zygote, tally)
    tally.notes["kinds"] = len(kinds)
    tally.done = len(cases)
    return tally


def watch(started: list[Any], zygote: Zygote, tally: Tally) -> None:
    """Wait for the processes, and look at how and when each ended."""
    waiting = list(started)
    while waiting:
        for case in list(waiting):
            what, saved, work, process, began = case
            if state_of(process) != "Z":
                continue
            waiting.remove(case)
            took = time.monotonic() - began
            code = zygote.wait(process)
            err = (work / "output").read_text()
            tally.most("slowest", took)
            codes = {0} if saved else {3, 4}
            tally.notes["saved"] += saved
            tally.notes["won"] += saved and code == 0
            if "Retry-After" in what or "until a date" in what:
                codes = {0, *codes}
            what = f"{what}: exit {code} after {took:.1f} s: {err[-200:]}"
            tally.expect(took < DEADLINE + 5, f"{what}: too late")
            tally.expect(code in codes, f"{what}: not one of {codes}")
            tally.expect("Traceback" not in err, f"{what}: traceback")
            tally.expect(not (wrong := wrong_cache(work / "cache")), f"{what}: {wrong}")
            tally.expect(not temporaries(work), f"{what}: a temporary left")
            if code == 0:
                there = {path.name for path in (work / "cache" / DATASET.name).iterdir()}
                tally.expect(there >= set(CONTENTS), f"{what}: a file is missing")
        time.sleep(0.02)


def figure(tally: Tally) -> str:
    """The figure of the table."""
    return (
        f"{tally.notes['kinds']} kinds, {tally.done} downloads; slowest {tally.notes['slowest']:.0f} s; "
        f"{len(tally.bad)} bad bytes cached, tracebacks, wrong codes or late ends; one good mirror after "
        f"bad ones won {tally.notes['won']} of {tally.notes['saved']} times"
    )


ROW = Row(
    "scripted server faults",
    1000,
    run,
    figure,
    "each kind as the only mirror, as three mirrors, and before a good one, with the program's real time limits; "
    "and 3, 5 and 8 mirrors that are all silent, stall or drip, with and without a good one after them",
)
