"""The checkpoint: the state of a run after an epoch, stored beside the future weights file.

A .npy file of three arrays: those of the state, stacked; the run, its history and the numbers of the state,
JSON with the receipt's types; and the SHA-256 of these two as written, which detects damage.
"""

import hashlib
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas
from mnist_softmax.errors import LocalIOError, WeightsError
from mnist_softmax.features.steps import SCALE
from mnist_softmax.files import atomic_write
from mnist_softmax.records import npy
from mnist_softmax.records.receipt import Epoch, Run, decode, encode
from mnist_softmax.training import kernel, lbfgs

#: The state of either solver.
State = kernel.State | lbfgs.State

_REMEDY = "remove it to start from the beginning"


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON of a checkpoint: the run, one entry per epoch done, and of L-BFGS what `_numbers` says."""

    run: Run
    history: list[Epoch]
    numbers: list[float]
    format: Literal[2] = 2


class Checkpoint(NamedTuple):
    """A run at the end of an epoch: the state to continue from, and one entry per epoch done."""

    state: State
    history: list[Epoch]


def save(path: Path, run: Run, checkpoint: Checkpoint) -> None:
    """Write a checkpoint.

    Raises
    ------
    UsageError, LocalIOError : see `files.atomic_write`.
    """
    state, history = checkpoint
    packed = npy.pack(_arrays(state), encode(_Head(run, history, _numbers(state))))
    with atomic_write(path) as file:
        file.write(packed + npy.pack(hashlib.sha256(packed).digest()))


def _arrays(state: State) -> NDArray[Any]:
    """V and velocity, (2, L, N + 1) float32. Of L-BFGS V, gradient and pairs, (2 + 2 P, L, N + 1) float64."""
    if isinstance(state, kernel.State):
        return np.stack([state.V, state.velocity]).astype("<f4")
    pairs = (array for pair in state.pairs for array in pair)
    return np.stack([state.best.V, state.best.gradient, *pairs]).astype("<f8")


def _is_stack(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape may be what `_arrays` makes."""
    return len(shape) == 3 and shape[0] in range(2, 3 + 2 * lbfgs.MEMORY, 2)


def _numbers(state: State) -> list[float]:
    if isinstance(state, kernel.State):
        return []
    return [state.best.cross_entropy, state.best.loss, state.length]


def _state(arrays: NDArray[Any], numbers: list[float], epoch: int) -> State:
    if arrays.dtype == np.float32:
        V, velocity = arrays.astype(np.float32)
        return kernel.State(V, velocity, SCALE, epoch)
    V, gradient, *rest = arrays.astype(np.float64)
    cross_entropy, loss, length = numbers
    best = lbfgs.Point(V.astype(np.float32), cross_entropy, loss, gradient)
    return lbfgs.State(best, SCALE, tuple(zip(rest[::2], rest[1::2], strict=True)), length, epoch)


def _can_go_on(arrays: NDArray[Any], length: float) -> bool:
    """Whether L-BFGS can go on: V is float32, each pair shows a curvature, the step is not longer than 1."""
    V, pairs = arrays[0], zip(arrays[2::2], arrays[3::2], strict=True)
    in_float32 = np.abs(V).max() <= np.finfo(np.float32).max
    with blas.one_thread():  # the very sums that L-BFGS made
        return bool(in_float32) and 0 < length <= 1 and all(np.vdot(*pair) > 0 for pair in pairs)


def discard(path: Path) -> None:
    """Remove a checkpoint, if there is one.

    Raises
    ------
    UsageError : not a regular file.
    WeightsError : the file is no checkpoint, not even a damaged one.
    LocalIOError : the system refused.
    """
    try:
        if not _is_stack(npy.first_shape(path)):
            remedy = "move it away, or save to another --out"
            raise WeightsError("not a checkpoint, so it is not removed", path, remedy=remedy)
        path.unlink()
    except FileNotFoundError:  # or another run removed it just now
        pass
    except OSError as error:
        raise LocalIOError("cannot remove", path, got=error.strerror) from error


def load(path: Path, run: Run) -> Checkpoint:
    """Read the checkpoint of `run`.

    Raises
    ------
    UsageError : there is none, or it is no regular file.
    WeightsError : it is damaged, or belongs to another run; the message names the difference.
    LocalIOError : it cannot be read.
    """
    columns, classes = run.columns + 1, len(run.class_names)

    def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
        return "" if dtype in (np.float32, np.float64) and _is_stack(shape) else "the state of a run"

    try:
        (arrays, *rest), _ = npy.read(path, check, npy.is_text, npy.is_text)
    except WeightsError as error:
        raise WeightsError("the checkpoint is damaged", got=error, remedy=_REMEDY) from error
    text, digest = (part.tobytes() for part in rest) if len(rest) == 2 else (b"", b"")
    if digest != hashlib.sha256(npy.pack(arrays, text)).digest():
        raise WeightsError("the checkpoint is damaged", path, got="a wrong SHA-256", remedy=_REMEDY)
    head = decode(text, _Head, path, "the checkpoint", _REMEDY)
    _check_same_run(head.run, run, path)
    epoch, lbfgs_run = len(head.history), run.hyperparameters.solver == "lbfgs"
    # The hash is right, so this program wrote it. Refuse even so what would end in a traceback.
    sound = (
        arrays.shape[1:] == (classes, columns)
        and np.isfinite(arrays).all()
        and [entry.epoch for entry in head.history] == list(range(1, epoch + 1))
        and 1 <= epoch <= run.hyperparameters.epochs
        and (arrays.dtype == np.float64, len(head.numbers)) == ((True, 3) if lbfgs_run else (False, 0))
        and (lbfgs_run or len(arrays) == 2)
        and all(map(math.isfinite, head.numbers))
        and (not lbfgs_run or _can_go_on(arrays, head.numbers[-1]))
    )
    if not sound:
        raise WeightsError("the checkpoint is damaged", path, got="parts that do not fit", remedy=_REMEDY)
    return Checkpoint(_state(arrays, head.numbers, epoch), head.history)


def _check_same_run(there: Run, here: Run, path: Path) -> None:
    """Refuse a checkpoint of another run, naming the attributes, settings and versions that differ."""
    differing = []
    for name in Run.__struct_fields__:
        a, b = getattr(there, name), getattr(here, name)
        if name in {"settings", "versions"}:
            keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
            differing += [(key, a.get(key), b.get(key)) for key in keys]
        elif a != b:
            differing.append((name, a, b))
    if differing:
        names, theirs, ours = zip(*differing, strict=True)
        raise WeightsError(
            f"the checkpoint belongs to another run, which differs in {', '.join(names)}",
            path,
            expected=", ".join(map(str, ours)),
            got=", ".join(map(str, theirs)),
            remedy="use the same arguments, or leave out --resume to start again",
        )
