"""Mutated inputs of every kind of file that the program reads, through the whole command line, in process.

Each kind has valid files, a way to mutate them beyond their bytes, and the commands that read them. Whatever
comes of it must be an exit code of the README with one line on stderr, and no control character.
"""

import gzip
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from common import CONTENTS, DATASET, Row, Tally
from numpy.typing import NDArray

from mnist_softmax.records import npy

INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 10, 1e308, -0.5, 2**31, 2**63, 2**64, 10**400, 10**4200),
    *("", "a", "\0", "\ud800", "mnist", "/", "/dev/null", "x" * 5000, "../..", "\u202e\x1b[31m"),
    *([], {}, [[]], [None], ["0"] * 10, list(range(10)), {"a": 1}, {"": {}}),
]
SECONDS = 2.0
#: What could change a terminal's state; the program prints line feeds alone.
CONTROL = re.compile(r"[^\n -\x7e\xa0-\U0010ffff]")


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few random changes anywhere."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(out) + 1) if rng.random() < 0.6 else rng.randrange(min(len(out), 40) + 1)
        size = rng.choice((1, 1, 2, 4, 16, 200))
        other = rng.randrange(len(out) + 1)
        match rng.randrange(8):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                if at < len(out):
                    out[at] ^= 1 << rng.randrange(8)
            case 2:
                del out[at:]
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = rng.randbytes(size)
            case 5:
                out[at:at] = out[other : other + size]
            case 6:
                out[at : at + 4] = rng.choice(INTERESTING).to_bytes(4, rng.choice(("big", "little")))
            case 7:
                out[at : at + 1] = rng.choice(b"\0\xff\n\"'[]{}()=,:.#-+0123456789eNaT_ ").to_bytes(1, "big")
    return bytes(out)


def mutate_json(rng: random.Random, value: Any) -> Any:
    """One random value somewhere inside is replaced, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: mutate_json(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], mutate_json(rng, value[at]), *value[at + 1 :]]
    return rng.choice(VALUES)


def mutate_array(rng: random.Random, array: NDArray[Any]) -> NDArray[Any]:
    """One value changed, or another shape, or another dtype."""
    match rng.randrange(3):
        case 0:
            out = array.copy()
            out.flat[rng.randrange(out.size)] = rng.choice((np.nan, np.inf, 0, 1e30, rng.random()))
            return out
        case 1:
            return rng.choice((array[:, :, :-1], array[:, :-1], array[:1], array[0], array[None], array[:0]))
        case _:
            return array.astype(rng.choice(("<f8", ">f4", "<f2", "<i4", "|b1", "<c8")))


def parts(packed: bytes) -> list[NDArray[Any]]:
    """The arrays of a file, as NumPy itself reads them."""
    file = io.BytesIO(packed)
    found = []
    while file.tell() < len(packed):
        found.append(np.load(file))
    return found


class Bench:
    """A folder with valid files of every kind, and the program's command line in this process."""

    def __init__(self, folder: Path) -> None:
        from mnist_softmax.cli import main, output
        from mnist_softmax.data.catalog import DATASETS

        output.prepare_streams = lambda: None
        DATASETS["mnist"] = DATASET
        self.folder, self.main, self.datasets = folder, main, DATASETS
        self.data = folder / "data"
        self.cached = folder / "cache" / DATASET.name
        self.environment = {"MNIST_SOFTMAX_CACHE_DIR": str(folder / "cache"), "MNIST_SOFTMAX_OFFLINE": "1"}
        for place in (self.data, self.cached):
            place.mkdir(parents=True)
        for name, content in CONTENTS.items():
            (self.cached / name).write_bytes(content)
            if not name.endswith(".gz"):
                (self.data / name).write_bytes(content)
        self.weights = folder / "w.npy"
        self.train = ("train", "--data-dir", self.data, "--epochs", 3, "--val-size", 0, "--out", self.weights)
        self.must(*self.train)
        self.packed_weights = self.weights.read_bytes()
        self.array, self.receipt = parts(self.packed_weights)
        self.checkpoint = self._make_checkpoint()
        self.must("eval", self.weights, "--dataset", "mnist")
        self.accuracy = self.last_out

    def run(self, *arguments: object) -> tuple[int, str]:
        """Exit code and stderr."""
        out, err = io.StringIO(), io.StringIO()
        argv = ["mnist-softmax", *map(str, arguments)]
        with (
            mock.patch.multiple(sys, argv=argv, stdout=out, stderr=err),
            mock.patch.dict(os.environ, self.environment),
        ):
            code = self.main._run()
        self.last_out = out.getvalue()
        return code, err.getvalue()

    def must(self, *arguments: object) -> None:
        code, err = self.run(*arguments)
        if code:
            raise SystemExit(f"{arguments} ended with {code}: {err}")

    def _make_checkpoint(self) -> bytes:
        """The checkpoint of `train` after two of its three epochs."""
        from mnist_softmax.records import checkpoint
        from mnist_softmax.runs import fit

        kept: list[bytes] = []
        save = checkpoint.save

        def keep(path: Path, *what: Any) -> None:
            save(path, *what)
            kept.append(path.read_bytes())

        with mock.patch.object(checkpoint, "save", keep):
            fit._SECONDS_BETWEEN_CHECKPOINTS = 0.0
            self.must(*self.train)
        fit._SECONDS_BETWEEN_CHECKPOINTS = 1e9
        return kept[1]

    # One method a kind: put a mutated file in place, run what reads it; return code, stderr, and what is wrong.

    def gzip(self, rng: random.Random) -> tuple[int, str, str]:
        """Packed test images: in a folder, in the cache, and in a cache that pins what they unpack to."""
        name = "t10k-images-idx3-ubyte"
        packed, raw = CONTENTS[f"{name}.gz"], CONTENTS[name]
        if rng.random() < 0.3:  # a sound gzip file of something else, or a bomb
            body = mutate_bytes(rng, raw) if rng.random() < 0.8 else raw + bytes(rng.choice((1, 1 << 24)))
            bad = gzip.compress(body, rng.choice((1, 9)), mtime=0) + rng.choice((b"", b"", b"\0", packed))
        else:
            bad = mutate_bytes(rng, packed)
        mode = rng.randrange(3)
        if mode == 0:
            (self.data / name).unlink(missing_ok=True)
            (self.data / f"{name}.gz").write_bytes(bad)
            try:
                return (*self.run("eval", self.weights, "--data-dir", self.data), "")
            finally:
                (self.data / f"{name}.gz").unlink()
                (self.data / name).write_bytes(raw)
        (self.cached / f"{name}.gz").write_bytes(bad)
        (self.cached / name).unlink(missing_ok=True)
        if mode == 2:
            sha256 = hashlib.sha256(bad).hexdigest()
            files = [
                replace(file, packed_bytes=len(bad), packed_sha256=sha256) if file.name == name else file
                for file in DATASET.files
            ]
            self.datasets["mnist"] = replace(DATASET, files=tuple(files))
        code, err = self.run("eval", self.weights, "--dataset", "mnist")
        self.datasets["mnist"] = DATASET
        wrong = code == 0 and (self.cached / name).read_bytes() != raw
        (self.cached / f"{name}.gz").write_bytes(packed)
        return code, err, "wrong content accepted" if wrong else ""

    def idx(self, rng: random.Random) -> tuple[int, str, str]:
        """Unpacked images or labels: in a folder, and in the cache, where the packed file repairs them."""
        name = rng.choice(("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"))
        raw = CONTENTS[name]
        bad = mutate_bytes(rng, raw)
        if rng.random() < 0.5:
            (self.data / name).write_bytes(bad)
            result = self.run("eval", self.weights, "--data-dir", self.data)
            (self.data / name).write_bytes(raw)
            return (*result, "")
        (self.cached / name).write_bytes(bad)
        code, err = self.run("eval", self.weights, "--dataset", "mnist")
        repaired = code == 0 and self.last_out == self.accuracy and (self.cached / name).read_bytes() == raw
        return code, err, "" if repaired else "not repaired"

    def npy(self, rng: random.Random) -> tuple[int, str, str]:
        """The whole file, with the receipt that pins the array, or without one."""
        pinned = rng.random() < 0.5
        bad = mutate_bytes(rng, self.packed_weights if pinned else npy.pack(self.array))
        self.weights.write_bytes(bad)
        code, err = self.run("eval", self.weights, "--data-dir", self.data)
        self.weights.write_bytes(self.packed_weights)
        wrong = False
        if code == 0:
            array, *receipt = parts(bad)
            wrong = bool(receipt) and array.tobytes() != self.array.tobytes()
        return code, err, "wrong content accepted" if wrong else ""

    def receipts(self, rng: random.Random) -> tuple[int, str, str]:
        """The receipt's bytes, or its values, before the same array or another; its hash may be made to fit."""
        array = self.array if rng.random() < 0.7 else np.negative(self.array)
        text, fits = self.receipt.tobytes(), array is self.array
        if rng.random() < 0.5:
            text = mutate_bytes(rng, text)
        else:
            value = mutate_json(rng, json.loads(text))
            if isinstance(value, dict) and rng.random() < 0.5:
                value["array_sha256"], fits = hashlib.sha256(array.tobytes()).hexdigest(), True
            text = json.dumps(value).encode()
        self.weights.write_bytes(npy.pack(array, text))
        readers = ["eval", f"eval --data-dir {self.data}", "info", "info --json", "reproduce --dry-run"]
        command, *options = rng.choice(readers).split()
        code, err = self.run(command, self.weights, *options)
        self.weights.write_bytes(self.packed_weights)
        return code, err, "" if code or fits else "a receipt of another array accepted"

    def checkpoints(self, rng: random.Random) -> tuple[int, str, str]:
        """Checkpoints: their bytes, and their parts under a hash that was made to fit again."""
        from mnist_softmax.records.weights import checkpoint_path

        place = checkpoint_path(self.weights)
        signed = rng.random() < 0.5
        if signed:
            arrays, head, _ = parts(self.checkpoint)
            text = head.tobytes()
            if rng.random() < 0.8:
                text = json.dumps(mutate_json(rng, json.loads(text))).encode()
            packed = npy.pack(arrays if rng.random() < 0.7 else mutate_array(rng, arrays), text)
            if rng.random() < 0.2:
                packed = mutate_bytes(rng, packed)
            bad = packed + npy.pack(hashlib.sha256(packed).digest())
        else:
            bad = mutate_bytes(rng, self.checkpoint)
        place.write_bytes(bad)
        code, err = self.run(*self.train, "--resume")
        wrong = not signed and code == 0 and self.weights.read_bytes() != self.packed_weights
        place.unlink(missing_ok=True)
        if code == 0:
            self.weights.write_bytes(self.packed_weights)
        return code, err, "wrong content accepted" if wrong else ""

    def config(self, rng: random.Random) -> tuple[int, str, str]:
        """Config files, read in full; the training itself is kept from starting by a missing folder."""
        text = (
            'dataset = "mnist"\nfeatures = ["deskew"]\nlr = 0.1\nreg = 1e-4\nepochs = 3\nbatch_size = 10\nmomentum = 0.9\n'
            'schedule = "cosine"\nseed = 3\nval_size = 5\nout = "x.npy"\nlog = "x.jsonl"\nresume = true\n'
        )
        if rng.random() < 0.5:
            bad = mutate_bytes(rng, text.encode())
        else:
            lines = text.splitlines()
            at = rng.randrange(len(lines))
            value = json.dumps(rng.choice(VALUES))  # JSON's values are nearly TOML's
            lines[at] = f"{lines[at].partition('=')[0]}= {value}"
            bad = "\n".join(lines).encode()
        (self.folder / "c.toml").write_bytes(bad)
        code, err = self.run(
            "train", "--config", self.folder / "c.toml", "--data-dir", self.folder / "missing"
        )
        return code, err, "accepted" if code != 2 and b"x.npy" in bad and code != 5 else ""


KINDS: dict[str, tuple[Callable[[Bench, random.Random], tuple[int, str, str]], set[int]]] = {
    "gzip": (Bench.gzip, {0, 2, 3, 4, 6}),
    "IDX": (Bench.idx, {0, 4, 6}),
    "npy": (Bench.npy, {0, 6}),
    "receipt": (Bench.receipts, {0, 2, 3, 4, 5, 6}),
    "checkpoint": (Bench.checkpoints, {0, 6, 7}),
    "config": (Bench.config, {2, 5}),
}


class _TooLongError(Exception):
    """An input took far more than it may."""


def _too_long(*_: object) -> None:
    raise _TooLongError


def memory() -> float:
    """The most megabytes that this process has ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` inputs of each kind."""
    tally = Tally()
    tally.notes.update({"slowest": 0.0, "growth": 0.0})
    bench = Bench(folder)
    baseline = memory()
    signal.signal(signal.SIGALRM, _too_long)
    for kind, (method, codes) in KINDS.items():
        refused = 0
        for _ in range(count):
            name = f"{rng.getrandbits(64):x}"
            began = time.perf_counter()
            signal.alarm(30)
            try:
                code, err, wrong = method(bench, random.Random(name))
                what = f"{kind} {name}: exit {code}, {err!r}"
                tally.expect(not wrong, f"{what}: {wrong}")
                tally.expect(code in codes, f"{what}: not one of {sorted(codes)}")
                tally.expect(not CONTROL.search(bench.last_out + err), f"{what}: a control character")
                if code:
                    refused += 1
                    last = err.splitlines()[-1] if err else ""
                    tally.expect(last.startswith("mnist-softmax: error: "), f"{what}: no error line")
                    tally.expect(err.count("error: ") >= 1 and err.endswith("\n"), f"{what}: not one line")
            except Exception as error:
                tally.expect(False, f"{kind} {name}: traceback: {error!r}"[:400])
                shutil.rmtree(folder)
                bench = Bench(folder)
            signal.alarm(0)
            tally.most("slowest", time.perf_counter() - began)
            tally.done += 1
        tally.notes[kind] = refused
    tally.most("growth", memory() - baseline)
    tally.expect(tally.notes["slowest"] < SECONDS, f"slowest input {tally.notes['slowest']:.2f} s")
    tally.expect(tally.notes["growth"] < 100, f"memory grew by {tally.notes['growth']:.0f} MB")
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    kinds = ", ".join(f"{kind} {tally.notes[kind]}" for kind in KINDS)
    return (
        f"{tally.done // len(KINDS):,} of each kind (refused: {kinds}; the others were sound or repaired); "
        f"{len(tally.bad)} tracebacks, wrong codes, wrong contents or control characters; slowest {tally.notes['slowest']:.2f} s; "
        f"memory {tally.notes['growth']:.0f} MB above the baseline"
    )


ROW = Row(
    "mutated gzip, IDX, npy, receipt, checkpoint and config inputs",
    20_000,
    run,
    figure,
    "each through the command that reads it, in one process: bytes and values changed at random, sound gzip "
    "files of other contents, receipts and checkpoints whose hash was made to fit again; a config is read in full and "
    "then always refused, for a folder that does not exist",
)
