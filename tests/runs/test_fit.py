"""A whole run without the command line: scores, log, checkpoint, and what stops it."""

import errno
import json
import math
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest
from conftest import write_folder
from runs.made import make_split, never, receipt_of

from mnist_softmax import softmax
from mnist_softmax.data.open import open_split
from mnist_softmax.data.split import Split, one_hot, train_validation_rows
from mnist_softmax.errors import DataError, GateError, LocalIOError, UsageError, WeightsError
from mnist_softmax.features import prepare
from mnist_softmax.records.receipt import Epoch
from mnist_softmax.records.weights import checkpoint_path
from mnist_softmax.runs import fit as fit_module
from mnist_softmax.runs.fit import fit, train
from mnist_softmax.runs.model import Model, load
from mnist_softmax.settings import Settings

SPLIT = make_split()
SETTINGS = Settings(lr=0.1, epochs=4, batch_size=32, seed=3)
LBFGS = Settings.for_features((), solver="lbfgs", epochs=4, seed=3)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights go; a checkpoint is written after every epoch."""
    monkeypatch.setattr(fit_module, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    return tmp_path / "weights.npy"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def scored(model: Model, split: Split, rows: Any) -> tuple[float, float]:
    """Cross-entropy and accuracy of some rows by the formulas of `softmax`, in float64."""
    W, B = np.split(model.array.astype(float), [len(model.array) - 1])
    F = softmax.logits(split.images[rows] / 255, W, B)
    right = F.argmax(axis=1) == split.labels[rows]
    return softmax.cross_entropy(F, one_hot(split.labels[rows], len(B[0]))), float(right.mean())


# What is found out ------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_formulas_on_the_right_rows() -> None:
    model = fit(SPLIT, SETTINGS)
    receipt = receipt_of(model)
    rows, held_out = train_validation_rows(300, 30, SETTINGS.seed)
    loss, accuracy = scored(model, SPLIT, rows)
    penalty = softmax.penalty(model.array[:-1].astype(float), SETTINGS.reg)
    assert (receipt.rows, receipt.settings["val_size"]) == (270, 30)
    assert receipt.loss == pytest.approx(loss + penalty, rel=1e-6)
    assert receipt.train_accuracy == accuracy
    last = receipt.history[-1]
    assert (last.validation_loss, last.validation_accuracy) == pytest.approx(scored(model, SPLIT, held_out))
    assert receipt.validation_accuracy == last.validation_accuracy
    assert [entry.epoch for entry in receipt.history] == [1, 2, 3, 4]
    losses = [entry.running_loss for entry in receipt.history]
    assert losses == sorted(losses, reverse=True)
    assert math.log(7) > losses[0] > losses[-1] > loss


def test_the_first_epoch_of_many_is_scored_as_the_only_one_is() -> None:
    """Every entry of the history is of the end of its epoch."""
    constant = Settings(lr=0.1, schedule="constant", batch_size=32, epochs=1)
    (alone,) = receipt_of(fit(SPLIT, constant)).history
    (longer, *_) = receipt_of(fit(SPLIT, replace(constant, epochs=3))).history
    assert longer == alone


def test_without_validation_rows_there_are_no_validation_figures() -> None:
    receipt = receipt_of(train(SPLIT, epochs=2, val_size=0))
    assert receipt.rows == 300
    assert receipt.validation_accuracy is None
    assert {(entry.validation_loss, entry.validation_accuracy) for entry in receipt.history} == {(None, None)}


def test_the_receipt_says_what_the_run_was_given(small_folder: Path) -> None:
    split = open_split(data_dir=small_folder)
    receipt = receipt_of(fit(split, Settings(epochs=2, lr=0.05), ("deskew",)))
    assert receipt.source == split.source
    assert (receipt.dataset, receipt.data_dir) == (None, str(small_folder))
    assert receipt.files == split.files
    assert (receipt.image_height, receipt.image_width, receipt.rows) == (8, 8, 270)
    assert receipt.class_names == list(split.class_names)
    assert receipt.features == ["deskew"]
    assert receipt.hyperparameters == Settings(epochs=2, lr=0.05, val_size=30)


def test_the_built_in_sample_is_learned() -> None:
    sample = open_split("mnist-sample")
    chains = ((), ("deskew",), ("deskew", "directions"))
    plain, deskewed, directed = (receipt_of(train(sample, epochs=3, features=chain)) for chain in chains)
    assert 0.85 < (plain.validation_accuracy or 0) < (deskewed.validation_accuracy or 0)
    assert 0.85 < plain.train_accuracy < 0.92 < deskewed.train_accuracy < 0.97 < directed.train_accuracy
    assert (directed.hyperparameters.lr, directed.hyperparameters.reg) == (4, 1e-6)
    assert (plain.hyperparameters.lr, deskewed.hyperparameters.reg) == (0.2, 1e-4)


def test_train_is_fit_with_settings_by_name() -> None:
    by_name = train(SPLIT, lr=0.1, epochs=4, batch_size=np.int64(32), seed=3)
    np.testing.assert_array_equal(by_name.array, fit(SPLIT, SETTINGS).array)
    assert by_name.receipt == fit(SPLIT, SETTINGS).receipt
    with pytest.raises(TypeError, match="learning_rate"):
        train(SPLIT, learning_rate=0.1)
    with pytest.raises(UsageError, match="wrong value of lr"):
        train(SPLIT, lr="fast")


@pytest.mark.parametrize("features", [(), ("deskew",), ("deskew", "directions")])
def test_features_in_a_file_train_the_same_weights(
    out: Path, monkeypatch: pytest.MonkeyPatch, features: Any
) -> None:
    in_memory = fit(SPLIT, SETTINGS, features)
    monkeypatch.setattr(prepare, "MOST_IN_MEMORY", 0)
    temporary = Mock(wraps=tempfile.TemporaryFile)
    monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    np.testing.assert_array_equal(fit(SPLIT, SETTINGS, features, out=out).array, in_memory.array)
    assert temporary.call_args_list == ([call(dir=out.parent)] if features else [])
    assert names(out.parent) == ["weights.npy"]


# What is written --------------------------------------------------------------------------------------------


def test_without_a_place_nothing_is_written(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out.parent)
    model = fit(SPLIT, SETTINGS)
    assert (model.path, model.sha256) == (None, "")
    assert names(out.parent) == []


def test_a_finished_run_leaves_its_weights_and_its_log(out: Path) -> None:
    log = out.with_name("log")
    seen: list[Any] = []
    counted: list[int] = []
    model = fit(SPLIT, SETTINGS, out=out, log=log, on_epoch=seen.append, on_rows=counted.append)
    assert names(out.parent) == ["log", "weights.npy"]
    assert load(out).receipt == model.receipt == fit(SPLIT, SETTINGS).receipt
    assert (load(out).sha256, load(out).path) == (model.sha256, model.path)
    assert seen == receipt_of(model).history
    assert sum(counted) == 4 * 270
    assert [json.loads(line) for line in log.read_text().splitlines()] == [
        {
            "epoch": entry.epoch,
            "running_loss": entry.running_loss,
            "validation_loss": entry.validation_loss,
            "validation_accuracy": entry.validation_accuracy,
        }
        for entry in seen
    ]
    assert log.read_bytes().endswith(b"}\n")


def test_the_same_run_writes_the_same_bytes(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(SPLIT, SETTINGS, out=out)
    first = out.read_bytes()
    monkeypatch.undo()  # how often a checkpoint is written makes no difference
    fit(make_split(), replace(SETTINGS, val_size=30), [], out=out)
    assert out.read_bytes() == first


# Stop and go on ---------------------------------------------------------------------------------------------


class Kill(BaseException):
    """Nothing in the program catches it."""


def stop_in(epoch: int, error: BaseException) -> Any:
    """Callbacks for `fit` that stop it in an epoch, before its last rows, or at the end of it."""
    passed = [0]

    def on_rows(rows: int) -> None:
        passed[0] += rows
        if passed[0] >= 270 * epoch:
            raise error

    return {"on_rows": on_rows}


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143), Kill()])
@pytest.mark.parametrize("epoch", [2, 3, 4])
@pytest.mark.parametrize("settings", [SETTINGS, LBFGS], ids=["sgd", "lbfgs"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    out: Path, settings: Settings, epoch: int, stop: BaseException
) -> None:
    log = out.with_name("log")
    fit(SPLIT, settings, ("deskew",), out=out, log=log)
    whole, whole_log = out.read_bytes(), log.read_bytes()
    out.unlink()
    with pytest.raises(type(stop)):
        fit(SPLIT, settings, ("deskew",), out=out, log=log, **stop_in(epoch, stop))
    assert names(out.parent) == ["log", "weights.npy.checkpoint"]
    assert log.read_bytes() == b"".join(whole_log.splitlines(keepends=True)[: epoch - 1])
    counted: list[int] = []
    fit(
        SPLIT,
        settings,
        ("deskew",),
        out=out,
        log=log,
        resume=True,
        on_rows=counted.append,
        notify=never,
    )
    assert sum(counted) == 270 * (5 - epoch)
    assert (out.read_bytes(), log.read_bytes()) == (whole, whole_log)
    assert names(out.parent) == ["log", "weights.npy"]


def test_a_run_may_be_stopped_after_each_epoch(out: Path) -> None:
    fit(SPLIT, SETTINGS, out=out)
    whole = out.read_bytes()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            fit(SPLIT, SETTINGS, out=out, resume=True, **stop_in(2, KeyboardInterrupt()))
    assert out.read_bytes() == whole  # the old weights stay until there are new ones
    fit(SPLIT, SETTINGS, out=out, resume=True, **stop_in(2, KeyboardInterrupt()))
    assert out.read_bytes() == whole
    assert names(out.parent) == ["weights.npy"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)])
def test_a_stop_between_two_checkpoints_keeps_the_last_epoch(tmp_path: Path, stop: BaseException) -> None:
    """The interval has not passed yet: only the stop makes the checkpoint."""
    out = tmp_path / "weights.npy"
    with pytest.raises(type(stop)):
        fit(SPLIT, SETTINGS, out=out, **stop_in(4, stop))
    assert np.load(checkpoint_path(out)).shape == (2, 7, 31)
    counted: list[int] = []
    fit(SPLIT, SETTINGS, out=out, resume=True, on_rows=counted.append)
    assert sum(counted) == 270
    assert load(out).receipt == fit(SPLIT, SETTINGS).receipt


@pytest.mark.parametrize(("before", "after"), [(SETTINGS, LBFGS), (LBFGS, SETTINGS)])
def test_a_run_does_not_go_on_with_the_other_solver(out: Path, before: Settings, after: Settings) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(SPLIT, before, out=out, **stop_in(3, KeyboardInterrupt()))
    with pytest.raises(WeightsError, match=r"another run, which differs in .*solver"):
        fit(SPLIT, after, out=out, resume=True)
    fit(SPLIT, before, out=out, resume=True)


def test_lbfgs_that_needs_fewer_passes_than_allowed_is_saved_and_read_again(out: Path) -> None:
    settings = Settings.for_features((), solver="lbfgs", reg=0.1, epochs=1000)
    counted: list[int] = []
    made = receipt_of(fit(SPLIT, settings, out=out, on_rows=counted.append))
    assert len(made.history) < 200
    assert sum(counted) == 270 * len(made.history)
    assert load(out).receipt == made
    assert made.history[-1].running_loss + 0.05 * float((load(out).array[:-1] ** 2).sum()) == pytest.approx(
        made.loss, rel=1e-6
    )


def test_a_stop_in_the_first_epoch_leaves_nothing(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(SPLIT, SETTINGS, out=out, **stop_in(1, KeyboardInterrupt()))
    assert names(out.parent) == []


def test_with_nothing_to_resume_training_starts_and_says_so(out: Path) -> None:
    said: list[str] = []
    fit(SPLIT, SETTINGS, out=out, resume=True, notify=said.append)
    assert said == [
        f"no checkpoint to resume from: {checkpoint_path(out)}; training starts from the beginning"
    ]
    assert load(out).receipt == fit(SPLIT, SETTINGS).receipt


def test_without_resume_an_old_checkpoint_is_discarded_and_both_are_said(out: Path) -> None:
    path = checkpoint_path(out)
    said: list[str] = []
    for epoch, left in ((3, [path.name]), (1, [])):
        with pytest.raises(KeyboardInterrupt):
            fit(SPLIT, SETTINGS, out=out, notify=said.append, **stop_in(epoch, KeyboardInterrupt()))
        assert names(out.parent) == left
    assert said == [
        f"stopped; --resume goes on from epoch 2: {path}",
        f"discarded the checkpoint of an interrupted run, which --resume continues: {path}",
    ]


def test_the_checkpoint_of_another_run_is_kept_and_named(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(SPLIT, SETTINGS, out=out, **stop_in(3, KeyboardInterrupt()))
    before = checkpoint_path(out).read_bytes()
    log = out.with_name("log")
    log.write_text("what was written before\n")
    for split, settings, features, differing in (
        (SPLIT, replace(SETTINGS, lr=0.3), (), "which differs in lr"),
        (SPLIT, SETTINGS, ("deskew",), "which differs in features"),
        (make_split(height=5, width=6), SETTINGS, (), "which differs in image_height, image_width"),
    ):
        with pytest.raises(WeightsError, match=differing):
            fit(split, settings, features, out=out, log=log, resume=True, on_rows=never)
    assert checkpoint_path(out).read_bytes() == before
    assert log.read_text() == "what was written before\n"
    fit(SPLIT, SETTINGS, out=out, resume=True)
    assert load(out).receipt == fit(SPLIT, SETTINGS).receipt


# What goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "epoch"),
    [
        ({"lr": 1e30, "epochs": 3}, 1),
        ({"lr": 3e38, "epochs": 3}, 1),
        ({"lr": 1e200, "reg": 1e200}, 1),
        ({"lr": 1e4, "reg": 1, "momentum": 0, "schedule": "constant", "epochs": 50}, 4),
        ({"lr": 0.02, "reg": 1000, "momentum": 0, "schedule": "constant", "epochs": 50}, 11),
        # One step after which the weights are finite and their logits are not.
        ({"lr": 1e37, "epochs": 1, "batch_size": 300}, 1),
        ({"lr": 1e37, "epochs": 1, "batch_size": 300, "val_size": 0}, 1),
    ],
)
def test_a_run_that_diverges_says_when_and_leaves_no_weights(out: Path, settings: Any, epoch: int) -> None:
    log = out.with_name("log")
    with pytest.raises(
        GateError, match=f"training diverged: epoch {epoch}: expected a finite loss"
    ) as caught:
        fit(SPLIT, Settings(**settings), out=out, log=log)
    assert f"try --lr below {settings['lr']:g}" in str(caught.value)
    assert names(out.parent) == ["log"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    finite = epoch if settings.get("val_size") == 0 else epoch - 1  # then the last loss alone is not
    assert [line["epoch"] for line in lines] == list(range(1, finite + 1))
    assert all(math.isfinite(line["running_loss"]) for line in lines)


def test_a_run_that_diverges_leaves_the_old_weights(out: Path) -> None:
    fit(SPLIT, SETTINGS, out=out)
    before = out.read_bytes()
    with pytest.raises(GateError):
        fit(SPLIT, Settings(lr=1e30), out=out)
    assert out.read_bytes() == before
    assert names(out.parent) == ["weights.npy"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"settings": Settings(val_size=300)}, "no rows left to train on"),
        ({"features": ("sharpen",)}, "wrong features"),
        ({"features": ("deskew", "deskew")}, "wrong features"),
        ({"out": Path("missing/weights.npy")}, "no such folder"),
        ({"out": Path()}, "not a regular file"),
        ({"out": Path("/dev/null")}, "not a regular file"),
    ],
)
def test_what_cannot_work_is_refused_before_any_training(
    out: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, reason: str
) -> None:
    monkeypatch.chdir(out.parent)
    with pytest.raises(UsageError, match=reason):
        fit(SPLIT, **{"settings": SETTINGS, **arguments}, on_rows=never)
    assert names(out.parent) == []


def test_a_checkpoint_that_cannot_be_written_stops_the_run(out: Path) -> None:
    checkpoint_path(out).mkdir()
    with pytest.raises(UsageError, match="not a regular file"):
        fit(SPLIT, SETTINGS, out=out, on_rows=never)


def test_a_log_that_cannot_be_written_stops_the_run(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        fit(SPLIT, SETTINGS, out=out, log=out.parent, on_rows=never)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LocalIOError, match=r"cannot write the log: .*log: got No space left on device"):
        fit(SPLIT, SETTINGS, out=out, log=out.with_name("log"))
    assert not out.exists()


@pytest.mark.parametrize("change", ["written", "touched", "replaced", "removed"])
def test_data_that_is_changed_during_the_run_is_found(change: str, out: Path) -> None:
    write_folder(out.parent / "d", rows=50)
    images = out.parent / "d" / "train-images-idx3-ubyte"
    content = images.read_bytes()

    def disturb(entry: Epoch) -> None:
        if entry.epoch == 1 and change == "written":
            with images.open("r+b") as file:
                file.seek(-64, os.SEEK_END)
                file.write(bytes(64))
        elif entry.epoch == 1 and change != "touched":
            images.unlink()
            if change == "replaced":
                images.write_bytes(content[:-1] + b"x")
        os.utime(images if images.exists() else out.parent, (1, 1))

    split = open_split(data_dir=out.parent / "d")
    if change == "written":
        with pytest.raises(DataError, match=r"the file was changed while it was in use: .*images-idx3"):
            fit(split, SETTINGS, out=out, on_epoch=disturb)
        assert not out.exists()
    else:
        fit(split, SETTINGS, out=out, on_epoch=disturb)
        assert out.exists()


def test_a_failed_save_keeps_the_checkpoint(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full at the end, the work is not lost: the run can be resumed."""
    real, target = os.replace, out.resolve()

    def fail_for_weights(source: Any, destination: Any) -> None:
        if Path(destination) == target:
            raise OSError(28, "No space left on device")
        real(source, destination)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_for_weights)
        with pytest.raises(LocalIOError, match="No space left"):
            fit(SPLIT, SETTINGS, out=out)
    assert names(out.parent) == ["weights.npy.checkpoint"]
    counted: list[int] = []
    fit(SPLIT, SETTINGS, out=out, resume=True, on_rows=counted.append)
    assert counted == []
    assert load(out).receipt == fit(SPLIT, SETTINGS).receipt
