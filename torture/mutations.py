"""Mutated inputs of every kind of file that the program reads, through the whole command line, in process.

One harness: each kind gives valid files, how to mutate them beyond their bytes, and the command that reads
them. Whatever comes of it must be an exit code of the design with one line on stderr.
"""

import gzip
import hashlib
import io
import json
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import CONTENTS, DATASET, Row, Tally

INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 10, 1e308, -0.5, 2**31, 2**63, 2**64, 10**400, 10**4200),
    *("", "a", "\0", "\ud800", "mnist", "/", "/dev/null", "x" * 5000, "../..", "\u202e\x1b[31m"),
    *([], {}, [[]], [None], ["0"] * 10, list(range(10)), {"a": 1}, {"": {}}),
]
SECONDS = 2.0


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


class Bench:
    """A folder with valid files of every kind, and the program's command line in this process."""

    def __init__(self, folder: Path) -> None:
        from mnist_softmax.cli import main, output
        from mnist_softmax.datasets import DATASETS

        output.prepare_streams = lambda: None
        DATASETS["mnist"] = DATASET
        self.folder, self.main, self.datasets = folder, main, DATASETS
        self.data = folder / "data"
        self.cached = folder / "cache" / DATASET.name
        self.cache = ("--cache-dir", str(folder / "cache"), "--offline")
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
        self.receipt = self.weights.with_suffix(".json").read_bytes()
        self.checkpoint = self._make_checkpoint()
        self.must("eval", self.weights, "--dataset", "mnist", "--offline")
        self.accuracy = self.last_out

    def run(self, *arguments: object) -> tuple[int, str]:
        """Exit code and stderr."""
        out, err = sys.stdout, sys.stderr
        sys.argv = ["mnist-softmax", *map(str, arguments), *self.cache]
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        try:
            code = self.main._run()
            self.last_out = sys.stdout.getvalue()
            return code, sys.stderr.getvalue()
        finally:
            sys.stdout, sys.stderr = out, err

    def must(self, *arguments: object) -> None:
        code, err = self.run(*arguments)
        if code:
            raise SystemExit(f"{arguments} ended with {code}: {err}")

    def _make_checkpoint(self) -> bytes:
        """The checkpoint of `train` after two of its three epochs."""
        from mnist_softmax import checkpoint, run

        kept: list[bytes] = []
        save = checkpoint.save

        def keep(path: Path, checkpoint: checkpoint.Checkpoint) -> None:
            save(path, checkpoint)
            kept.append(path.read_bytes())

        checkpoint.save, run._SECONDS_BETWEEN_CHECKPOINTS = keep, 0.0
        self.must(*self.train)
        checkpoint.save, run._SECONDS_BETWEEN_CHECKPOINTS = save, 1e9
        return kept[1]

    # One method a kind: put a mutated file in place, run what reads it; the code, stderr, and what is wrong.

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
                replace(file, gz_bytes=len(bad), gz_sha256=sha256) if file.name == name else file
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
        """Weights without a receipt, and with the receipt that pins them."""
        beside = self.weights.with_suffix(".json")
        pinned = rng.random() < 0.5
        if not pinned:
            beside.unlink()
        bad = mutate_bytes(rng, self.packed_weights)
        self.weights.write_bytes(bad)
        code, err = self.run("eval", self.weights, "--data-dir", self.data)
        self.weights.write_bytes(self.packed_weights)
        beside.write_bytes(self.receipt)
        wrong = pinned and code == 0 and bad != self.packed_weights
        return code, err, "wrong content accepted" if wrong else ""

    def receipts(self, rng: random.Random) -> tuple[int, str, str]:
        """Receipts: their bytes, and their values."""
        beside = self.weights.with_suffix(".json")
        if rng.random() < 0.5:
            beside.write_bytes(mutate_bytes(rng, self.receipt))
        else:
            beside.write_text(json.dumps(mutate_json(rng, json.loads(self.receipt))))
        where = ("--data-dir", self.data) if rng.random() < 0.5 else ()
        code, err = self.run("eval", self.weights, *where)
        beside.write_bytes(self.receipt)
        return code, err, ""

    def checkpoints(self, rng: random.Random) -> tuple[int, str, str]:
        """Checkpoints: their bytes, and their values under a hash that was made to fit again."""
        from mnist_softmax import checkpoint

        place = checkpoint.checkpoint_path(self.weights)
        signed = rng.random() < 0.5
        if signed:
            line, _, body = self.checkpoint.partition(b"\n")
            head = mutate_json(rng, json.loads(line))
            if isinstance(head, dict):
                head.pop("sha256", None)
                body = body if rng.random() < 0.7 else mutate_bytes(rng, body)
                head["sha256"] = checkpoint._digest(head, body)
            bad = json.dumps(head).encode() + b"\n" + body
        else:
            bad = mutate_bytes(rng, self.checkpoint)
        place.write_bytes(bad)
        code, err = self.run(*self.train, "--resume")
        wrong = not signed and code == 0 and self.weights.read_bytes() != self.packed_weights
        place.unlink(missing_ok=True)
        if code == 0:
            self.weights.write_bytes(self.packed_weights)
            self.weights.with_suffix(".json").write_bytes(self.receipt)
        return code, err, "wrong content accepted" if wrong else ""

    def config(self, rng: random.Random) -> tuple[int, str, str]:
        """Config files, read in full; the training itself is kept from starting by a missing folder."""
        text = (
            'dataset = "mnist"\nlr = 0.1\nreg = 1e-4\nepochs = 3\nbatch_size = 10\nmomentum = 0.9\n'
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
        f"{len(tally.bad)} tracebacks, wrong codes or contents; slowest {tally.notes['slowest']:.2f} s; "
        f"memory {tally.notes['growth']:.0f} MB above the baseline"
    )


ROW = Row(
    "mutated gzip, IDX, npy, receipt, checkpoint and config inputs",
    20_000,
    run,
    figure,
    "each through the command that reads it, in one process: bytes and values changed at random, sound gzip "
    "files of other contents, checkpoints whose hash was made to fit again; a config is read in full and "
    "then always refused, for a folder that does not exist",
)
