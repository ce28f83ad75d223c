"""`make bench`: this program beside its peers and an earlier commit, as ratios, written to docs/speed.md.

Every peer reads the same MNIST files, with the same batch size (but for the CNN) and the same precision (but
for the float64 textbook loop). Each is a process of its own; they take turns, ten epochs at a time, so that a
machine that slows down slows all of them. A ratio is taken within a round. Peers whose threads can be set are
tried with one and with two, and the faster goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from statistics import median

from interleave import HERE, Peer, interleaved, machine, ratios
from look import CHROMIUM

from mnist_softmax import blas

Command = list[str | Path]
PROGRAM: Command = [sys.executable, "-m", "mnist_softmax"]
DIRECTIONS: Command = ["train", "--config", HERE.parent / "configs" / "directions.toml"]
PAGE = HERE.parent / "docs" / "speed.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- end -->"
#: The program before it used both cores.
EARLIER = "fcb8cc3"
SWEPT, EPOCHS = 32, 10
#: What slows current NumPy, and makes JAX comparable then.
HASWELL = {"OPENBLAS_CORETYPE": "Haswell", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}


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


def earlier_program(folder: Path) -> Path:
    """The package and the benchmarks of the commit `EARLIER`, from the history of this clone."""
    archive = subprocess.run(
        ["git", "archive", EARLIER, "mnist_softmax", "benchmarks"],
        cwd=HERE.parent,
        check=True,
        stdout=subprocess.PIPE,
    )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def _faster(stack: ExitStack, script: str, folder: Path, environment: Mapping[str, str]) -> Peer:
    """The peer with one or with two threads, whichever is faster."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    both = [
        stack.enter_context(Peer(script, folder, {**environment, **dict.fromkeys(variables, threads)}))
        for threads in ("1", "2")
    ]
    times = [median(peer.seconds() for _ in range(3)) for peer in both]
    _say(f"{script}: {times[0]:.3f} s an epoch with one thread, {times[1]:.3f} s with two")
    return both[times.index(min(times))]


def epochs(
    folder: Path, earlier: Path, rounds: int, environment: Mapping[str, str]
) -> tuple[list[Row], list[str]]:
    """Epochs of pixels, of directions and of a sweep, beside the earlier program, our floor and the peers."""
    haswell = environment.get("OPENBLAS_CORETYPE", blas.description().split()[-1]) == "Haswell"
    of_earlier = {**environment, "PYTHONPATH": str(earlier)}
    script = earlier / "benchmarks" / "ours.py"
    core = min(os.sched_getaffinity(0))
    with ExitStack() as stack:

        def peer(script: str | Path, variables: Mapping[str, str], core: int | None = None) -> Peer:
            return stack.enter_context(Peer(script, folder, variables, core))

        ours, theirs = peer("ours.py", environment), peer(script, of_earlier)
        peers = {
            "earlier": (theirs, "epoch", EPOCHS),
            "epoch": (ours, "epoch", EPOCHS),
            "earlier, one core": (peer(script, of_earlier, core), "epoch", EPOCHS),
            "one core": (peer("ours.py", environment, core), "epoch", EPOCHS),
            "floor": (ours, "floor", EPOCHS),
            "directions": (ours, "directions", EPOCHS),
            "textbook": (_faster(stack, "textbook.py", folder, environment), "epoch", EPOCHS),
            "tensors": (_faster(stack, "torch_tensors.py", folder, environment), "epoch", EPOCHS),
            "loader": (_faster(stack, "torch_dataloader.py", folder, environment), "epoch", 1),
            "jax": (peer("jax_scan.py", environment), "epoch", EPOCHS),
            "earlier, sweep": (theirs, "sweep", 2),
            "sweep": (ours, "sweep", 2),
            "prepare": (ours, "prepare", 1),
        }
        _say(f"epochs, {rounds} rounds")
        times = interleaved(peers, rounds)
        versions = list(dict.fromkeys(peer.version for peer, *_ in peers.values()))
    epoch, sweep = times["epoch"], times["sweep"]
    per_model = [seconds / SWEPT for seconds in sweep]
    bars = (0.90, 0.82) if haswell else (0.80, 0.73)
    beside = {
        "textbook NumPy epoch": "textbook",
        "PyTorch epoch, whole tensors": "tensors",
        "PyTorch epoch, DataLoader": "loader",
        "JAX epoch, one jitted scan": "jax",
        "own floor (gather, convert, two products, on one core)": "floor",
    }
    return [
        Row(f"epoch / epoch of commit {EARLIER}", ratios(epoch, times["earlier"]), *bars),
        Row(
            f"on one core: epoch / epoch of commit {EARLIER}",
            ratios(times["one core"], times["earlier, one core"]),
            0.95,
            0.90,
        ),
        *(Row(f"epoch / {name}", ratios(epoch, times[key])) for name, key in beside.items()),
        Row("epoch of directions / epoch of pixels", ratios(times["directions"], epoch)),
        Row(
            f"sweep of {SWEPT} / sweep of {SWEPT} of commit {EARLIER}",
            ratios(sweep, times["earlier, sweep"]),
            1.0,
            0.9,
        ),
        Row(
            f"epoch of each model in a sweep of {SWEPT} / textbook NumPy epoch",
            ratios(per_model, times["textbook"]),
        ),
        Row("the directions of 70,000 deskewed images", _spread(times["prepare"]), unit=" s"),
    ], versions


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def _timed(command: Command, package: Path = HERE.parent) -> tuple[float, str]:
    """Run a command with the program in this folder; return the seconds and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(package)},
        cwd=HERE,  # not the folder of either program, which Python would prefer
    )
    return time.perf_counter() - started, done.stdout


def _seconds(command: Command, package: Path = HERE.parent) -> float:
    return _timed(command, package)[0]


def _in_turn(works: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Seconds of each work, in turn, after a first time that does not count."""
    for work in works:
        work()
    return [
        list(seconds) for seconds in zip(*([work() for work in works] for _ in range(rounds)), strict=True)
    ]


def whole_commands(folder: Path, caches: Mapping[str, Path], earlier: Path, rounds: int) -> list[Row]:
    """Processes from start to end beside the earlier program, PyTorch and Click; the memory of `train`."""
    _say("whole processes")
    scratch = caches["ours"].parent
    cache: Command = ["--cache-dir", caches["ours"]]
    cache_of_earlier: Command = ["--cache-dir", caches["earlier"]]
    weights, weights_of_earlier = scratch / "w.npy", scratch / "earlier.npy"
    train: Command = [*PROGRAM, "train", *cache, "--out", weights]
    commands: dict[str, Callable[[], float]] = {
        "train": lambda: _seconds(train),
        "earlier": lambda: _seconds(
            [*PROGRAM, "train", *cache_of_earlier, "--out", weights_of_earlier], earlier
        ),
        "eval": lambda: _seconds([*PROGRAM, "eval", weights, *cache]),
        "earlier, eval": lambda: _seconds([*PROGRAM, "eval", weights_of_earlier, *cache_of_earlier], earlier),
        "import torch": lambda: _seconds([sys.executable, "-c", "import torch"]),
        "torch": lambda: _seconds([sys.executable, HERE / "torch_train.py", folder, scratch]),
        "help": lambda: _seconds([*PROGRAM, "--help"]),
        "click": lambda: _seconds([sys.executable, "-c", "import click"]),
    }
    times = dict(zip(commands, _in_turn(list(commands.values()), rounds), strict=True))
    directions: Command = [*PROGRAM, *DIRECTIONS, *cache, "--out", weights]
    peaks, peaks_of_directions = (
        _spread([_peak_megabytes(command) for _ in range(3)]) for command in (train, directions)
    )
    return [
        Row(
            f"`train`, whole process / that of commit {EARLIER}",
            ratios(times["train"], times["earlier"]),
            0.85,
            0.75,
        ),
        Row(
            f"`eval`, whole process / that of commit {EARLIER}",
            ratios(times["eval"], times["earlier, eval"]),
            0.90,
            0.80,
        ),
        Row(
            '`train`, whole process / `python -c "import torch"`',
            ratios(times["train"], times["import torch"]),
            0.35,
            0.25,
        ),
        Row("`train`, whole process / the same in PyTorch", ratios(times["train"], times["torch"])),
        Row('`--help` / `python -c "import click"`', ratios(times["help"], times["click"]), 2.0, 1.5),
        Row("peak resident memory of `train`", peaks, 110, 100, 0, " MB"),
        Row(
            "peak resident memory of `train --config configs/directions.toml`",
            peaks_of_directions,
            170,
            digits=0,
            unit=" MB",
        ),
    ]


def _peak_megabytes(command: Command) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here
    assert process.returncode == 0, command
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def networks(folder: Path, cache: Path, seeds: int) -> tuple[list[Row], list[str]]:
    """Whole processes, a round for each seed: ratios of time, and lines about accuracy."""
    ours = "`train --config configs/directions.toml`"
    scripts = {"CNN in PyTorch": "cnn", "MLP 784-512-10 in PyTorch": "mlp"}
    weights = cache.parent / "directions.npy"
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
    bars = {"CNN in PyTorch": (0.15, None), "MLP 784-512-10 in PyTorch": (None, None)}
    return [Row(f"{ours}, whole process / {name}", of_time[name], *bars[name]) for name in scripts], lines


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


def looking(cache: Path) -> list[Row]:
    """Milliseconds of one look of the page at a drawing, on pixels and with both feature steps."""
    weights, report = cache.parent / "page.npy", cache.parent / "page.html"
    data: Command = ["--dataset", "mnist", "--cache-dir", cache, "--out"]
    rows = []
    for name, features in (("pixels", []), ("deskew,directions", ["--features", "deskew,directions"])):
        _say(f"the page, {name}")
        _timed([*PROGRAM, "train", *features, *data, weights])
        _timed([*PROGRAM, "report", weights, "--no-replay", *data, report])
        low, middle, high = map(float, _timed([sys.executable, HERE / "look.py", report])[1].split())
        rows.append(
            Row(f"one look of the page at a drawing, {name}", (low, middle, high), digits=1, unit=" ms")
        )
    return rows


def _table(rows: Sequence[Row]) -> list[str]:
    head = ["| figure | min | median | max | asked: at most | aim |", "|---|---|---|---|---|---|"]
    return [*head, *(row.markdown() for row in rows)]


@contextmanager
def _prepared(source: Path | None) -> Iterator[tuple[Path, Path, dict[str, Path]]]:
    """A folder with MNIST unpacked, the earlier program, and a cache for each program."""
    with tempfile.TemporaryDirectory() as name:
        earlier = earlier_program(Path(name) / "program")
        caches = {"ours": Path(name) / "cache", "earlier": Path(name) / "earlier-cache"}
        download: Command = [*PROGRAM, "download", "--cache-dir", caches["ours"], "--json"]
        if source:
            download += ["--from", source]
        done = _timed(download)[1]
        folder = Path(json.loads(done)["files"][0]["path"]).parent
        again: Command = [*PROGRAM, "download", "--cache-dir", caches["earlier"], "--from", folder]
        _timed(again, earlier)
        yield folder, earlier, caches


def measure(source: Path | None, rounds: int) -> str:
    """Run everything; return the tables."""
    started = time.monotonic()
    # Some environments set these, which slow current NumPy, or keep Python from storing compiled modules.
    for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(variable, None)
    if not Path(CHROMIUM).exists():
        sys.exit(f"{CHROMIUM} is missing: install Chromium, or name it with MNIST_SOFTMAX_TEST_CHROMIUM")
    with _prepared(source) as (folder, earlier, caches):
        rows, versions = epochs(folder, earlier, rounds, {})
        rows += whole_commands(folder, caches, earlier, rounds)
        rows += reaching_a_loss(folder, 3)
        rows += looking(caches["ours"])
        of_networks, accuracies = networks(folder, caches["ours"], 3)
        lines = [
            *_table([*rows, *of_networks]),
            "",
            "The accuracy of the last of these on the 10,000 test rows. They train on all 60,000 rows, each",
            "round with a seed of its own.",
            "",
            "| whole process | min | median | max | seconds, ours over its |",
            "|---|---|---|---|---|",
            *accuracies,
            "",
        ]
        kernel = blas.description().split()[-1]
        if kernel in {"SkylakeX", "Cooperlake", "SapphireRapids"}:
            variables = " ".join(f"{name}={value}" for name, value in HASWELL.items())
            of_haswell, _ = epochs(folder, earlier, rounds, HASWELL)
            lines += [f"The epochs on the same machine without AVX-512, `{variables}`:", ""]
            lines += [*_table(of_haswell), ""]
    minutes = (time.monotonic() - started) / 60
    return "\n".join(
        [
            *lines,
            f"Machine: {machine()}, BLAS kernels {kernel}. {rounds} rounds, in {minutes:.0f} minutes.",
            "",
            f"Versions: {'; '.join(versions)}; scikit-learn {version('scikit-learn')}.",
        ]
    )


def main() -> None:
    """Run everything and write the tables to their place in docs/speed.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="mnist", type=Path, help="folder with the four .gz files of MNIST")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    tables = measure(arguments.mnist and arguments.mnist.resolve(), arguments.rounds)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    print(tables)


if __name__ == "__main__":
    main()
