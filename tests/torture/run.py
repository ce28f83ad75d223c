"""Inject the faults, print the figures: ``python tests/torture/run.py [ROW]... [--count N] [--seed N] [--write]``.

For a person before a release, on Linux. Each row can be run alone; ``--write`` puts its figure into
docs/reliability.md. The exit status is 1 where anything happened that should not.
"""

import argparse
import importlib
import os
import platform
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, Row, Tally

#: In the order of the table; each is a module with a ROW.
NAMES = (
    "kills",
    "faults",
    "order",
    "disk",
    "processes",
    "mirrors",
    "mutations",
    "resume",
    "stops",
    "init",
    "network",
    "links",
    "escapes",
    "pictures",
    "containers",
    "writers",
    "commands",
    "cluster",
)
#: Those that TORTURE_DATA, a folder with the four MNIST files, makes sense for.
ON_FULL_MNIST = ("processes", "network")
REPORT = ROOT / "docs" / "reliability.md"


def row_named(name: str) -> Row:
    """The row of a module of this folder."""
    row: Row = importlib.import_module(name).ROW
    return row


def torture(name: str, count: int | None, seed: int) -> Tally:
    """Run one row."""
    row = row_named(name)
    rng = random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory(prefix=f"torture-{name}-", ignore_cleanup_errors=True) as folder:
        return row.run(count or row.count, rng, Path(folder) / "work")


def table_line(name: str, tally: Tally, seconds: float, seed: int) -> str:
    """The line of docs/reliability.md."""
    row = row_named(name)
    return f"| {row.title} | {row.figure(tally)} | `{name}`, seed {seed}, {seconds:.0f} s | {row.how} |"


def write(name: str, line: str) -> None:
    """Replace the row's line in docs/reliability.md."""
    text = REPORT.read_text(encoding="utf-8")
    changed, found = re.subn(rf"^\| .* \| `{name}`[,`].*$", lambda _: line, text, flags=re.MULTILINE)
    if found != 1:
        raise SystemExit(f"{REPORT} has {found} lines of {name}")
    REPORT.write_text(changed, encoding="utf-8")


def main() -> None:
    """Run the rows asked for, or all."""
    # In the background a shell's commands ignore SIGINT, and theirs would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(NAMES))
    parser.add_argument("--count", type=int, help="instead of the row's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the figures into docs/reliability.md")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(NAMES):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    print(
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, seed {options.seed}"
    )
    failed = False
    every = ON_FULL_MNIST if os.environ.get("TORTURE_DATA") else NAMES
    for name in options.rows or every:
        began = time.monotonic()
        tally = torture(name, options.count, options.seed)
        line = table_line(name, tally, time.monotonic() - began, options.seed)
        print(line, flush=True)
        if options.write:
            write(name, line)
        failed |= bool(tally.bad)
    sys.exit(failed)


if __name__ == "__main__":
    main()
