"""`--solver lbfgs` and `sweep` on a Dask cluster on loopback beside the same on this machine; prints tables.

`on_cluster.py --mnist DIR` starts schedulers and workers, and writes 1.08 and 8.1 million rows as `large.py`
does, into a folder that is removed afterwards. What is compared takes turns; a ratio is taken within a turn.
Whole commands get new workers each time, so that these open and hash the data while the command waits. Last
it shows what a round costs: of empty tasks the time, of MNIST's pixels the bytes that the scheduler sends.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.pop("OPENBLAS_CORETYPE", None)  # these slow NumPy, which reads them when it is imported
os.environ.pop("OPENBLAS_L2_SIZE", None)
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import numpy as np
from clusters import Proxy, cluster, until
from interleave import machine, ratios
from large import generate

from mnist_softmax import blas
from mnist_softmax.data.idx import pack_header
from mnist_softmax.data.open import open_split
from mnist_softmax.data.split import Split
from mnist_softmax.runs.cluster.connection import Connection, connected
from mnist_softmax.runs.cluster.passes import ClusterBlocks
from mnist_softmax.runs.fit import fit
from mnist_softmax.settings import Settings
from mnist_softmax.training.blocks import BLOCK_ROWS
from mnist_softmax.training.curvature import Largest
from mnist_softmax.training.lbfgs import sum_of_block

PROGRAM = [sys.executable, "-m", "mnist_softmax"]
#: Threads of each worker.
TWO, ONE = (1, 1), (2,)
TASKS = (1, 8, 64, 1024)


@contextmanager
def workers(folder: Path, threads: Sequence[int], proxies: list[Proxy] | None = None) -> Iterator[Connection]:
    """A connection to a cluster whose workers are there; with a list, all passes through a proxy in it."""
    with tempfile.TemporaryDirectory(dir=folder) as name, ExitStack() as stack:
        made = stack.enter_context(cluster(Path(name)))
        address = made.address
        if proxies is not None:
            proxies.append(Proxy(address))
            address = proxies[-1].address
        for number in threads:
            made.worker(threads=number, address=address)
        connection = stack.enter_context(connected(address))
        until(lambda: len(connection.workers(10)) == len(threads), "the workers")
        yield connection


def show(what: str, times: Sequence[tuple[float, float]], unit: str, digits: int) -> None:
    """A row of the table: of some turns the time locally and that on the cluster, and their ratio."""
    here, there = zip(*times, strict=True)
    low, middle, high = ratios(there, here)
    figures = (f"{median(values):.{digits}f} {unit}" for values in (here, there))
    print(f"| {what} | {' | '.join(figures)} | **{middle:.2f}** | {low:.2f} to {high:.2f} |", flush=True)


# Passes, within this process


def seconds_a_pass(split: Split, passes: int, connection: Connection | None = None) -> float:
    """Of a training with so many passes, each with the scores of the validation rows after it."""
    times: list[float] = []

    def begins(*_: Any) -> None:
        times[:] = times or [time.perf_counter()]

    fit(
        split,
        Settings.for_features((), solver="lbfgs", epochs=passes),
        on_step=begins,
        on_epoch=lambda _: times.append(time.perf_counter()),
        elsewhere=partial(ClusterBlocks, connection) if connection else None,
    )
    return (times[-1] - times[0]) / (len(times) - 1)


def compare_passes(
    data: Path, scratch: Path, layouts: Sequence[Sequence[int]], passes: int, turns: int
) -> None:
    """Seconds a pass, and for a million rows, here and on clusters of these workers."""
    split = open_split(data_dir=data)
    with ExitStack() as stack:
        places = [None, *(stack.enter_context(workers(scratch, layout)) for layout in layouts)]
        for place in places:
            seconds_a_pass(split, 1, place)
        times = [[seconds_a_pass(split, passes, place) for place in places] for _ in range(turns)]
    for n, layout in enumerate(layouts, 1):
        what, rows = f"{len(split.labels):,} rows, {len(layout)} x {layout[0]}", len(split.labels)
        show(f"{what}: a pass", [(1e3 * turn[0], 1e3 * turn[n]) for turn in times], "ms", 1)
        show(f"{what}: a row", [(1e9 * turn[0] / rows, 1e9 * turn[n] / rows) for turn in times], "ns", 0)


# Whole commands


def run(*arguments: object) -> tuple[float, bytes]:
    """Seconds of a command, and what it printed."""
    started = time.perf_counter()
    done = subprocess.run([*PROGRAM, *map(str, arguments)], check=True, stdout=-1, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started, done.stdout


def compare_trainings(data: Path, scratch: Path, epochs: int, turns: int) -> None:
    """`train --solver lbfgs` from start to end, and its files byte by byte."""
    out = [scratch / name for name in ("here.npy", "there.npy")]
    command = ["train", "--data-dir", data, "--solver", "lbfgs", "--epochs", epochs, "--out"]
    times = []
    for _ in range(turns):
        here, _ = run(*command, out[0])
        with workers(scratch, TWO) as found:
            there, _ = run(*command, out[1], "--cluster", found.address)
        assert out[0].read_bytes() == out[1].read_bytes(), "other weights"
        times.append((here, there))
    rows = (data / "train-labels-idx1-ubyte").stat().st_size - 8
    show(f"{rows:,} rows, `train --epochs {epochs}`, 2 x 1", times, "s", 1)


def compare_sweeps(data: Path, scratch: Path, turns: int) -> None:
    """A sweep of 128 models, two epochs each, from start to end, and what it prints."""
    rates = ",".join(f"{rate:.4g}" for rate in np.geomspace(0.02, 0.6, 16))
    command = ["sweep", "--data-dir", data, "--epochs", 2, "--lr", rates, "--seed", "0,1,2,3,4,5,6,7"]
    times = []
    for _ in range(turns):
        here, expected = run(*command, "--json")
        with workers(scratch, TWO) as found:
            there, printed = run(*command, "--json", "--cluster", found.address)
        assert printed == expected, "another ranking"
        times.append((here, there))
    show("`sweep` of 128 models x 2 epochs, 2 x 1", times, "s", 1)


# Rounds


def nothing(*_: Any) -> Largest:
    """What an empty block contributes."""
    return Largest(np.zeros(1))


def blocks_of(found: Connection, split: Split, rows: int, blocks_per_task: int) -> ClusterBlocks:
    """The first rows of a split on the workers."""
    numbers = np.arange(rows, dtype=np.uint32)
    settings = Settings.for_features((), solver="lbfgs", val_size=0)
    return ClusterBlocks(found, split, (), split.images, numbers, settings, blocks_per_task=blocks_per_task)


def show_empty_rounds(scratch: Path, turns: int) -> None:
    """Seconds of a round of empty tasks, one block each, from images of one pixel."""
    data = scratch / "empty"
    data.mkdir()
    rows = max(TASKS) * BLOCK_ROWS
    for name, shape in (("images-idx3", (rows, 1, 1)), ("labels-idx1", (rows,))):
        (data / f"train-{name}-ubyte").write_bytes(pack_header(shape) + bytes(rows))
    split = open_split(data_dir=data)
    print("\n| tasks of a round, empty | ms | ms a task |\n|---|---|---|")
    with workers(scratch, TWO) as found:
        for tasks in TASKS:
            blocks = blocks_of(found, split, tasks * BLOCK_ROWS, 1)
            times = []
            for _ in range(turns + 1):
                started = time.perf_counter()
                blocks.total(nothing)
                times.append(1e3 * (time.perf_counter() - started))
            middle = median(times[1:])
            print(f"| {tasks} | {middle:.0f} | {middle / tasks:.1f} |", flush=True)


def show_bytes(data: Path, scratch: Path, rounds: int) -> None:
    """Bytes that the scheduler sends: for a round however few its tasks, and for each task.

    It gets as many, some of them by connections that it opens itself, which no proxy sees.
    """
    split, proxies = open_split(data_dir=data), list[Proxy]()
    V = np.random.default_rng(0).standard_normal((10, 785)).astype(np.float32)
    sent, tasks = [], []
    with workers(scratch, TWO, proxies) as found:
        for size in (1 << (len(split.labels) // BLOCK_ROWS).bit_length(), 1):
            blocks = blocks_of(found, split, len(split.labels), size)
            blocks.total(sum_of_block, V, 255.0)
            before = proxies[0].sent
            for _ in range(rounds):
                blocks.total(sum_of_block, V, 255.0)
            sent.append((proxies[0].sent - before) / rounds / 1e3)
            tasks.append(-(-len(split.labels) // (size * BLOCK_ROWS)))
    a_task = (sent[1] - sent[0]) / (tasks[1] - tasks[0])
    a_round = sent[0] - a_task * tasks[0]
    print(f"\nthe scheduler sends {a_round:.1f} kB a round and {a_task:.1f} kB a task ({tasks[1]} tasks)")


def main() -> None:
    """Measure everything, or the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", type=Path, required=True, help="folder with the unpacked training files")
    parser.add_argument("--scratch", type=Path, help="a folder on a disk with 8 GB free")
    parser.add_argument("--only", nargs="*", default=["small", "million", "large", "sweep", "rounds"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.scratch) as name:
        scratch = Path(name)

        def copies(number: int) -> Path:
            data = scratch / f"{number}-copies"
            data.mkdir(exist_ok=True)
            if not any(data.iterdir()):
                generate(given.mnist, data, number)
            return data

        print(f"{machine()}, {blas.description()}; workers x threads\n")
        print("| what | locally | cluster | ratio | from to |\n|---|---|---|---|---|", flush=True)
        if "small" in given.only:
            compare_passes(given.mnist, scratch, [TWO, ONE], passes=20, turns=7)
        if "sweep" in given.only:
            compare_sweeps(given.mnist, scratch, turns=3)
        if "million" in given.only:
            compare_trainings(copies(18), scratch, epochs=30, turns=3)
        if "large" in given.only:
            compare_passes(copies(135), scratch, [TWO], passes=3, turns=2)
            compare_trainings(copies(135), scratch, epochs=3, turns=1)
        if "rounds" in given.only:
            show_empty_rounds(scratch, turns=5)
            show_bytes(copies(18), scratch, rounds=5)


if __name__ == "__main__":
    main()
