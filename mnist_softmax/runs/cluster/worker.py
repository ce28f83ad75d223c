"""What runs on a worker: it opens the data by itself, and computes only with our versions and our data."""

import os
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas
from mnist_softmax.data import open as opening
from mnist_softmax.data.split import Source, Split
from mnist_softmax.errors import MnistSoftmaxError
from mnist_softmax.features.prepare import prepare
from mnist_softmax.records.receipt import versions
from mnist_softmax.runs.cluster.connection import CACHE_VARIABLE, Connection
from mnist_softmax.runs.cluster.crew import Crew, Hand, UnfitError
from mnist_softmax.training.lbfgs import sum_of_block

Result = TypeVar("Result")

_lock = threading.Lock()
#: What is done once a process and lasts: the one BLAS thread of each thread that runs tasks.
_for_good = ExitStack()


@dataclass(frozen=True)
class Job:
    """What a worker must agree on before it contributes.

    Attributes
    ----------
    versions : of all that affects the bits of a result, as in a receipt, and `_arithmetic`; sorted pairs.
    source : a dataset, which the worker has in a cache of its own, or an absolute path that it sees.
    files : name and SHA-256 of the unpacked files of the split "train"; sorted pairs.
    features : a chain of feature steps.
    """

    versions: tuple[tuple[str, str], ...]
    source: Source
    files: tuple[tuple[str, str], ...]
    features: tuple[str, ...]

    @classmethod
    def of(cls, split: Split, features: Sequence[str]) -> "Job":
        """The job of training on a split, with the versions and the arithmetic of this process."""
        source = Source(split.source.dataset, split.source.data_dir and split.source.data_dir.absolute())
        return cls(_items(_own_versions()), source, _items(split.files), tuple(features))


@dataclass(frozen=True)
class Opened:
    """The data of a job on a worker: the split, and its features, (M, N) uint8."""

    split: Split
    stored: NDArray[np.uint8]


def crew(connection: Connection, job: Job) -> Crew:
    """The workers that can contribute to a job."""

    def check(hand: Hand) -> Any:
        # A worker ends itself where it is sent what it cannot unpickle: let it try within a task, at first.
        return hand.submit(_ready, job, hand.submit(pickle.loads, pickle.dumps((_ready, job))))

    return Crew(connection, check)


def run(job: Job, function: Callable[..., Result], *arguments: Any) -> Result:
    """Compute `function` of what was `opened` for a job, and of `arguments`.

    Raises
    ------
    UnfitError : this worker has other versions or other data, or has not enough memory.
    """
    from distributed import get_worker

    try:
        opened = _opened(job)
        result = function(opened, *arguments)
        opening.check_unchanged(opened.split)
    except (MnistSoftmaxError, OSError, MemoryError) as error:
        with _lock:
            _verified.cache_clear()  # what is there may have changed
        raise UnfitError(get_worker().address, str(error) or "not enough memory") from None
    return result


def _ready(job: Job, _: object) -> None:
    """Check that this worker can contribute; raises as `run` does."""
    run(job, lambda _: None)


def _opened(job: Job) -> Opened:
    with _lock:  # threads that begin together open the data once
        _one_blas_thread()
        for name, expected in job.versions:
            found = _own_versions().get(name)
            if found != expected:
                raise MnistSoftmaxError(f"other version of {name}", expected=expected, got=found)
        return _verified(job)


@cache
def _one_blas_thread() -> None:
    _for_good.enter_context(blas.one_thread())


@cache
def _own_versions() -> dict[str, str]:
    return {**versions(), "the arithmetic of NumPy": _arithmetic()}


def _arithmetic() -> str:
    """What a sum over made-up rows gives: NumPy chooses its own instructions by the type of the processor."""
    rows = np.arange(512, dtype=np.uint32)
    stored = (rows[:, None] * np.arange(1, 785) % 251).astype(np.uint8)
    V = ((np.arange(7850) * 37 % 101 - 50) / 512).astype(np.float32).reshape(10, 785)
    with blas.one_thread():
        total = sum_of_block(stored, (rows % 10).astype(np.uint8), rows, V, 255.0)
    return sha256(total.product.tobytes() + np.float64(total.nats).tobytes()).hexdigest()[:16]


@lru_cache(maxsize=2)
def _verified(job: Job) -> Opened:
    source, folder = job.source, os.environ.get(CACHE_VARIABLE)
    split = opening.open_split(
        source.dataset, "train", data_dir=source.data_dir, cache_dir=folder, offline=True
    )
    for name, expected in job.files:
        found = split.files.get(name)
        if found != expected:
            raise MnistSoftmaxError(f"other data in {name}", expected=f"SHA-256 {expected}", got=found)
    return Opened(split, prepare(split.images, split.height, split.width, job.features))


def _items(table: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(table.items()))
