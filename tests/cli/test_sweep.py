"""``mnist-softmax sweep``: its table, the winner that it saves, divergence, wrong lists, interruption."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest
from cli.receipts import receipt_of
from conftest import Program, clean_environment, write_folder

from mnist_softmax.features import prepare

SAMPLE = ("--dataset", "mnist-sample")
GRID = ("--lr", "0.05,0.2,0.5", "--reg", "0,1e-3", "--epochs", 2)


def test_the_command_ranks_by_validation_accuracy(program: Program, tmp_path: Path) -> None:
    done = program("sweep", *SAMPLE, *GRID)
    assert done.code == 0
    header, *rows = done.out.split("\n\n")[0].splitlines()
    assert header.split() == ["rank", "accuracy", "loss", "lr", "reg", "momentum"]
    assert [row.split()[0] for row in rows] == list("123456")
    accuracies = [float(row.split()[1]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert not list(tmp_path.iterdir())

    facts = json.loads(program("sweep", *SAMPLE, *GRID, "--json").out)
    assert (facts["complete"], len(facts["models"])) == (True, 6)
    assert set(facts["models"][0]) == {
        *("lr", "reg", "momentum", "seed", "validation_accuracy", "validation_loss", "diverged")
    }
    assert [round(100 * model["validation_accuracy"], 2) for model in facts["models"]] == accuracies
    # The figures are those of `train` with the same settings.
    best = facts["models"][0]
    alone = json.loads(
        program("train", *SAMPLE, "--lr", best["lr"], "--reg", best["reg"], "--epochs", 2, "--json").out
    )
    assert alone["validation_accuracy"] == pytest.approx(best["validation_accuracy"], abs=1e-3)


def test_several_seeds_give_mean_and_spread(program: Program) -> None:
    done = program("sweep", *SAMPLE, "--lr", "0.1,0.2", "--seed", "0,1,2", "--epochs", 1, "--json")
    facts = json.loads(done.out)
    assert len(facts["models"]) == 6
    for combination in facts["combinations"]:
        values = [m["validation_accuracy"] for m in facts["models"] if m["lr"] == combination["lr"]]
        assert combination["seeds"] == [0, 1, 2]
        assert combination["validation_accuracy"] == pytest.approx(np.mean(values))
        assert combination["validation_accuracy_spread"] == pytest.approx(np.std(values, ddof=1))


@pytest.mark.parametrize("features", ["--features=none", "--features=deskew,directions"])
def test_the_saved_winner_is_the_file_of_train_to_the_byte(
    program: Program, tmp_path: Path, features: str
) -> None:
    done = program("sweep", *SAMPLE, *GRID, features, "--seed", "0,5", "--out", "best.npy", "--json")
    assert done.code == 0
    facts = json.loads(done.out)
    settings = receipt_of(tmp_path / "best.npy").settings
    top = facts["combinations"][0]
    assert (settings["lr"], settings["reg"]) == (top["lr"], top["reg"])
    same = [m for m in facts["models"] if (m["lr"], m["reg"]) == (top["lr"], top["reg"])]
    assert settings["seed"] == max(same, key=lambda m: m["validation_accuracy"])["seed"]
    arguments = [
        text
        for key in ("lr", "reg", "momentum", "seed", "epochs")
        for text in (f"--{key}", str(settings[key]))
    ]
    alone = json.loads(program("train", *SAMPLE, *arguments, features, "--out", "alone.npy", "--json").out)
    assert (tmp_path / "best.npy").read_bytes() == (tmp_path / "alone.npy").read_bytes()
    assert facts["weights_sha256"] == alone["weights_sha256"]
    assert facts["weights"] == "best.npy"
    assert {path.name for path in tmp_path.iterdir()} == {"best.npy", "alone.npy"}


def test_lr_and_reg_follow_the_features_each_by_itself(program: Program, small_folder: Path) -> None:
    common = ("sweep", "--data-dir", small_folder, "--epochs", 1, "--features", "directions", "--json")
    given = json.loads(program(*common, "--lr", "1,2").out)["models"]
    assert [(m["lr"], m["reg"]) for m in sorted(given, key=lambda m: m["lr"])] == [(1, 1e-6), (2, 1e-6)]
    given = json.loads(program(*common, "--reg", "0.1").out)["models"]
    assert [(m["lr"], m["reg"]) for m in given] == [(4, 0.1)]


@pytest.mark.parametrize("out", [None, "best.npy"])
def test_features_that_fill_a_file_go_beside_out(
    program: Program, tmp_path: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch, out: Any
) -> None:
    monkeypatch.setattr(prepare, "MOST_IN_MEMORY", 0)
    temporary = Mock(wraps=tempfile.TemporaryFile)
    monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    options = ["--out", out] if out else []
    done = program("sweep", "--data-dir", small_folder, "--features=directions", "--epochs", 1, *options)
    assert done.code == 0, done.err
    assert temporary.call_args_list == ([call(dir=tmp_path)] * 2 if out else [call(dir=None)])


def test_exit_code_7_only_when_every_model_diverges(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    common = ("--data-dir", small_folder, "--epochs", 2, "--out", "w.npy")
    some = program("sweep", *common, "--lr", "3e38,0.1")
    assert some.code == 0
    assert [row.split()[1] for row in some.out.splitlines()[1:3]][1] == "diverged"
    before = (tmp_path / "w.npy").read_bytes()
    every = program("sweep", *common, "--lr", "3e38,2e38", "--json")
    assert every.code == 7
    assert every.error.startswith("mnist-softmax: error: every model diverged")
    assert all(model["diverged"] for model in json.loads(every.out)["models"])
    assert (tmp_path / "w.npy").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lr", "0.1,nan"), "got nan"),
        (("--lr", "0.1,,0.2"), "--lr"),
        (("--reg", "-1"), "expected a finite number of at least 0"),
        (("--momentum", "0.9,1"), "below 1"),
        (("--seed", "0,1.5"), "1.5"),
        (("--epochs", "1,2"), "--epochs"),
        (("--lr", ",".join(map(str, range(1, 1026)))), "too many models: expected at most 1024, got 1025"),
        (("--val-size", "0"), "no validation rows"),
        (("--out", "missing/w.npy"), "no such folder: missing"),
    ],
)
def test_wrong_lists_are_exit_2(program: Program, arguments: Any, message: str) -> None:
    done = program("sweep", *SAMPLE, *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.error


def test_a_config_file_takes_lists(program: Program, tmp_path: Path) -> None:
    config = tmp_path / "grid.toml"
    config.write_text('dataset = "mnist-sample"\nlr = [0.1, 0.2]\nreg = 0\nseed = [1, 2]\nepochs = 1\n')
    facts = json.loads(program("sweep", "--config", config, "--json").out)
    assert len(facts["models"]) == 4
    for wrong, named in (
        ("lr = [0.1, true]", "lr"),
        ("seed = [1.5]", "seed"),
        ("lr = []", "lr"),
        ("epochs = [1]", "epochs"),
    ):
        config.write_text(wrong)
        done = program("sweep", "--config", config)
        assert done.code == 2
        assert f"of {named}" in done.error


def test_too_few_rows_to_hold_any_out_are_exit_2(program: Program, tmp_path: Path) -> None:
    write_folder(tmp_path / "d", rows=9)
    done = program("sweep", "--data-dir", "d")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "--val-size" in done.error


#: The program, which says when the outcomes of every model are known.
TELLING = """
import contextlib, sys
from mnist_softmax.cli import main
from mnist_softmax.runs import sweep
def telling(*arguments, original=sweep.sweep, **options):
    with contextlib.closing(original(*arguments, **options)) as progress:
        for number, group in enumerate(progress, 1):
            yield group
            if number == 3: print("known", file=sys.stderr, flush=True)
sweep.sweep = telling
main.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("flags", [["--json"], []])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_reports_what_is_known_and_dies_by_the_signal(
    tmp_path: Path, number: signal.Signals, flags: list[str]
) -> None:
    write_folder(tmp_path / "data", rows=1000)
    command = [sys.executable, "-c", TELLING, "sweep", "--data-dir", "data", "--lr", "0.1,0.2"]
    with subprocess.Popen(
        [*command, "--epochs", "100000", "--out", "w.npy", *flags],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "known\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-number, "")
    if flags:
        facts = json.loads(out)
        assert facts["complete"] is False
        assert [model["lr"] for model in facts["models"]] in ([0.1, 0.2], [0.2, 0.1])
        assert all(model["validation_accuracy"] > 0.2 for model in facts["models"])
    else:
        assert out.startswith("interrupted; what is known so far:\n")
    assert not (tmp_path / "w.npy").exists()


#: The program; it says when the best model is about to be trained alone, and waits there.
WAITING = """
import sys, time
from mnist_softmax.cli import main, sweep
def waiting(*_):
    print("alone", file=sys.stderr, flush=True)
    time.sleep(60)
sweep._train_alone = waiting
main.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("flags", [["--json"], []])
def test_a_sweep_interrupted_while_the_best_model_trains_alone_keeps_the_whole_ranking(
    tmp_path: Path, flags: list[str]
) -> None:
    write_folder(tmp_path / "data", rows=100)
    command = [sys.executable, "-c", WAITING, "sweep", "--data-dir", "data", "--lr", "0.1,0.2", *flags]
    with subprocess.Popen(
        [*command, "--epochs", "2", "--out", "w.npy"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "alone\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-signal.SIGINT, "")
    if flags:
        facts = json.loads(out)
        assert (facts["complete"], len(facts["models"])) == (True, 2)
        assert facts["weights"] is facts["weights_sha256"] is None
    else:
        assert out.startswith("rank  accuracy")
        assert "accuracy and loss are of the validation rows" in out


@pytest.mark.parametrize("flags", [["--json"], []])
def test_a_sweep_that_cannot_save_keeps_the_ranking(
    program: Program, tmp_path: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    done = program("sweep", *SAMPLE, *GRID, "--out", "best.npy", *flags)
    assert (done.code, done.error) == (
        5,
        "mnist-softmax: error: cannot write: best.npy: got No space left on device",
    )
    if flags:
        facts = json.loads(done.out)
        assert facts["complete"] is True
        assert facts["weights"] is facts["weights_sha256"] is None
        assert facts["combinations"][0]["validation_accuracy"] > 0.5
    else:
        assert done.out.startswith("rank  accuracy")
    assert not (tmp_path / "best.npy").exists()


@pytest.mark.full
def test_a_model_of_a_sweep_equals_train_on_full_mnist(program: Program, mnist_folder: Path) -> None:
    common = ("--data-dir", mnist_folder, "--epochs", 1, "--json")
    facts = json.loads(program("sweep", *common, "--lr", "0.1,0.2", "--reg", "1e-4,1e-3").out)
    assert len(facts["models"]) == 4
    for model in facts["models"]:
        alone = json.loads(program("train", *common, "--lr", model["lr"], "--reg", model["reg"]).out)
        assert alone["validation_accuracy"] == pytest.approx(model["validation_accuracy"], abs=1e-3)
