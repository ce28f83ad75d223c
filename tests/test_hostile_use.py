"""Uses that once lost a file, hung or ended in a traceback: each is one line and the right exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Program, clean_environment

SAMPLE = ("--dataset", "mnist-sample")


@pytest.fixture
def trained(program: Program, tmp_path: Path) -> Path:
    assert program("train", *SAMPLE, "--epochs", 1, "--out", "w.npy").code == 0
    return tmp_path / "w.npy"


@pytest.mark.parametrize("target", ["w.npy", "w.json"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("train", *SAMPLE, "--lr", "1e30", "--out", "w.npy", "--log"),
        ("eval", "w.npy", "--predictions"),
        ("compare", "w.npy", "w.npy", "--differences"),
    ],
)
def test_no_output_takes_the_place_of_the_weights_or_their_receipt(
    program: Program, trained: Path, target: str, arguments: tuple[str, ...]
) -> None:
    before = [trained.read_bytes(), trained.with_suffix(".json").read_bytes()]
    done = program(*arguments, target)
    assert (done.code, done.out) == (2, "")
    assert "part of the weights" in done.error
    assert [trained.read_bytes(), trained.with_suffix(".json").read_bytes()] == before


@pytest.mark.parametrize(
    "changes",
    [
        {"history": [1]},
        {"history": [{}]},
        {"history": [{"epoch": "x", "running_loss": 1.0}]},
        {"history": [{"epoch": 1, "running_loss": 10**400}]},
        {"versions": [1]},
        {"loss": None},
        {"rows": "x"},
        {"train_accuracy": "x"},
    ],
)
def test_a_receipt_with_damaged_figures_is_refused_by_every_command(
    program: Program, trained: Path, changes: dict[str, object]
) -> None:
    receipt = trained.with_suffix(".json")
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), **changes}))
    for command in ("report", "eval"):
        done = program(command, "w.npy")
        assert done.code == 6
        assert "the receipt is damaged" in done.error


def test_weights_that_overflow_are_exit_6_in_predict_too(program: Program, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.full((28, 28), 255, np.uint8)
    pixels[5:22, 13:16] = 0
    image.fromarray(pixels).save(tmp_path / "one.png")
    np.save(tmp_path / "big.npy", np.full((785, 10), 3e38, np.float32))
    done = program("predict", "--weights", "big.npy", "one.png")
    assert (done.code, done.out) == (6, "")


def test_a_closed_stdin_is_an_image_that_cannot_be_read(tmp_path: Path, trained: Path) -> None:
    pytest.importorskip("PIL")
    done = subprocess.run(
        f'"{sys.executable}" -m mnist_softmax predict --weights w.npy - <&-',
        shell=True,
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)


def test_a_loop_of_links_a_pipe_and_a_folder_are_named(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    assert program("train", *SAMPLE, "--out", "loop.npy").code == 5
    assert program("eval", "w.npy/x.npy").code == 2
    assert program("train", "--config", tmp_path).code == 2
    receipt = trained.with_suffix(".json")
    receipt.unlink()
    os.mkfifo(receipt)
    assert program("eval", "w.npy", timeout=20).code == 6
    (tmp_path / "data").mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        os.mkfifo(tmp_path / "data" / name)
    assert program("train", "--data-dir", "data", timeout=20).code == 4
    assert program("train", *SAMPLE, "--epochs", 10**309).code == 2


def test_weights_of_another_number_of_classes_than_the_dataset_has(program: Program, tmp_path: Path) -> None:
    np.save(tmp_path / "w47.npy", np.zeros((785, 47), np.float32))
    done = program("eval", "w47.npy", *SAMPLE)
    assert (done.code, done.out) == (6, "")
    assert "expected 10 classes, got 47" in done.error


def test_json_is_set_under_its_own_name(program: Program, trained: Path, tmp_path: Path) -> None:
    assert json.loads(program("eval", "w.npy", MNIST_SOFTMAX_EVAL_JSON=1).out)["rows"] == 2000
    (tmp_path / "c.toml").write_text('dataset = "mnist-sample"\nepochs = 1\njson = true\n')
    assert json.loads(program("train", "--config", "c.toml").out)["epochs"] == 1
    done = program(
        "download", "--dataset", "kmnist", "--offline", MNIST_SOFTMAX_DOWNLOAD_FROM=tmp_path / "none"
    )
    assert done.code == 2


def test_a_full_stdout_matters_more_than_a_missed_gate(trained: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    command = [sys.executable, "-m", "mnist_softmax", "eval", "w.npy", "--min-accuracy", "0.99"]
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run(
            command,
            cwd=trained.parent,
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("mnist-softmax: error: cannot write: stdout")


def test_a_warning_is_one_line_whatever_the_path_holds(program: Program, trained: Path) -> None:
    for suffix in (".npy", ".json"):
        trained.with_suffix(suffix).rename(trained.with_name(f"a\nb{suffix}"))
    done = program("eval", "a\nb.npy", "--dataset", "mnist", "--offline")
    assert all(line.startswith("mnist-softmax: ") for line in done.err.splitlines())
