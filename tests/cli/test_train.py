"""``mnist-softmax train`` on the built-in sample and on small folders: figures, config, log, resume."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import receipt_of
from cli.streams import run_on_terminal
from conftest import IMAGE_NAMES, LABEL_NAMES, Program, clean_environment, run_here, write_folder

from mnist_softmax import softmax
from mnist_softmax.data.folder import folder_split
from mnist_softmax.data.idx import write_idx
from mnist_softmax.data.split import one_hot, train_validation_rows
from mnist_softmax.records.receipt import Receipt
from mnist_softmax.runs.model import load
from mnist_softmax.settings import SETTINGS

SAMPLE = ("--dataset", "mnist-sample")


@pytest.fixture
def receipt(tmp_path: Path) -> Callable[[], Receipt]:
    """What the receipt in weights.npy says by now."""
    return lambda: receipt_of(tmp_path / "weights.npy")


def test_train_then_eval_works_with_nothing_said(program: Program, tmp_path: Path) -> None:
    trained = program("train", *SAMPLE)
    assert trained.code == 0
    assert trained.out.startswith("weights.npy: loss ")
    assert [line.split(":")[0] for line in trained.err.splitlines()] == [
        f"epoch {n}/10" for n in range(1, 11)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.npy"]
    scored = program("eval")
    assert scored.code == 0
    assert "2000 test rows of mnist-sample" in scored.out
    assert float(scored.out.split()[1]) > 88


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_on_a_terminal_the_run_ends_with_sparklines(tmp_path: Path, small_folder: Path) -> None:
    arguments = ("train", "--data-dir", small_folder, "--epochs")
    seen = run_on_terminal(*arguments, 3, cwd=tmp_path, stream="stderr")
    assert [line.split(" ")[0] for line in seen.beside.splitlines()] == ["weights.npy:"]
    assert "\x1b[38" not in seen.terminal
    last = seen.lines[-3:]
    assert [line[:21].rstrip() for line in last] == [
        *("training loss", "validation loss", "validation accuracy"),
    ]
    assert all(len(re.findall("[▁▂▃▄▅▆▇█]{3}", line)) == 1 for line in last)
    history = load(tmp_path / "weights.npy").receipt.history  # type: ignore[union-attr]
    assert f"{history[0].running_loss:#.4g} to {history[2].running_loss:#.4g}" in last[0]
    one = run_on_terminal(*arguments, 1, cwd=tmp_path, stream="stderr")
    assert "training loss" not in one.terminal


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
    loaded = load(tmp_path / "w.npy")
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
    program: Program, small_folder: Path, receipt: Callable[[], Receipt]
) -> None:
    arguments = "--lr 0.3 --reg 0.001 --epochs 4 --batch-size 50 --momentum 0.5 --schedule constant --seed 7"
    program("train", "--data-dir", small_folder.name, *arguments.split(), "--val-size", 20)
    made = receipt()
    assert made.settings == {
        "lr": 0.3,
        "reg": 0.001,
        "momentum": 0.5,
        "schedule": "constant",
        "epochs": 4,
        "batch_size": 50,
        "seed": 7,
        "val_size": 20,
        "solver": "sgd",
    }
    assert (made.dataset, made.data_dir) == (None, small_folder.name), "as it was given"
    assert (made.image_height, made.image_width, made.rows) == (8, 8, 280)
    assert made.class_names == list("0123456789")
    assert set(made.files) == {IMAGE_NAMES["train"], LABEL_NAMES["train"]}
    assert set(made.versions) == {"machine", "mnist_softmax", "python", "numpy", "blas"}
    assert [entry.epoch for entry in made.history] == [1, 2, 3, 4]


def test_the_log_is_the_history_line_by_line_and_a_new_run_overwrites_it(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    for epochs in (5, 3):
        program("train", "--data-dir", small_folder, "--epochs", epochs, "--log", "log.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == json.loads(program("info", "weights.npy", "--json").out)["history"]
    assert set(lines[0]) == {"epoch", "running_loss", "validation_loss", "validation_accuracy"}
    losses = [line["running_loss"] for line in lines]
    assert losses == sorted(losses, reverse=True)


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


def test_no_validation_rows_are_null(
    program: Program, small_folder: Path, receipt: Callable[[], Receipt]
) -> None:
    done = program("train", "--data-dir", small_folder, "--val-size", 0, "--json")
    assert json.loads(done.out)["validation_accuracy"] is None
    assert "validation" not in done.err
    assert receipt().history[0].validation_loss is None


def test_few_rows_and_batches_that_do_not_divide_them(program: Program, tmp_path: Path) -> None:
    for rows in (1, 2, 9, 10, 127, 129):
        write_folder(tmp_path / "d", rows=rows)
        assert program("train", "--data-dir", "d", "--epochs", 2).code == 0


@pytest.mark.parametrize(
    ("data", "arguments"),
    [
        ("sample", ["--lr", "1e30"]),
        pytest.param("mnist", ["--lr", "1e6", "--epochs", "1"], marks=pytest.mark.full),
        pytest.param("mnist", ["--lr", "0.5", "--reg", "20"], marks=pytest.mark.full),
    ],
    ids=str,
)
def test_a_run_that_diverges_is_exit_7_and_keeps_the_good_weights(
    program: Program,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    data: str,
    arguments: list[str],
) -> None:
    source = SAMPLE if data == "sample" else ("--data-dir", request.getfixturevalue("mnist_folder"))
    assert program("train", *SAMPLE, "--epochs", 1).code == 0
    before = (tmp_path / "weights.npy").read_bytes()
    done = program("train", *source, *arguments)
    assert (done.code, done.out) == (7, "")
    assert done.err.startswith("mnist-softmax: error: training diverged")
    assert done.err.count("\n") == 1
    assert "try --lr below" in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["weights.npy"]
    assert (tmp_path / "weights.npy").read_bytes() == before


WRONG_DATA: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "59 labels for 60 images": ("labels", lambda raw: raw[:4] + (59).to_bytes(4, "big") + raw[8:-1]),
    "images cut short": ("images", lambda raw: raw[:-100]),
    "a header that claims 4 billion rows": ("images", lambda raw: raw[:4] + b"\xff\xff\xff\xff" + raw[8:]),
    "no rows of 4 billion x 4 billion pixels": ("images", lambda raw: raw[:4] + bytes(4) + b"\xff" * 8),
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


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_pipes_for_data_are_exit_4_and_not_waited_for(program: Program, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in (IMAGE_NAMES["train"], LABEL_NAMES["train"]):
        os.mkfifo(tmp_path / "d" / name)
    done = program("train", "--data-dir", "d")
    assert (done.code, done.out, done.err.count("\n")) == (4, "", 1)


# Configuration ------------------------------------------------------------------------------------------------------


def test_file_environment_and_command_line_win_in_this_order(
    program: Program, tmp_path: Path, receipt: Callable[[], Receipt]
) -> None:
    (tmp_path / "c.toml").write_text(
        'dataset = "mnist-sample"\nlr = 0.1\nreg = 1\nepochs = 1\nbatch_size = 200\nmomentum = 0\nlog = "l.jsonl"\n'
    )
    done = program(
        *("train", "--config", "c.toml", "--reg", "0.5"),
        MNIST_SOFTMAX_TRAIN_REG="0.7",
        MNIST_SOFTMAX_TRAIN_LR="0.3",
    )
    assert done.code == 0, done.err
    settings = receipt().hyperparameters
    assert (settings.reg, settings.lr, settings.batch_size, settings.momentum) == (0.5, 0.3, 200, 0)
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
    "more epochs than there may be": ("epochs = 100001", "epochs"),
    "what only prints": ("print_config = true", "print_config"),
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
    "an integer of thousands of digits": (f"lr = 0x{'f' * 4000}", "lr"),
    "such an integer for a choice": (f"schedule = 0x{'f' * 4000}", "schedule"),
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


def test_a_hostile_config_is_exit_2(program: Program, tmp_path: Path) -> None:
    for content in (
        b"\xff\xfe\x00",
        b"[" * 5000,
        b"lr = " + b"[" * 9999,
        b"a." * 5000 + b"b=1",
        b"#" * (1 << 20),
    ):
        (tmp_path / "c.toml").write_bytes(content)
        done = program("train", "--config", "c.toml")
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    done = program("train", "--config", "missing.toml")
    assert (done.code, done.error) == (2, "mnist-softmax: error: no such config file: missing.toml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_config_that_is_no_file_is_exit_2_and_not_waited_for(program: Program, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe", os.devnull):
        done = program("train", "--config", name)
        assert (done.code, done.error) == (
            2,
            f"mnist-softmax: error: not a regular file: {name}",
        )


def test_a_config_may_begin_with_a_byte_order_mark(program: Program, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("lr = 3\n", encoding="utf-8-sig")
    assert "lr = 3.0" in program("train", "--config", "c.toml", "--print-config").out


def test_every_option_can_stand_in_a_config(program: Program, tmp_path: Path, small_folder: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'data_dir = "{small_folder.as_posix()}"\ncache_dir = "c"\noffline = true\nlr = 1\nreg = 0\nepochs = 1\n'
        'batch_size = 10\nmomentum = 0\nschedule = "constant"\nseed = 3\nval_size = 5\nout = "x.npy"\n'
        'log = "x.jsonl"\nresume = true\njson = true\n'
    )
    done = program("train", "--config", "c.toml")
    assert done.code == 0, done.err
    assert json.loads(done.out)["weights"] == "x.npy"


@pytest.mark.parametrize("content", [b"", b"junk" * 50])
def test_the_remedy_for_a_damaged_checkpoint_helps(program: Program, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.npy.checkpoint").write_bytes(content)
    train = ("train", *SAMPLE, "--epochs", 1)
    done = program(*train, "--resume")
    assert done.code == 6
    assert done.error.endswith("; remove it to start from the beginning")
    assert program(*train).code == 6, "what is no checkpoint is not removed without a word"
    (tmp_path / "weights.npy.checkpoint").unlink()
    assert program(*train, "--resume").code == 0


# --solver lbfgs --------------------------------------------------------------------------------------------------

#: Where each of four settings is set that L-BFGS has not.
NOT_OF_LBFGS: dict[str, tuple[str, list[str], str, Any]] = {
    "on the command line": ("lr", ["--lr", "0.2"], "", {}),
    "on the command line, the default": ("schedule", ["--schedule", "cosine"], "", {}),
    "in the config": ("momentum", [], "momentum = 0.9\n", {}),
    "in the environment": ("batch_size", [], "", {"MNIST_SOFTMAX_TRAIN_BATCH_SIZE": "128"}),
}


@pytest.mark.parametrize("place", NOT_OF_LBFGS)
def test_what_lbfgs_does_not_have_is_exit_2_wherever_it_is_set(
    program: Program, tmp_path: Path, place: str
) -> None:
    name, arguments, config, environment = NOT_OF_LBFGS[place]
    (tmp_path / "c.toml").write_text(f'solver = "lbfgs"\n{config}')
    done = program("train", *SAMPLE, "--config", "c.toml", *arguments, **environment)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"{name} is set, but the solver lbfgs has none" in done.error
    assert (
        program("train", *SAMPLE, "--config", "c.toml", *arguments, "--solver", "sgd", **environment).code
        == 0
    )


def test_lbfgs_trains_reproduces_and_says_what_it_did(program: Program, small_folder: Path) -> None:
    train = ("train", "--data-dir", small_folder, "--solver", "lbfgs", "--features", "directions")
    made = json.loads(program(*train, "--reg", "0.1", "--json").out)
    assert 1 < made["epochs"] < 150  # it ended by itself
    history = program("show", "--history").out
    assert history.startswith(f"{made['epochs']} epochs")
    assert "byte-identical" in program("reproduce").out
    command = program("reproduce", "--dry-run").out.split()
    assert "--solver" in command
    assert not {"--lr", "--momentum", "--schedule", "--batch-size"} & set(command)
    config = program(*train, "--print-config").out
    assert 'solver = "lbfgs"' in config
    assert "epochs = 150" in config
    assert "lr" not in config
    assert program("report", "-o", "r.html").code == 0
    assert program("sweep", "--solver", "lbfgs").code == 2


# --print-config -----------------------------------------------------------------------------------------------------

#: Options of train, and what the config has of them.
GIVEN: dict[str, tuple[list[str], dict[str, Any]]] = {
    "nothing": ([], {}),
    "settings": (
        [
            "--lr",
            "1e-05",
            "--reg",
            "0",
            "--momentum",
            "0",
            "--schedule",
            "constant",
            "--epochs",
            "3",
            "--batch-size",
            "7",
            "--seed",
            "9223372036854775807",
            "--val-size",
            "0",
            "--dataset",
            "mnist-sample",
        ],
        {
            "lr": 1e-05,
            "reg": 0.0,
            "momentum": 0.0,
            "schedule": "constant",
            "epochs": 3,
            "batch_size": 7,
            "seed": 2**63 - 1,
            "val_size": 0,
            "dataset": "mnist-sample",
        },
    ),
    "flags": (
        ["--features=deskew", "--json", "--resume", "--offline"],
        {"features": ["deskew"], "json": True, "resume": True, "offline": True},
    ),
    "features with an lr and a reg of their own": (
        ["--features=deskew,directions"],
        {"features": ["deskew", "directions"], "lr": 4.0, "reg": 1e-6},
    ),
    "features and a setting": (
        ["--features=directions", "--lr=0.2"],
        {"features": ["directions"], "lr": 0.2, "reg": 1e-6},
    ),
    "paths": (
        ["--data-dir", "it's a \u624b", "--out", 'a"b\\\n\x7f.npy', "--log", "l", "--cache-dir", "c"],
        {"data_dir": "it's a \u624b", "out": 'a"b\\\n\x7f.npy', "log": "l", "cache_dir": "c"},
    ),
}


def printed(folder: Path, *arguments: Any, **environment: Any) -> str:
    """What --print-config prints where the environment says nothing else."""
    done = run_here(["train", *arguments, "--print-config"], folder, **environment)
    assert (done.code, done.err) == (0, "")
    return done.out


@pytest.mark.parametrize("way", GIVEN)
def test_the_printed_config_holds_the_data_every_setting_and_what_was_given(tmp_path: Path, way: str) -> None:
    arguments, given = GIVEN[way]
    text = printed(tmp_path, *arguments)
    defaults = {name: setting.default for name, setting in SETTINGS.items() if name != "val_size"}
    data = {} if "data_dir" in given else {"dataset": "mnist"}
    assert tomllib.loads(text) == {**defaults, **data, "features": [], **given}
    assert not list(tmp_path.iterdir())
    # Taken back, it prints itself.
    (tmp_path / "c.toml").write_text(text, encoding="utf-8")
    assert printed(tmp_path, "--config", "c.toml") == text


def test_a_setting_that_follows_the_data_stands_as_a_comment_unless_given(tmp_path: Path) -> None:
    assert "# val_size = min(5000, rows // 10)\n" in printed(tmp_path)
    given = printed(tmp_path, "--val-size", 3)
    assert "\nval_size = 3\n" in given
    assert "#" not in given


def test_printing_the_config_opens_no_data(program: Program, tmp_path: Path) -> None:
    for arguments in (["--offline"], ["--data-dir", "nowhere", "--offline"], ["--out", "missing/w.npy"]):
        assert program("train", *arguments, "--print-config").code == 0
    assert not list(tmp_path.iterdir())
    assert program("train", "--print-config", "--lr", "-1").code == 2


def test_what_the_file_and_the_environment_give_is_in_the_printed_config(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('data_dir = "d"\nlr = 0.5\nreg = 1\nlog = "l.jsonl"\n')
    environment = {"MOMENTUM": 0.25, "DATASET": "kmnist", "FEATURES": "deskew"}
    environment = {f"MNIST_SOFTMAX_TRAIN_{name}": value for name, value in environment.items()}
    table = tomllib.loads(printed(tmp_path, "--config", "c.toml", "--reg", "2", **environment))
    assert [table[name] for name in ("lr", "reg", "momentum", "log", "dataset", "features")] == [
        *(0.5, 2.0, 0.25, "l.jsonl", "kmnist", ["deskew"])
    ]
    assert not {"data_dir", "config", "print_config"} & table.keys()


def test_a_path_that_the_environment_gives_is_in_the_printed_config(tmp_path: Path) -> None:
    environment = {"MNIST_SOFTMAX_TRAIN_OUT": "x.npy", "MNIST_SOFTMAX_TRAIN_LOG": "l"}
    table = tomllib.loads(printed(tmp_path, **environment))
    assert (table["out"], table["log"]) == ("x.npy", "l")


def test_what_belongs_to_the_machine_is_in_the_printed_config_only_if_a_file_gives_it(tmp_path: Path) -> None:
    environment = {"MNIST_SOFTMAX_OFFLINE": "1"}
    assert "offline" not in tomllib.loads(printed(tmp_path, **environment))
    (tmp_path / "c.toml").write_text("offline = true\n")
    assert tomllib.loads(printed(tmp_path, "--config", "c.toml", **environment))["offline"] is True


def test_a_name_that_begins_with_a_dash_is_in_the_printed_config_as_it_can_be_read(tmp_path: Path) -> None:
    text = printed(tmp_path, "--data-dir", "./-d", "--out", "./-", "--log", "a-b")
    assert {'data_dir = "./-d"', 'out = "./-"', 'log = "a-b"'} <= set(text.splitlines())
    (tmp_path / "c.toml").write_text(text)
    assert printed(tmp_path, "--config", "c.toml") == text


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_a_name_that_is_no_utf_8_is_in_no_receipt_and_no_config(program: Program, tmp_path: Path) -> None:
    name = os.fsdecode(b"d\xff")
    write_folder(tmp_path / name)
    done = program("train", "--data-dir", name)
    assert done.code == 2
    assert done.error == (
        "mnist-softmax: error: the folder's name is not UTF-8: d\\udcff; rename it, or link to it"
    )
    (tmp_path / "link").symlink_to(name)
    assert program("train", "--data-dir", "link", "--epochs", 1).code == 0
    done = program("train", "--out", name, "--print-config")
    assert done.code == 2
    assert "out is not UTF-8, as a config file must be" in done.error


@pytest.mark.parametrize("features", ["--features=none", "--features=deskew,directions"])
def test_the_printed_config_trains_the_same_bytes(
    program: Program, tmp_path: Path, small_folder: Path, features: str
) -> None:
    arguments = ("--data-dir", small_folder, "--lr", "0.123456789", "--reg", "1e-5", "--epochs", 3, features)
    assert program("train", *arguments).code == 0
    before = (tmp_path / "weights.npy").read_bytes()
    (tmp_path / "c.toml").write_text(program("train", *arguments, "--print-config").out)
    assert program("train", "--config", "c.toml", "--out", "again.npy", MNIST_SOFTMAX_OFFLINE=1).code == 0
    assert (tmp_path / "again.npy").read_bytes() == before


# Resume -------------------------------------------------------------------------------------------------------------

LONG = (*SAMPLE, "--epochs", "4", "--log", "log.jsonl", "--val-size", "2000", "--batch-size", "8")
#: The program, which waits in the middle of the third epoch.
WAITING = """
import contextlib, sys, time
from mnist_softmax.cli import main, output
@contextlib.contextmanager
def waiting(total, what, unit):
    rows = 0
    def advance(count):
        nonlocal rows
        rows += count
        if rows > total * 2.5 / 4:
            print("waiting", file=sys.stderr, flush=True)
            time.sleep(60)
    yield advance
output.progress_bar = waiting
main.main()
"""


def outcome(folder: Path) -> Any:
    """What a run left."""
    return (folder / "weights.npy").read_bytes(), (folder / "log.jsonl").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_resumed_run_equals_an_uninterrupted_one(program: Program, tmp_path: Path, number: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    assert program("train", *LONG, cwd=whole).code == 0
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, "train", *LONG],
        cwd=tmp_path,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(3)]
        assert [line.split(":")[0] for line in lines] == ["epoch 1/4", "epoch 2/4", "waiting\n"]
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == -number
    assert not (tmp_path / "weights.npy").exists()
    assert (tmp_path / "weights.npy.checkpoint").exists()
    refused = program("train", *LONG, "--lr", "0.1", "--resume")
    assert (refused.code, refused.out, refused.err.count("\n")) == (6, "", 1)
    assert "the checkpoint belongs to another run, which differs in lr" in refused.error
    assert "expected 0.1, got 0.2" in refused.error
    resumed = program("train", *LONG, "--resume")
    assert resumed.code == 0, resumed.err
    assert [line.split(":")[0] for line in resumed.err.splitlines()] == ["epoch 3/4", "epoch 4/4"]
    assert outcome(tmp_path) == outcome(whole)
    assert not (tmp_path / "weights.npy.checkpoint").exists()


def test_resume_without_a_checkpoint_starts_from_the_beginning_and_says_so(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    done = program("train", "--data-dir", small_folder, "--resume")
    assert done.code == 0
    assert "warning: no checkpoint" in done.err


def test_what_is_no_checkpoint_is_neither_resumed_from_nor_removed(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    checkpoint = tmp_path / "weights.npy.checkpoint"
    for content in (b"", b"rubbish", b"{}\n", b"[" * 10_000):
        checkpoint.write_bytes(content)
        for flags in (["--resume"], []):
            done = program("train", "--data-dir", small_folder, *flags)
            assert done.code == 6
            assert done.err.count("\n") == 1
            assert checkpoint.read_bytes() == content
    assert "not a checkpoint, so it is not removed: weights.npy.checkpoint; move it away" in done.error


def test_a_damaged_checkpoint_is_exit_6_with_resume_and_discarded_without(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    checkpoint = tmp_path / "weights.npy.checkpoint"
    with checkpoint.open("wb") as file:
        np.save(file, np.zeros((2, 3, 5), np.float32))
    assert program("train", "--data-dir", small_folder, "--resume").code == 6
    assert checkpoint.exists()
    done = program("train", "--data-dir", small_folder)
    assert done.code == 0
    assert "warning: discarded the checkpoint of an interrupted run" in done.err
    assert not checkpoint.exists()


def test_an_output_through_a_dangling_link_names_the_folder_that_is_missing(
    program: Program, tmp_path: Path
) -> None:
    (tmp_path / "link.npy").symlink_to("nowhere/w.npy")
    done = program("train", *SAMPLE, "--out", "link.npy")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"no such folder: {tmp_path / 'nowhere'}" in done.error


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_log_is_a_file_and_no_device_pipe_or_folder(program: Program, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in (os.devnull, "pipe", "."):
        done = program("train", *SAMPLE, "--log", target)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert f"not a regular file: {target}" in done.error
    assert not (tmp_path / "weights.npy").exists()


def test_labels_above_nine_are_classes_too(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    _images, labels = write_folder(folder)
    with open(folder / LABEL_NAMES["train"], "wb") as file:
        write_idx(file, labels + 246)
    assert program("train", "--data-dir", "d").code == 0
    assert np.load(tmp_path / "weights.npy").shape == (65, 256)
