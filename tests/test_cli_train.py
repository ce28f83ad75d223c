"""``mnist-softmax train`` through its real entry point, on the built-in sample and on small folders."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import IMAGE_NAMES, LABEL_NAMES, Program, clean_environment, write_folder

from mnist_softmax import softmax, weights
from mnist_softmax.data import folder_split, one_hot, train_validation_rows
from mnist_softmax.idx import write_idx

SAMPLE = ("--dataset", "mnist-sample")


def test_train_then_eval_works_with_nothing_said(program: Program, tmp_path: Path) -> None:
    trained = program("train", *SAMPLE)
    assert trained.code == 0
    assert trained.out.startswith("weights.npy: loss ")
    assert [line.split(":")[0] for line in trained.err.splitlines()] == [
        f"epoch {n}/10" for n in range(1, 11)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.json", "weights.npy"]
    scored = program("eval")
    assert scored.code == 0
    assert "2000 test rows of mnist-sample" in scored.out
    assert float(scored.out.split()[1]) > 88


def test_json_has_the_keys_of_the_design_and_exact_figures(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    done = program(
        "train", "--data-dir", small_folder, "--epochs", 3, "--reg", 0.01, "--out", "w.npy", "--json"
    )
    facts = json.loads(done.out)
    assert set(facts) == {
        "weights",
        "weights_sha256",
        "loss",
        "train_accuracy",
        "validation_accuracy",
        "epochs",
        "seconds",
        "dataset",
    }
    assert (facts["weights"], facts["epochs"], facts["dataset"]) == ("w.npy", 3, str(small_folder))
    loaded = weights.load(tmp_path / "w.npy")
    assert facts["weights_sha256"] == loaded.sha256
    # The loss, over the rows that were trained on, by the formulas and in float64.
    split = folder_split(small_folder, "train")
    rows, held_out = train_validation_rows(300, 30, 0)
    W, B = np.split(loaded.array.astype(float), [64])
    F = softmax.logits(split.images / 255, W, B)
    Y = one_hot(split.labels, 10)
    exact = softmax.loss(split.images[rows] / 255, Y[rows], W, B, 0.01)
    assert facts["loss"] == pytest.approx(exact, rel=1e-6)
    right = F.argmax(axis=1) == split.labels
    assert facts["train_accuracy"] == pytest.approx(right[rows].mean())
    assert facts["validation_accuracy"] == pytest.approx(right[held_out].mean())


def test_the_receipt_tells_how_the_weights_were_made(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    arguments = "--lr 0.3 --reg 0.001 --epochs 4 --batch-size 50 --momentum 0.5 --schedule constant --seed 7 --val-size 20"
    program("train", "--data-dir", small_folder, *arguments.split())
    receipt = json.loads((tmp_path / "weights.json").read_text())
    assert receipt["settings"] == {
        "lr": 0.3,
        "reg": 0.001,
        "momentum": 0.5,
        "schedule": "constant",
        "epochs": 4,
        "batch_size": 50,
        "seed": 7,
        "val_size": 20,
    }
    assert receipt["data_dir"] == str(small_folder)
    assert (receipt["image_height"], receipt["image_width"], receipt["rows"]) == (8, 8, 280)
    assert receipt["class_names"] == list("0123456789")
    assert set(receipt["files"]) == {IMAGE_NAMES["train"], LABEL_NAMES["train"]}
    assert set(receipt["versions"]) == {"machine", "mnist_softmax", "python", "numpy", "blas"}
    assert [entry["epoch"] for entry in receipt["history"]] == [1, 2, 3, 4]
    assert "previous" not in receipt


def test_the_log_is_the_history_line_by_line_and_a_new_run_overwrites_it(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    for epochs in (5, 3):
        program("train", "--data-dir", small_folder, "--epochs", epochs, "--log", "log.jsonl")
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    receipt = json.loads((tmp_path / "weights.json").read_text())
    assert [json.loads(line) for line in lines] == receipt["history"]
    assert set(receipt["history"][0]) == {"epoch", "running_loss", "validation_loss", "validation_accuracy"}
    losses = [entry["running_loss"] for entry in receipt["history"]]
    assert losses == sorted(losses, reverse=True)


def test_two_runs_give_the_same_bytes_under_any_number_of_threads(program: Program, tmp_path: Path) -> None:
    kept = set()
    for threads in (None, 1, 2, 4):
        environment: Any = {"OPENBLAS_NUM_THREADS": threads} if threads else {}
        assert program("train", *SAMPLE, "--epochs", 2, **environment).code == 0
        kept.add((tmp_path / "weights.npy").read_bytes())
    assert len(kept) == 1
    program("train", *SAMPLE, "--epochs", 2, "--seed", 1)
    assert (tmp_path / "weights.npy").read_bytes() not in kept


@pytest.mark.parametrize(
    ("height", "width", "classes"), [(1, 1, 2), (5, 3, 4), (8, 8, 10), (28, 28, 47), (3, 3, 256)]
)
def test_any_image_size_and_up_to_256_classes(
    program: Program, tmp_path: Path, height: int, width: int, classes: int
) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path / "d", split, rows=600, height=height, width=width, classes=classes)
    done = program("train", "--data-dir", "d", "--val-size", 0)
    assert done.code == 0
    assert np.load(tmp_path / "weights.npy").shape == (height * width + 1, classes)
    scored = json.loads(program("eval", "--json").out)
    assert len(scored["classes"]) == classes
    assert scored["accuracy"] > 1.5 / classes


def test_no_validation_rows_are_null(program: Program, tmp_path: Path, small_folder: Path) -> None:
    done = program("train", "--data-dir", small_folder, "--val-size", 0, "--json")
    assert json.loads(done.out)["validation_accuracy"] is None
    assert "validation" not in done.err
    assert json.loads((tmp_path / "weights.json").read_text())["history"][0]["validation_loss"] is None


@pytest.mark.parametrize("rows", [1, 2, 9, 10, 127, 129])
def test_few_rows_and_batches_that_do_not_divide_them(program: Program, tmp_path: Path, rows: int) -> None:
    write_folder(tmp_path / "d", rows=rows)
    assert program("train", "--data-dir", "d", "--epochs", 2).code == 0


def test_a_run_that_diverges_is_exit_7_and_keeps_the_good_weights(program: Program, tmp_path: Path) -> None:
    program("train", *SAMPLE, "--epochs", 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    done = program("train", *SAMPLE, "--lr", "1e30")
    assert (done.code, done.out) == (7, "")
    assert "diverged" in done.error
    assert "--lr" in done.error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


WRONG_DATA: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "59 labels for 60 images": ("labels", lambda raw: raw[:4] + (59).to_bytes(4, "big") + raw[8:-1]),
    "images cut short": ("images", lambda raw: raw[:-100]),
    "a header that claims 4 billion rows": ("images", lambda raw: raw[:4] + b"\xff\xff\xff\xff" + raw[8:]),
    "no rows": ("both", lambda raw: raw[:4] + bytes(4) + (raw[8:16] if raw[3] == 3 else b"")),
    "not IDX": ("labels", lambda raw: b"hello"),
}


@pytest.mark.parametrize("fault", WRONG_DATA)
def test_wrong_data_is_exit_4_and_one_line(program: Program, tmp_path: Path, fault: str) -> None:
    write_folder(tmp_path / "d")
    which, damage = WRONG_DATA[fault]
    for name in (IMAGE_NAMES["train"], LABEL_NAMES["train"]):
        if which in name or which == "both":
            path = tmp_path / "d" / name
            path.write_bytes(damage(path.read_bytes()))
    # Data is validated before the options that depend on it.
    done = program("train", "--data-dir", "d", "--val-size", 1000)
    assert (done.code, done.out) == (4, "")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "weights.npy").exists()


# Configuration ------------------------------------------------------------------------------------------------------


def settings_of(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "weights.json").read_text())["settings"]


def test_file_environment_and_command_line_win_in_this_order(program: Program, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'dataset = "mnist-sample"\nlr = 0.1\nreg = 1\nepochs = 1\nbatch_size = 200\nmomentum = 0\nlog = "l.jsonl"\n'
    )
    done = program(
        "train",
        "--config",
        "c.toml",
        "--reg",
        "0.5",
        MNIST_SOFTMAX_TRAIN_REG="0.7",
        MNIST_SOFTMAX_TRAIN_LR="0.3",
    )
    assert done.code == 0, done.err
    settings = settings_of(tmp_path)
    assert (settings["reg"], settings["lr"], settings["batch_size"], settings["momentum"]) == (
        0.5,
        0.3,
        200,
        0,
    )
    assert (tmp_path / "l.jsonl").exists()


def test_dataset_and_data_dir_count_as_one_option(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    (tmp_path / "c.toml").write_text('dataset = "kmnist"\nepochs = 1\n')
    by_line = program("train", "--config", "c.toml", "--data-dir", small_folder, "--json")
    assert json.loads(by_line.out)["dataset"] == str(small_folder)
    environment: Any = {"MNIST_SOFTMAX_TRAIN_DATASET": "mnist-sample"}
    by_environment = program("train", "--config", "c.toml", "--json", **environment)
    assert json.loads(by_environment.out)["dataset"] == "mnist-sample"
    line_over_environment = program(
        "train", "--data-dir", small_folder, "--json", "--epochs", 1, **environment
    )
    assert json.loads(line_over_environment.out)["dataset"] == str(small_folder)


WRONG_CONFIGS = {
    "an unknown key": ("learning_rate = 0.1", "learning_rate"),
    "a dash for an underscore": ("batch-size = 10", "batch-size"),
    "a float for an integer": ("epochs = 2.7", "epochs"),
    "a whole float for an integer": ("epochs = 2.0", "epochs"),
    "a bool for an integer": ("epochs = true", "epochs"),
    "a bool for a number": ("lr = true", "lr"),
    "a string for a number": ('lr = "0.1"', "lr"),
    "a number for a string": ("schedule = 1", "schedule"),
    "a number for a flag": ("resume = 1", "resume"),
    "a list": ("lr = [0.1]", "lr"),
    "a table": ("[train]\nlr = 0.1", "train"),
    "nan": ("lr = nan", "lr"),
    "infinity": ("reg = inf", "reg"),
    "a negative rate": ("lr = -1", "lr"),
    "an integer beyond floats": (f"lr = {'9' * 400}", "lr"),
    "an unknown choice": ('schedule = "linear"', "schedule"),
    "an unknown dataset": ('dataset = "cifar"', "dataset"),
    "a config in the config": ('config = "other.toml"', "config"),
    "a path with a NUL": ('out = "a\\u0000b"', "out"),
    "no TOML": ("lr 0.1", "TOML"),
    "a key twice": ("lr = 0.1\nlr = 0.2", "TOML"),
}


@pytest.mark.parametrize("fault", WRONG_CONFIGS)
def test_a_wrong_config_is_exit_2_and_names_the_key(program: Program, tmp_path: Path, fault: str) -> None:
    text, name = WRONG_CONFIGS[fault]
    (tmp_path / "c.toml").write_text(f"{text}\n")
    done = program("train", "--config", "c.toml", *SAMPLE)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert name in done.err.replace("c.toml", "")
    assert "c.toml" in done.err


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 5000, b"a." * 5000 + b"b=1", b"#" * (1 << 21)])
def test_a_hostile_config_is_exit_2(program: Program, tmp_path: Path, content: Any) -> None:
    (tmp_path / "c.toml").write_bytes(content)
    done = program("train", "--config", "c.toml")
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_every_option_can_stand_in_a_config(program: Program, tmp_path: Path, small_folder: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'data_dir = "{small_folder.as_posix()}"\ncache_dir = "c"\noffline = true\nlr = 1\nreg = 0\nepochs = 1\n'
        'batch_size = 10\nmomentum = 0\nschedule = "constant"\nseed = 3\nval_size = 5\nout = "x.npy"\n'
        'log = "x.jsonl"\nresume = true\njson = true\n'
    )
    done = program("train", "--config", "c.toml")
    assert done.code == 0, done.err
    assert json.loads(done.out)["weights"] == "x.npy"


# Resume -------------------------------------------------------------------------------------------------------------

LONG = (*SAMPLE, "--epochs", "60", "--log", "log.jsonl", "--val-size", "2000")


def outcome(folder: Path) -> Any:
    """What a run left, but for times and versions of the clock."""
    receipt = json.loads((folder / "weights.json").read_text())
    del receipt["seconds"]
    return (folder / "weights.npy").read_bytes(), receipt, (folder / "log.jsonl").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_resumed_run_equals_an_uninterrupted_one(program: Program, tmp_path: Path, number: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    assert program("train", *LONG, cwd=whole).code == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_softmax", "train", *LONG],
        cwd=tmp_path,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while not process.stderr.readline().startswith("epoch 20/"):
        pass
    process.send_signal(number)
    process.communicate(timeout=20)
    assert not (tmp_path / "weights.npy").exists()
    assert (tmp_path / "weights.npy.checkpoint").exists()
    refused = program("train", *LONG, "--lr", "0.1", "--resume")
    assert refused.code == 6
    assert '"lr": 0.1' in refused.error
    resumed = program("train", *LONG, "--resume")
    assert resumed.code == 0, resumed.err
    assert "epoch 1/" not in resumed.err
    assert outcome(tmp_path) == outcome(whole)
    assert not (tmp_path / "weights.npy.checkpoint").exists()


def test_resume_without_a_checkpoint_starts_from_the_beginning_and_says_so(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    done = program("train", "--data-dir", small_folder, "--resume")
    assert done.code == 0
    assert "warning: no checkpoint" in done.err


def test_a_damaged_checkpoint_is_exit_6_with_resume_and_discarded_without(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    checkpoint = tmp_path / "weights.npy.checkpoint"
    for content in (b"", b"rubbish", b"{}\n", b"[" * 10_000):
        checkpoint.write_bytes(content)
        done = program("train", "--data-dir", small_folder, "--resume")
        assert done.code == 6
        assert done.err.count("\n") == 1
        assert checkpoint.read_bytes() == content
    assert program("train", "--data-dir", small_folder).code == 0
    assert not checkpoint.exists()


@pytest.mark.parametrize("key", ["run", "epoch", "history", "shape"])
@pytest.mark.parametrize("value", [None, 7, "a", [], {}, [{}, {}], [[], []]])
def test_a_checkpoint_whose_hash_is_right_and_whose_parts_are_not_is_exit_6(
    tmp_path: Path, key: str, value: Any
) -> None:
    from mnist_softmax import checkpoint
    from mnist_softmax.errors import WeightsError
    from mnist_softmax.train import initial_state

    run = {"image_height": 1, "image_width": 1, "class_names": ["0", "1"], "settings": {"epochs": 3}}
    state = initial_state(1, 2)
    state.epoch = 2
    entries = [{"epoch": n, "running_loss": 1.0, "validation_accuracy": None} for n in (1, 2)]
    path = tmp_path / "w.npy.checkpoint"
    checkpoint.save(path, checkpoint.Checkpoint(run, state, entries))
    assert checkpoint.load(path, run) is not None
    line, _, body = path.read_bytes().partition(b"\n")
    head = json.loads(line) | {key: value}
    del head["sha256"]
    head["sha256"] = checkpoint._digest(head, body)
    path.write_bytes(json.dumps(head).encode() + b"\n" + body)
    with pytest.raises(WeightsError, match="damaged"):
        checkpoint.load(path, run)


def test_a_log_that_cannot_be_written_is_exit_5(program: Program, tmp_path: Path, small_folder: Path) -> None:
    full = "/dev/full"
    if not Path(full).exists():
        pytest.skip("this system has no /dev/full")
    done = program("train", "--data-dir", small_folder, "--log", full)
    assert done.code in {2, 5}
    assert "Traceback" not in done.err
    assert not (tmp_path / "weights.npy").exists()


def test_the_sample_trains_in_a_moment(program: Program) -> None:
    started = time.monotonic()
    assert program("train", *SAMPLE).code == 0
    assert time.monotonic() - started < 6


def test_labels_above_nine_are_classes_too(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    _images, labels = write_folder(folder)
    with open(folder / LABEL_NAMES["train"], "wb") as file:
        write_idx(file, labels + 246)
    assert program("train", "--data-dir", "d").code == 0
    assert np.load(tmp_path / "weights.npy").shape == (65, 256)
