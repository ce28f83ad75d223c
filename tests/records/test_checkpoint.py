"""The checkpoint: what was saved is read, and nothing else is ever taken for it."""

import hashlib
import itertools
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from records.made import history, run

from mnist_softmax.errors import UsageError, WeightsError
from mnist_softmax.records import npy
from mnist_softmax.records.checkpoint import Checkpoint, load, save
from mnist_softmax.records.receipt import Run, encode
from mnist_softmax.records.weights import checkpoint_path
from mnist_softmax.settings import Settings
from mnist_softmax.training.kernel import State

RUN = run(epochs=3)


def state(epoch: int = 2, seed: int = 0) -> State:
    V, velocity = np.random.default_rng(seed).normal(size=(2, 3, 5)).astype(np.float32)
    return State(V, velocity, 255.0, epoch)


def is_same(a: Any, b: Any) -> bool:
    arrays = [(c.state.V.tobytes(), c.state.velocity.tobytes()) for c in (a, b)]
    return arrays[0] == arrays[1] and a.state.epoch == b.state.epoch and a.history == b.history


SAVED: Any = Checkpoint(state(), history(2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint after two of three epochs."""
    path = checkpoint_path(tmp_path / "weights.npy")
    save(path, RUN, SAVED)
    return path


def refused(path: Path, match: str, of: Run = RUN) -> None:
    with pytest.raises(WeightsError, match=match) as caught:
        load(path, of)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert re.search("remove it|leave out --resume", str(caught.value))


def test_what_is_saved_is_loaded_and_can_be_trained_on(path: Path) -> None:
    assert path.name == "weights.npy.checkpoint"
    loaded: Any = load(path, RUN)
    assert is_same(loaded, SAVED)
    assert loaded.state.scale == 255
    loaded.state.V += 1
    loaded.state.velocity += 1
    np.testing.assert_array_equal(np.load(path), [SAVED.state.V, SAVED.state.velocity])


def test_a_checkpoint_damaged_at_any_byte_is_never_taken_for_another(path: Path) -> None:
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [0, len(whole) - 1, *rng.choice(len(whole), 200, replace=False).tolist()]
    for place, flip in zip(places, itertools.cycle([0xFF, 1, 2, 4, 8, 16, 32, 64, 128])):
        damaged = bytearray(whole)
        damaged[place] ^= flip
        path.write_bytes(damaged)
        try:
            loaded = load(path, RUN)
        except WeightsError as error:
            assert str(error).isprintable()  # noqa: PT017
        else:  # a header may say the same in other words: '=f4' for '<f4'
            assert is_same(loaded, SAVED)


@pytest.mark.parametrize("kept", [0, 7, 100, 400, -100, -1])
def test_a_checkpoint_cut_short_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError):
        load(path, RUN)


def test_what_comes_after_a_checkpoint_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="bytes after the last array"):
        load(path, RUN)


def with_hash(path: Path, arrays: Any, head: bytes) -> None:
    """A checkpoint of any parts under a hash that fits them."""
    packed = npy.pack(arrays, head)
    path.write_bytes(packed + npy.pack(hashlib.sha256(packed).digest()))


ARRAYS = np.stack([SAVED.state.V, SAVED.state.velocity])


def with_value(value: float) -> Any:
    """`ARRAYS` with `value` somewhere in the velocity."""
    arrays = ARRAYS.copy()
    arrays[1, 2, 4] = value
    return arrays


HEAD = {"run": RUN, "history": SAVED.history, "numbers": [], "format": 2}


@pytest.mark.parametrize(
    ("arrays", "changes"),
    [
        (ARRAYS[:, :2], {}),
        (ARRAYS[:, :, :4], {}),
        (ARRAYS.transpose(0, 2, 1), {}),
        (with_value(np.nan), {}),
        (with_value(np.inf), {}),
        (ARRAYS, {"history": []}),
        (ARRAYS, {"history": history(4)}),
        (ARRAYS, {"history": history(2)[::-1]}),
        (ARRAYS, {"history": history(2)[1:]}),
        (ARRAYS, {"history": [{"epoch": 1}]}),
        (ARRAYS, {"run": {}}),
        (ARRAYS, {"seconds": 1}),
    ],
)
def test_parts_that_do_not_fit_are_refused_under_a_hash_that_does(
    path: Path, arrays: Any, changes: Any
) -> None:
    with_hash(path, ARRAYS, msgspec.json.encode(HEAD))
    assert is_same(load(path, RUN), SAVED)
    with_hash(path, arrays, msgspec.json.encode({**HEAD, **changes}))
    refused(path, "the checkpoint is damaged")


@pytest.mark.parametrize(
    "arrays",
    [
        ARRAYS.astype(np.float64),
        ARRAYS.astype(np.int32),
        ARRAYS[:1],
        ARRAYS[0],
        np.stack([*ARRAYS, ARRAYS[0]]),
    ],
)
def test_other_arrays_are_refused_under_a_hash_that_fits(path: Path, arrays: Any) -> None:
    with_hash(path, arrays, msgspec.json.encode(HEAD))
    with pytest.raises(WeightsError, match="the checkpoint is damaged"):
        load(path, RUN)


LBFGS = Settings.for_features((), solver="lbfgs", epochs=3, val_size=2)
LBFGS_RUN = msgspec.structs.replace(RUN, settings=asdict(LBFGS))
#: V, the gradient, and a step that changed it by as much.
PAIR = np.concatenate([ARRAYS, ARRAYS[:1], ARRAYS[:1]]).astype(np.float64)


@pytest.mark.parametrize(
    ("signs", "numbers"),
    [
        ((1, 1, 1, -1), [0.5, 0.6, 1.0]),
        ((1, 1, 1, 0), [0.5, 0.6, 1.0]),
        ((1e300, 1, 1, 1), [0.5, 0.6, 1.0]),
        ((1, 1, 1, 1), [0.5, 0.6, -1.0]),
        ((1, 1, 1, 1), [0.5, 0.6, 0.0]),
        ((1, 1, 1, 1), [0.5, 0.6, 1e300]),
    ],
)
def test_a_state_that_lbfgs_never_has_is_refused_under_a_hash_that_fits(
    path: Path, signs: Any, numbers: Any
) -> None:
    head = {**HEAD, "run": LBFGS_RUN}
    with_hash(path, PAIR, msgspec.json.encode({**head, "numbers": [0.5, 0.6, 1.0]}))
    assert len(load(path, LBFGS_RUN).state.pairs) == 1  # type: ignore[union-attr]
    arrays = PAIR * np.reshape(signs, (4, 1, 1))
    with_hash(path, arrays, msgspec.json.encode({**head, "numbers": numbers}))
    refused(path, "the checkpoint is damaged", LBFGS_RUN)


@pytest.mark.parametrize(
    ("changes", "names", "expected", "got"),
    [
        ({"settings": {**RUN.settings, "lr": 0.3}}, "lr", "0.3", "0.2"),
        ({"settings": {**RUN.settings, "lr": 0.3, "seed": 5}}, "lr, seed", "0.3, 5", "0.2, 0"),
        ({"settings": {**RUN.settings, "epochs": 2}}, "epochs", "2", "3"),
        ({"versions": {**RUN.versions, "numpy": "1.0"}}, "numpy", "1.0", np.__version__),
        ({"rows": 17}, "rows", "17", "18"),
        ({"features": ["deskew"]}, "features", r"\['deskew'\]", r"\[\]"),
        ({"dataset": None, "data_dir": "d"}, "dataset, data_dir", "None, d", "mnist, None"),
        ({"class_names": ["a", "b"]}, "class_names", ".*", ".*"),
        ({"files": {}}, "files", "{}", ".*000.*"),
    ],
)
def test_the_checkpoint_of_another_run_names_what_differs(
    path: Path, changes: Any, names: str, expected: str, got: str
) -> None:
    other = msgspec.structs.replace(RUN, **changes)
    refused(
        path, f"belongs to another run, which differs in {names}: .*: expected {expected}, got {got}; ", other
    )


def test_a_checkpoint_that_is_missing_or_no_file_is_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "none", RUN)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a regular file"):
        load(tmp_path / "pipe", RUN)


def test_the_same_state_writes_the_same_bytes(path: Path) -> None:
    before = path.read_bytes()
    save(path, run(epochs=3), Checkpoint(state(), history(2)))
    assert path.read_bytes() == before
    assert encode(RUN) in before
