"""`make bench`: this program beside its peers, as ratios, written to benchmarks/RESULTS.md.

Every peer reads the same MNIST files, with the same batch size (but for the CNN) and the same precision (but
for the float64 textbook loop). Each is a process of its own; they take turns, a unit of work at a time, so
that a machine that slows down slows all of them. A ratio is taken within a round. Peers whose threads can be
set are tried with one and with two, and the faster goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from interleave import HERE, Peer, interleaved, machine, ratios

Command = list[str | Path]
PROGRAM: Command = [sys.executable, "-m", "mnist_softmax"]
DIRECTIONS: Command = ["train", "--config", HERE.parent / "configs" / "directions.toml"]
SWEPT = 32


@dataclass(frozen=True)
class Row:
    """A row of the table: ratios, or figures of a unit, and what was asked for (None: nothing was)."""

    figure: str
    values: tuple[float, float, float]
    bar: float | None = None
    aim: float | None = None
    digits: int = 2
    unit: str = ""

    def markdown(self) -> str:
        """The row."""
        low, middle, high = (f"{value:.{self.digits}f}{self.unit}" for value in self.values)
        asked = ["" if x is None else f"{x:g}{self.unit}" for x in (self.bar, self.aim)]
        return f"| {self.figure} | {low} | **{middle}** | {high} | {asked[0]} | {asked[1]} |"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _faster(stack: ExitStack, script: str, folder: Path) -> Peer:
    """The peer with one or with two threads, whichever is faster."""
    both = [
        stack.enter_context(Peer(script, folder, OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads))
        for threads in ("1", "2")
    ]
    times = [median(peer.seconds() for _ in range(3)) for peer in both]
    _say(f"{script}: {times[0]:.3f} s an epoch with one thread, {times[1]:.3f} s with two")
    return both[times.index(min(times))]


def epochs(folder: Path, rounds: int) -> tuple[list[Row], list[str]]:
    """An epoch of each peer, our floor, a sweep, and what directions cost."""
    with ExitStack() as stack:
        ours = stack.enter_context(Peer("ours.py", folder))
        peers = {
            "epoch": (ours, "epoch"),
            "floor": (ours, "floor"),
            "sweep": (ours, "sweep"),
            "directions": (ours, "directions"),
            "prepare": (ours, "prepare"),
            "textbook": (_faster(stack, "textbook.py", folder), "epoch"),
            "tensors": (_faster(stack, "torch_tensors.py", folder), "epoch"),
            "loader": (_faster(stack, "torch_dataloader.py", folder), "epoch"),
            "jax": (stack.enter_context(Peer("jax_scan.py", folder)), "epoch"),
        }
        _say(f"epochs, {rounds} rounds")
        times = interleaved(peers, rounds)
        versions = list(dict.fromkeys(peer.version for peer, _ in peers.values()))
    epoch = times["epoch"]
    per_model = [seconds / SWEPT for seconds in times["sweep"]]
    return [
        Row("epoch / textbook NumPy epoch", ratios(epoch, times["textbook"]), 0.42, 0.35),
        Row("epoch / PyTorch epoch, whole tensors", ratios(epoch, times["tensors"]), 0.25, 0.18),
        Row("epoch / PyTorch epoch, DataLoader", ratios(epoch, times["loader"])),
        Row("epoch / JAX epoch, one jitted scan", ratios(epoch, times["jax"]), 0.80, 0.60),
        Row("epoch / own floor (gather, convert, two products)", ratios(epoch, times["floor"]), 1.5, 1.3),
        Row(
            f"epoch of each model in a sweep of {SWEPT} / textbook NumPy epoch",
            ratios(per_model, times["textbook"]),
            0.15,
            0.12,
        ),
        Row("epoch of directions / epoch of pixels", ratios(times["directions"], epoch)),
        Row("the directions of 70,000 deskewed images", _spread(times["prepare"]), unit=" s"),
    ], versions


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def _timed(command: Command) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return time.perf_counter() - started, done.stdout


def _seconds(command: Command) -> float:
    return _timed(command)[0]


def _in_turn(
    first: Callable[[], float], second: Callable[[], float], rounds: int
) -> tuple[float, float, float]:
    first(), second()  # both warm
    pairs = [(first(), second()) for _ in range(rounds)]
    return ratios([a for a, _ in pairs], [b for _, b in pairs])


def whole_commands(folder: Path, cache: Path, scratch: Path, rounds: int) -> list[Row]:
    """Processes from start to end: `train` beside PyTorch, `--help` beside Click, the memory of `train`."""
    train: Command = [*PROGRAM, "train", "--cache-dir", cache, "--out", scratch / "w.npy"]
    _say("whole processes")
    torch: Command = [sys.executable, HERE / "torch_train.py", folder, scratch]
    help_: Command = [Path(sys.executable).with_name("mnist-softmax"), "--help"]
    click: Command = [sys.executable, "-c", "import click"]
    directions: Command = [*PROGRAM, *DIRECTIONS, "--cache-dir", cache, "--out", scratch / "w.npy"]
    peaks, peaks_of_directions = (
        _spread([_peak_megabytes(command) for _ in range(3)]) for command in (train, directions)
    )
    return [
        Row(
            "`mnist-softmax train`, whole process / the same in PyTorch",
            _in_turn(lambda: _seconds(train), lambda: _seconds(torch), rounds),
            0.25,
            0.15,
        ),
        Row("peak resident memory of `train`", peaks, 150, 120, 0, " MB"),
        Row(
            "peak resident memory of `train --config configs/directions.toml`",
            peaks_of_directions,
            digits=0,
            unit=" MB",
        ),
        Row(
            '`mnist-softmax --help` / `python -c "import click"`',
            _in_turn(lambda: _seconds(help_), lambda: _seconds(click), 5 * rounds),
            2.0,
            1.5,
        ),
    ]


def _peak_megabytes(command: Command) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # it was waited for here
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def networks(folder: Path, cache: Path, scratch: Path, seeds: int) -> tuple[list[Row], list[str]]:
    """Whole processes, a round for each seed: ratios of time, and lines about accuracy."""
    ours = "`train --config configs/directions.toml`"
    scripts = {"CNN in PyTorch": "cnn", "MLP 784-512-10 in PyTorch": "mlp"}
    weights = scratch / "directions.npy"
    train: Command = [*PROGRAM, *DIRECTIONS, "--cache-dir", cache, "--out", weights]
    score: Command = [*PROGRAM, "eval", weights, "--cache-dir", cache, "--json"]
    seconds: dict[str, list[float]] = {name: [] for name in (ours, *scripts)}
    accuracy: dict[str, list[float]] = {name: [] for name in (ours, *scripts)}
    for seed in map(str, range(seeds)):
        seconds[ours].append(_seconds([*train, "--seed", seed]))
        accuracy[ours].append(json.loads(_timed(score)[1])["accuracy"])
        for name, script in scripts.items():
            took, printed = _timed([sys.executable, HERE / "torch_networks.py", folder, script, seed])
            seconds[name].append(took)
            accuracy[name].append(float(printed))
        _say(f"seed {seed}: {', '.join(f'{name} {times[-1]:.1f} s' for name, times in seconds.items())}")
    of_time = {name: ratios(seconds[ours], times) for name, times in seconds.items()}
    lines = []
    for name, values in accuracy.items():
        low, middle, high = (f"{100 * value:.2f} %" for value in _spread(values))
        lines.append(f"| {name} | {low} | **{middle}** | {high} | {of_time[name][1]:.2f} |")
    return [Row(f"{ours}, whole process / {name}", of_time[name]) for name in scripts], lines


def reaching_a_loss(folder: Path, rounds: int) -> list[Row]:
    """Seconds to a loss of 0.2610 at lambda 1e-4, beside scikit-learn."""

    def fit(name: str) -> float:
        command = [sys.executable, str(HERE / "reach_loss.py"), str(folder), name]
        seconds, loss = map(float, subprocess.run(command, check=True, capture_output=True).stdout.split())
        _say(f"{name}: loss {loss:.5f} after {seconds:.2f} s")
        return seconds

    _say("time to a loss of 0.2610")
    times = [(fit("ours"), fit("lbfgs"), fit("saga")) for _ in range(rounds)]
    ours, lbfgs, saga = zip(*times, strict=True)
    return [
        Row("time to a loss of 0.2610 / scikit-learn, lbfgs", ratios(ours, lbfgs), 0.25, 0.10, 3),
        Row("time to a loss of 0.2610 / scikit-learn, saga", ratios(ours, saga), None, None, 3),
    ]


def _results(rows: Sequence[Row], accuracies: Sequence[str], versions: Sequence[str], minutes: float) -> str:
    return "\n".join(
        [
            "# Benchmark results",
            "",
            "Written by `make bench`; do not edit. Ratios of seconds, ours over the other's: below 1 is",
            "faster. Each is the minimum, median and maximum over rounds in which both took their turn;",
            "batch size 128 (the CNN 256), 60,000 rows of MNIST. What each script does is said at its top.",
            "",
            "| figure | min | median | max | asked: at most | aim |",
            "|---|---|---|---|---|---|",
            *(row.markdown() for row in rows),
            "",
            "The accuracy of the last of these on the 10,000 test rows. They train on all 60,000 rows, each",
            "round with a seed of its own.",
            "",
            "| whole process | min | median | max | seconds, ours over its |",
            "|---|---|---|---|---|",
            *accuracies,
            "",
            f"Machine: {machine()}.",
            "",
            f"Versions: {'; '.join(versions)}; scikit-learn {version('scikit-learn')}.",
            "",
            f"It took {minutes:.0f} minutes.",
            "",
        ]
    )


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="mnist", type=Path, help="folder with the four .gz files of MNIST")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "cache"
        source = ["--from", arguments.mnist] if arguments.mnist else []
        download = [*PROGRAM, "download", "--cache-dir", cache, "--json", *source]
        done = subprocess.run(download, check=True, stdout=subprocess.PIPE)
        folder = Path(json.loads(done.stdout)["files"][0]["path"]).parent
        rows, versions = epochs(folder, arguments.rounds)
        rows += whole_commands(folder, cache, Path(name), max(3, arguments.rounds // 2))
        rows += reaching_a_loss(folder, 3)
        of_networks, accuracies = networks(folder, cache, Path(name), 3)
        rows += of_networks
    table = _results(rows, accuracies, versions, (time.monotonic() - started) / 60)
    (HERE / "RESULTS.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
