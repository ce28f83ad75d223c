"""Training on 8.1 million rows (6.35 GB), with and without room for them in memory; prints a table.

`large.py --mnist DIR` writes the 60,000 rows of MNIST 135 times, each time moved by other pixels, into a
folder that is removed afterwards. It measures seconds per row beside MNIST itself; anonymous memory, which is
what the program asks for, as against pages of the file, which the system may drop at any time; and then, in a
control group with a memory limit (Linux, as root), the order that the program draws beside a shuffle of the
whole file.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

COPIES = 135
MEBIBYTE = 1 << 20


def generate(mnist: Path, folder: Path, copies: int) -> None:
    """Write the pair of training files."""
    from mnist_softmax.data.idx import pack_header
    from mnist_softmax.data.open import open_split

    split = open_split(data_dir=mnist)
    rows = len(split.labels)
    images = split.images.reshape(rows, split.height, split.width)
    with open(folder / "train-images-idx3-ubyte", "wb") as file:
        file.write(pack_header((copies * rows, split.height, split.width)))
        for copy in range(copies):
            moved = np.roll(images, (copy % 5 - 2, copy // 5 % 5 - 2), axis=(1, 2))
            file.write(np.ascontiguousarray(moved).data)
        os.fsync(file.fileno())
    with open(folder / "train-labels-idx1-ubyte", "wb") as file:
        file.write(pack_header((copies * rows,)))
        file.write(np.tile(split.labels, copies).data)


def forget(folder: Path) -> None:
    """Have the system drop what it holds of the files in memory."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _anonymous_megabytes() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) / 1e3


def child(folder: Path, order: str, seconds: float) -> None:
    """Train on two million rows or more, or for `seconds`; print seconds per row, megabytes, and rows."""
    from mnist_softmax.data.folder import read_idx
    from mnist_softmax.features.steps import SCALE
    from mnist_softmax.settings import Settings
    from mnist_softmax.training import shuffle
    from mnist_softmax.training.descent import descend
    from mnist_softmax.training.kernel import initial_state

    if order == "whole":
        shuffle.WHOLE = 1 << 62
    images, labels = (
        read_idx(folder / f"train-{name}-ubyte", rank)
        for name, rank in (("images-idx3", 3), ("labels-idx1", 1))
    )
    stored = images.reshape(len(images), -1)
    before = peak = _anonymous_megabytes()
    rows = np.arange(len(labels), dtype=np.uint32)
    done = 0
    started = time.perf_counter()

    class Enough(Exception):  # noqa: N818
        pass

    def on_rows(count: int) -> None:
        nonlocal done, peak
        done, peak = done + count, max(peak, _anonymous_megabytes())
        if time.perf_counter() - started > seconds:
            raise Enough

    state = initial_state(stored.shape[1], 10, SCALE)
    settings = Settings(epochs=max(1, 2_000_000 // len(labels)))
    try:
        for _ in descend(stored, labels, rows, [settings], state, on_rows=on_rows):
            pass
    except Enough:
        pass
    print((time.perf_counter() - started) / done, before, peak, done)  # megabytes before and at most


def run(folder: Path, order: str = "ours", limit: int | None = None, seconds: float = 1e9) -> list[float]:
    """A child process, in a control group of `limit` bytes if that is given."""
    command = [sys.executable, __file__, "--child", order, "--mnist", str(folder), "--seconds", str(seconds)]
    if limit is None:
        return [float(x) for x in subprocess.run(command, check=True, capture_output=True).stdout.split()]
    group = Path("/sys/fs/cgroup/memory" if Path("/sys/fs/cgroup/memory").is_dir() else "/sys/fs/cgroup")
    name = "memory.limit_in_bytes" if group.name == "memory" else "memory.max"
    group /= f"mnist-softmax-{os.getpid()}"
    group.mkdir()
    try:
        (group / name).write_text(str(limit))
        joined = f"echo $$ > {group}/cgroup.procs && exec " + " ".join(command)
        done = subprocess.run(["sh", "-c", joined], check=True, capture_output=True)
    finally:
        group.rmdir()
    return [float(x) for x in done.stdout.split()]


def _print(what: str, values: Sequence[float], unit: str) -> None:
    low, middle, high = min(values), median(values), max(values)
    print(f"| {what} | {low:.3g} | **{middle:.3g}** | {high:.3g} | {unit} |", flush=True)


def main() -> None:
    """Generate, measure, remove."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", type=Path, required=True, help="folder with the unpacked training files")
    parser.add_argument("--copies", type=int, default=COPIES)
    parser.add_argument("--limits", type=int, nargs="*", default=[], help="memory limits to try, in MiB")
    parser.add_argument("--child", choices=["ours", "whole"])
    parser.add_argument("--seconds", type=float, default=1e9)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.mnist, arguments.child, arguments.seconds)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(arguments.mnist, folder, arguments.copies)
        rows = arguments.copies * 60_000
        print(f"{rows} rows, {(folder / 'train-images-idx3-ubyte').stat().st_size / 1e9:.2f} GB\n")
        print("| what | min | median | max | unit |\n|---|---|---|---|---|")
        run(folder), run(arguments.mnist)
        large, small = zip(*[(run(folder), run(arguments.mnist)) for _ in range(3)], strict=True)
        _print("seconds per row / MNIST", [a[0] / b[0] for a, b in zip(large, small, strict=True)], "")
        grown = [(a[2] - a[1]) * 1e6 / rows for a in large]
        _print("anonymous memory that grows with the run", grown, "bytes a row")
        for limit in arguments.limits:
            for order, seconds in (("ours", 1e9), ("whole", 60.0)):
                forget(folder)
                measured = run(folder, order, limit * MEBIBYTE, seconds)
                what = (
                    "windows, a whole epoch" if order == "ours" else f"whole shuffle, {measured[3]:.0f} rows"
                )
                ratio = measured[0] / median(b[0] for b in small)
                _print(f"seconds per row / MNIST within {limit} MiB: {what}", [ratio], "")


if __name__ == "__main__":
    main()
