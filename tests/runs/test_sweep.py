"""A grid of models: each is the same as alone, whatever trains beside it."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from runs.made import make_split

from mnist_softmax.data.split import Split
from mnist_softmax.errors import UsageError
from mnist_softmax.runs import sweep as sweep_module
from mnist_softmax.runs.fit import fit
from mnist_softmax.runs.sweep import Outcome, grid, ranked, sweep
from mnist_softmax.settings import Settings
from mnist_softmax.training.descent import descend

SPLIT = make_split()
BASE = Settings(epochs=3, batch_size=32, lr=0.1)


def finished(split: Split, models: Any, features: Any = (), **options: Any) -> dict[Settings, Outcome]:
    """The last outcome of every model."""
    return {
        outcome.settings: outcome for group in sweep(split, models, features, **options) for outcome in group
    }


@pytest.mark.parametrize("features", [(), ("deskew",)])
def test_each_model_of_a_sweep_is_that_of_fit(features: Any) -> None:
    models = grid(BASE, {"lr": [0.02, 0.3], "reg": [0.0, 0.01], "momentum": [0.0, 0.9], "seed": [0, 7]})
    assert len(models) == 16
    epochs: dict[Settings, list[Outcome]] = {}
    for group in sweep(SPLIT, models, features):
        for outcome in group:
            epochs.setdefault(outcome.settings, []).append(outcome)
    assert list(epochs) != models  # rows are held out: their number is settled
    assert set(epochs) == {replace(model, val_size=30) for model in models}
    for settings, outcomes in epochs.items():
        alone = fit(SPLIT, settings, features).receipt
        assert alone is not None
        assert [outcome.epoch for outcome in outcomes] == [1, 2, 3]
        for outcome, entry in zip(outcomes, alone.history, strict=True):
            assert outcome.validation_loss == pytest.approx(entry.validation_loss, rel=1e-4)
            assert outcome.validation_accuracy == pytest.approx(entry.validation_accuracy, abs=1 / 30)
            assert not outcome.diverged
    assert len({outcomes[-1].validation_loss for outcomes in epochs.values()}) == 16


def test_the_result_does_not_depend_on_the_number_of_workers() -> None:
    models = grid(BASE, {"lr": list(np.linspace(0.05, 0.5, 9)), "momentum": [0.0, 0.9], "seed": [0, 1]})
    assert len(models) == 36  # four groups: 16 and 2 models of each seed
    by_workers = [finished(SPLIT, models, workers=workers) for workers in (1, 2, 7, None)]
    assert all(outcomes == by_workers[0] for outcomes in by_workers)
    assert len(by_workers[0]) == 36


def test_models_that_diverge_are_marked_and_disturb_no_other() -> None:
    models = grid(BASE, {"lr": [0.1, 3e38, 0.2, 1e300]})
    outcomes = finished(SPLIT, models)
    diverged = [outcome for outcome in outcomes.values() if outcome.diverged]
    assert [outcome.settings.lr for outcome in diverged] == [3e38, 1e300]
    assert {(outcome.validation_loss, outcome.validation_accuracy) for outcome in diverged} == {(None, None)}
    for settings, outcome in finished(SPLIT, grid(BASE, {"lr": [0.1, 0.2]})).items():
        assert outcome.validation_loss == pytest.approx(outcomes[settings].validation_loss, rel=1e-5)
    everything = finished(SPLIT, grid(BASE, {"lr": [1e300]}))
    assert [(outcome.epoch, outcome.diverged) for outcome in everything.values()] == [(1, True)]


@pytest.mark.parametrize(
    ("seeds", "workers", "each"), [([0], 1, 1), ([0], 2, 2), ([0, 1], 2, 1), ([0, 1, 2], 2, 1)]
)
def test_a_group_has_a_second_thread_only_where_there_are_cores_for_it(
    seeds: list[int], workers: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noted(*arguments: Any, **options: Any) -> Any:
        threads.append(options["threads"])
        return descend(*arguments, **options)

    monkeypatch.setattr(sweep_module, "descend", noted)
    finished(SPLIT, grid(BASE, {"seed": seeds}), workers=workers)
    assert threads == [each] * len(seeds)


def test_every_row_is_counted_in_the_callers_thread() -> None:
    counted: list[int] = []

    def on_rows(rows: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        counted.append(rows)

    finished(SPLIT, grid(BASE, {"lr": [0.1, 0.2], "seed": [0, 1, 2]}), on_rows=on_rows)
    assert sum(counted) == 6 * 3 * 270


def test_closing_a_sweep_stops_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[Any] = []

    def counting(*arguments: Any, **options: Any) -> Any:
        for loss in descend(*arguments, **options):
            epochs.append(loss)
            yield loss

    monkeypatch.setattr(sweep_module, "descend", counting)
    threads = threading.active_count()
    running = sweep(SPLIT, grid(replace(BASE, epochs=20_000), {"seed": [0, 1]}), workers=2)
    (first,) = next(running)
    assert first.epoch == 1
    running.close()
    assert threading.active_count() == threads
    assert len(epochs) < 2 * 20_000  # which would take half a minute


def test_what_ends_a_group_ends_the_sweep() -> None:
    """A bug in a thread is not lost."""
    threads = threading.active_count()
    labels = SPLIT.labels.astype(np.float64)  # no labels that training takes
    with pytest.raises(TypeError, match="labels are integers"):
        list(sweep(replace(SPLIT, labels=labels), grid(BASE, {"seed": [0, 1]})))  # type: ignore[arg-type]
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("base", "split", "features", "reason"),
    [
        (BASE, make_split(9), (), "too few rows to hold any out"),
        (replace(BASE, val_size=300), SPLIT, (), "no rows left to train on"),
        (BASE, SPLIT, ("sharpen",), "wrong features"),
    ],
)
def test_what_cannot_be_ranked_or_trained_is_refused(
    base: Settings, split: Split, features: Any, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        next(sweep(split, grid(base, {"lr": [0.1, 0.2]}), features))


# The grid ---------------------------------------------------------------------------------------------------


def test_a_grid_holds_each_combination_once_and_the_last_name_varies_fastest() -> None:
    models = grid(BASE, {"lr": [0.2, 0.1, 0.2], "seed": [3, 4]})
    assert [(model.lr, model.seed) for model in models] == [(0.2, 3), (0.2, 4), (0.1, 3), (0.1, 4)]
    assert {replace(model, lr=BASE.lr, seed=BASE.seed) for model in models} == {BASE}
    assert grid(BASE, {}) == [BASE]


def test_a_grid_has_at_most_1024_models_of_settings_in_range() -> None:
    assert len(grid(BASE, {"lr": range(1, 33), "reg": range(32)})) == 1024
    with pytest.raises(UsageError, match="too many models: expected at most 1024, got 1025"):
        grid(BASE, {"seed": range(1025)})
    with pytest.raises(UsageError, match="wrong value of momentum"):
        grid(BASE, {"momentum": [0.9, 1.0]})
    with pytest.raises(UsageError, match="no validation rows to rank by"):
        grid(replace(BASE, val_size=0), {"lr": [0.1]})


# The ranking ------------------------------------------------------------------------------------------------


def outcomes_of(lr: float, *values: tuple[float, float] | str | None) -> list[Outcome]:
    """Outcomes of one combination, a seed each: (accuracy, loss), "diverged", or None before the first epoch."""
    outcomes = []
    for seed, value in enumerate(values):
        settings = Settings(lr=lr, seed=seed)
        if isinstance(value, tuple):
            outcomes.append(Outcome(settings, 1, validation_accuracy=value[0], validation_loss=value[1]))
        else:
            outcomes.append(Outcome(settings, 0, diverged=value == "diverged"))
    return outcomes


def test_ranking_is_by_mean_accuracy_then_loss_with_divergence_last() -> None:
    made = [
        *outcomes_of(0.1, (0.90, 0.4), (0.92, 0.4)),
        *outcomes_of(0.2, (0.99, 0.4), "diverged"),
        *outcomes_of(0.3, (0.91, 0.3), (0.91, 0.3)),
        *outcomes_of(0.4, (0.93, 0.9), (0.95, 0.7)),
        *outcomes_of(0.5, (0.99, 0.1), None),
    ]
    ranking = ranked(made)
    assert [combination.outcomes[0].settings.lr for combination in ranking] == [0.4, 0.3, 0.1, 0.5, 0.2]
    assert ranked(made[::-1])[0].accuracy == ranking[0].accuracy == pytest.approx(0.94)
    assert ranking[0].loss == pytest.approx(0.8)
    assert ranking[0].spread == pytest.approx(np.std([0.95, 0.93], ddof=1))
    assert ranking[0].best.settings.seed == 1
    (tied,) = ranked(outcomes_of(0.1, (0.9, 0.4), (0.9, 0.3), (0.9, 0.5)))
    assert tied.best.settings.seed == 1
    unknown, diverged = ranking[3:]
    assert (unknown.diverged, unknown.accuracy, unknown.loss, unknown.spread) == (False, None, None, None)
    assert (diverged.diverged, diverged.accuracy, diverged.spread) == (True, None, None)
    (alone,) = ranked(outcomes_of(0.1, (0.9, 0.4)))
    assert alone.spread is None


def test_the_report_of_a_ranking_names_what_varied() -> None:
    (combination,) = ranked(outcomes_of(0.1, (0.9, 0.4), (0.8, 0.5)))
    varied = {"lr": 0.1, "reg": 1e-4, "momentum": 0.9}
    one = {"seed": 1, "validation_accuracy": 0.8, "validation_loss": 0.5, "diverged": False}
    assert combination.outcomes[1].as_json() == {**varied, **one}
    means = {
        "seeds": [0, 1],
        "validation_accuracy": pytest.approx(0.85),
        "validation_accuracy_spread": pytest.approx(0.0707, abs=1e-4),
        "validation_loss": pytest.approx(0.45),
        "diverged": False,
    }
    assert combination.as_json() == {**varied, **means}
