"""The checkpoint: the end of an epoch of a run under way, beside the weights that it will become.

One file: a line of JSON, then V and velocity as little-endian float32. The line holds the SHA-256 of all that
follows and of itself without that hash, so a damaged checkpoint is never taken for a good one.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_softmax.errors import UsageError, WeightsError
from mnist_softmax.files import atomic_write
from mnist_softmax.train import State

_FORMAT = "mnist-softmax checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """A run at the end of an epoch.

    Attributes
    ----------
    run : what must be the same for the run to be resumed: arguments, hashes of the data, versions. JSON.
    state : where the trainer goes on.
    history : one JSON object per epoch done; the log is written again from it.
    """

    run: dict[str, Any]
    state: State
    history: list[dict[str, Any]]


def checkpoint_path(weights: Path) -> Path:
    """The checkpoint's place: the weights' name with ``.checkpoint`` added."""
    return weights.with_name(weights.name + ".checkpoint")


def _digest(head: dict[str, Any], body: bytes) -> str:
    return hashlib.sha256(json.dumps(head, sort_keys=True).encode() + body).hexdigest()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint.

    Raises
    ------
    LocalIOError : see `files.atomic_write`.
    """
    state = checkpoint.state
    body = state.V.astype("<f4").tobytes() + state.velocity.astype("<f4").tobytes()
    head = {
        "format": _FORMAT,
        "epoch": state.epoch,
        "shape": list(state.V.shape),
        "run": checkpoint.run,
        "history": checkpoint.history,
    }
    head["sha256"] = _digest(head, body)
    with atomic_write(path) as file:
        file.write(json.dumps(head, allow_nan=False).encode() + b"\n" + body)


def load(path: Path, run: dict[str, Any]) -> Checkpoint | None:
    """Read the checkpoint of `run`; None where there is none.

    Raises
    ------
    WeightsError : it is damaged, or it is of another run; the difference is named.
    OSError : it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise UsageError("not a file", path) from error
    try:
        found = _parse(data)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise WeightsError(
            "the checkpoint is damaged", path, got=str(error)[:100], remedy="remove it, or leave out --resume"
        ) from error
    for key in sorted(run.keys() | found.run.keys()):
        if run.get(key) != found.run.get(key):
            raise WeightsError(
                f"the checkpoint is of another run: its {key} differs",
                path,
                expected=json.dumps(run.get(key)),
                got=json.dumps(found.run.get(key)),
                remedy="repeat its arguments, or leave out --resume to start again",
            )
    return found


def _parse(data: bytes) -> Checkpoint:
    line, _, body = data.partition(b"\n")
    head = json.loads(line)
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise ValueError("no checkpoint")
    if head.pop("sha256", None) != _digest(head, body):
        raise ValueError("its hash differs")
    V, velocity = np.frombuffer(body, "<f4").astype(np.float32).reshape(2, *head["shape"])
    run, epoch, history = head["run"], head["epoch"], head["history"]
    # The hash holds, so this program wrote it. What would end in a traceback is refused all the same.
    sound = (
        head["shape"] == [len(run["class_names"]), run["image_height"] * run["image_width"] + 1]
        and np.isfinite(V).all()
        and np.isfinite(velocity).all()
        and isinstance(epoch, int)
        and 1 <= epoch <= run["settings"]["epochs"]
        and [entry["epoch"] for entry in history] == list(range(1, epoch + 1))
        and all("validation_accuracy" in entry and _is_finite(entry.values()) for entry in history)
    )
    if not sound:
        raise ValueError("its parts do not fit each other")
    return Checkpoint(run, State(V, velocity, epoch), history)


def _is_finite(values: Iterable[Any]) -> bool:
    return all(value is None or math.isfinite(value) for value in values)
