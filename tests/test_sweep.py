"""The grid: a model of a sweep is the same model alone; ranking, divergence, interruption, the saved winner."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Program, clean_environment, write_folder

from mnist_softmax import train
from mnist_softmax.data import Source, folder_split, sample_split, train_validation_rows
from mnist_softmax.errors import UsageError
from mnist_softmax.run import Settings, fit
from mnist_softmax.sweep import Outcome, grid, ranked, sweep

SAMPLE = ("--dataset", "mnist-sample")
GRID = ("--lr", "0.05,0.2,0.5", "--reg", "0,1e-3", "--epochs", 2)


def finished(split: Any, source: Source, models: Any, **options: Any) -> dict[Settings, Outcome]:
    """The last outcome of every model."""
    return {o.settings: o for group in sweep(split, source, models, **options) for o in group}


def test_a_model_trained_beside_others_equals_the_same_model_alone() -> None:
    split = sample_split("train")
    rows, held_out = train_validation_rows(len(split.labels), 1000, 0)
    models = [train.Model(lr, reg, m) for lr in (0.05, 0.3) for reg in (0.0, 1e-3) for m in (0.0, 0.9)]
    schedule = train.Schedule(epochs=3)

    def parameters(*chosen: train.Model) -> tuple[Any, Any]:
        state = train.initial_state(784, 10, len(chosen))
        *_, last = train.train(split, rows, held_out, chosen, schedule, state)
        return state.parameters().reshape(785, len(chosen), 10), last.validation_accuracy

    together, accuracies = parameters(*models)
    for k, model in enumerate(models):
        alone, accuracy = parameters(model)
        assert np.abs(together[:, k] - alone[:, 0]).max() < 1e-4
        assert abs(accuracies[k] - accuracy[0]) <= 1e-3


def test_the_result_does_not_depend_on_the_number_of_workers() -> None:
    split, source = sample_split("train"), Source(dataset="mnist-sample")
    models = grid(Settings(epochs=1), [0.1, 0.2, 0.3], [0.0, 1e-4, 1e-3], [0.0, 0.9], [0, 1])
    assert len(models) == 36  # three groups: two seeds of 18 models, in groups of 16 and 2
    assert finished(split, source, models, workers=1) == finished(split, source, models, workers=4)


def test_a_diverging_model_is_marked_and_disturbs_no_other(small_folder: Path) -> None:
    split, source = folder_split(small_folder, "train"), Source(data_dir=small_folder)
    base = Settings(epochs=3, batch_size=50)
    sound = grid(base, [0.1, 0.2], [0.0], [0.9], [0])
    with_one_that_diverges = grid(base, [0.1, 3e38, 0.2], [0.0], [0.9], [0])
    outcomes = finished(split, source, with_one_that_diverges)
    (diverged,) = [outcome for outcome in outcomes.values() if outcome.diverged]
    assert (diverged.settings.lr, diverged.validation_accuracy) == (3e38, None)
    for settings, outcome in finished(split, source, sound).items():
        assert outcome.validation_loss == pytest.approx(outcomes[settings].validation_loss, rel=1e-5)


def test_a_grid_holds_each_combination_once_and_at_most_1024_models() -> None:
    assert len(grid(Settings(), [0.1, 0.1, 0.2], [0.0], [0.9, 0.0], [3, 4])) == 8
    assert len(grid(Settings(), list(range(1, 33)), list(range(32)), [0.9], [0])) == 1024
    with pytest.raises(UsageError, match="at most 1024, got 1025"):
        grid(Settings(), list(range(1, 1026)), [0.0], [0.9], [0])


def test_ranking_is_by_mean_accuracy_then_loss_with_divergence_last() -> None:
    def outcomes(lr: float, *values: tuple[float, float] | None) -> list[Outcome]:
        return [
            Outcome(Settings(lr=lr, seed=seed), 1, diverged=True)
            if value is None
            else Outcome(
                Settings(lr=lr, seed=seed), 1, validation_accuracy=value[0], validation_loss=value[1]
            )
            for seed, value in enumerate(values)
        ]

    ranking = ranked(
        [
            *outcomes(0.1, (0.90, 0.4), (0.92, 0.4)),
            *outcomes(0.2, (0.93, 0.4), None),
            *outcomes(0.3, (0.91, 0.3), (0.91, 0.3)),
            *outcomes(0.4, (0.95, 0.9), (0.93, 0.9)),
        ]
    )
    assert [combination.outcomes[0].settings.lr for combination in ranking] == [0.4, 0.3, 0.1, 0.2]
    assert ranking[0].accuracy == pytest.approx(0.94)
    assert ranking[0].spread == pytest.approx(np.std([0.95, 0.93], ddof=1))
    assert ranking[0].best.settings.seed == 0
    assert (ranking[3].diverged, ranking[3].accuracy, ranking[3].spread) == (True, None, None)


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


@pytest.mark.parametrize("deskew", ["--no-deskew", "--deskew"])
def test_the_saved_winner_is_what_train_gives_and_its_receipt_records_the_grid(
    program: Program, tmp_path: Path, deskew: str
) -> None:
    done = program("sweep", *SAMPLE, *GRID, deskew, "--seed", "0,5", "--out", "best.npy", "--json")
    assert done.code == 0
    facts = json.loads(done.out)
    receipt = json.loads((tmp_path / "best.json").read_text())
    assert receipt["sweep"] == facts["models"]
    assert facts["weights_sha256"] == receipt["weights_sha256"]
    settings = receipt["settings"]
    top = facts["combinations"][0]
    assert (settings["lr"], settings["reg"]) == (top["lr"], top["reg"])
    same = [m for m in facts["models"] if (m["lr"], m["reg"]) == (top["lr"], top["reg"])]
    assert settings["seed"] == max(same, key=lambda m: m["validation_accuracy"])["seed"]
    arguments = [
        text
        for key in ("lr", "reg", "momentum", "seed", "epochs")
        for text in (f"--{key}", str(settings[key]))
    ]
    program("train", *SAMPLE, *arguments, deskew, "--out", "alone.npy")
    assert (tmp_path / "best.npy").read_bytes() == (tmp_path / "alone.npy").read_bytes()
    assert program("eval", "best.npy").code == 0


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
        (("--lr", "0.1,,0.2"), "'' is not a finite number"),
        (("--reg", "-1"), "expected a finite number of at least 0"),
        (("--momentum", "0.9,1"), "below 1"),
        (("--seed", "0,1.5"), "1.5"),
        (("--lr", ",".join(map(str, range(1, 1026)))), "too many models: expected at most 1024, got 1025"),
        (("--val-size", "0"), "no validation rows"),
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
    for wrong, named in (("lr = [0.1, true]", "lr"), ("seed = [1.5]", "seed"), ("lr = []", "lr")):
        config.write_text(wrong)
        done = program("sweep", "--config", config)
        assert done.code == 2
        assert f"of {named}" in done.error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_reports_what_is_known_and_dies_by_the_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    write_folder(tmp_path / "data", rows=3000)
    command = [sys.executable, "-m", "mnist_softmax", "sweep", "--data-dir", "data"]
    command += ["--lr", "0.1,0.2", "--epochs", "100000", "--out", "w.npy", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE) as process:
        time.sleep(2)
        process.send_signal(number)
        sent = time.monotonic()
        out, _ = process.communicate(timeout=20)
        assert time.monotonic() - sent < 4
    assert process.returncode == -number
    facts = json.loads(out)
    assert facts["complete"] is False
    assert all(model["validation_accuracy"] > 0.5 for model in facts["models"])
    assert not (tmp_path / "w.npy").exists()


@pytest.mark.full
def test_a_model_of_a_sweep_equals_train_on_full_mnist(mnist_folder: Path) -> None:
    split, source = folder_split(mnist_folder, "train"), Source(data_dir=mnist_folder)
    models = grid(Settings(epochs=2), [0.1, 0.2], [1e-4, 1e-3], [0.9], [0])
    for settings, outcome in finished(split, source, models).items():
        alone = fit(split, source, settings)
        assert outcome.validation_accuracy == pytest.approx(alone.receipt["validation_accuracy"], abs=1e-3)
