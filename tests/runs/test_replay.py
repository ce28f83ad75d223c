"""The moments of training: where they lie, what they score, and that watching changes nothing."""

from dataclasses import asdict
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from runs.made import make_split, never, receipt_of

from mnist_softmax import softmax
from mnist_softmax.data.split import Source, Split, one_hot
from mnist_softmax.errors import GateError, WeightsError
from mnist_softmax.records.weights import array_sha256
from mnist_softmax.runs import replay as replaying
from mnist_softmax.runs.fit import fit
from mnist_softmax.runs.model import Model
from mnist_softmax.runs.reproduce import obstacle, replay
from mnist_softmax.runs.score import evaluate
from mnist_softmax.scoring.metrics import cross_entropy_and_accuracy
from mnist_softmax.settings import Settings
from mnist_softmax.training import descent

FILES = {"train-images-idx3-ubyte": "1" * 64, "train-labels-idx1-ubyte": "2" * 64}
SPLIT = make_split(source=Source("mnist"), files=FILES)
SCORED = make_split(rows=200, seed=1, source=Source("mnist"), name="test")
SETTINGS = Settings(lr=0.1, epochs=3, batch_size=37, seed=5, val_size=40)
MODEL = fit(SPLIT, SETTINGS)


def with_receipt(model: Model, **changes: Any) -> Model:
    return Model(model.array, msgspec.structs.replace(receipt_of(model), **changes), Path("w.npy"))


#: One of a single step, one of parts of a batch, one of a short batch alone, and one with a step for each row.
RUNS = [
    SETTINGS,
    changed(SETTINGS, epochs=1, batch_size=260),
    changed(SETTINGS, batch_size=100_000, val_size=0, schedule="constant", momentum=0),
    changed(SETTINGS, epochs=20, batch_size=1, val_size=290),
    changed(SETTINGS, batch_size=1),
    Settings.for_features((), solver="lbfgs", epochs=30, val_size=40),
]


@pytest.mark.parametrize("settings", RUNS)
@pytest.mark.parametrize("features", [(), ("deskew", "directions")])
def test_the_moments_lead_from_nothing_to_the_weights(settings: Settings, features: Any) -> None:
    model = fit(SPLIT, settings, features)
    counted: list[int] = []
    shown = replay(model, SPLIT, SCORED, counted.append)
    assert (shown.outcome.word, shown.outcome.identical) == ("identical", True)
    assert sum(counted) == settings.row_passes(300)
    first, last = shown.moments[0], shown.moments[-1]
    assert (first.rows, first.epochs) == (0, 0)
    assert not first.parameters.any()
    assert first.parameters.dtype == np.float32
    assert (last.rows, last.epochs) == (settings.row_passes(300), settings.epochs)
    assert last.parameters.tobytes() == model.array.tobytes()
    rows = [moment.rows for moment in shown.moments]
    assert rows == sorted(set(rows))
    size = settings.batch_size or 260
    assert rows[1] == min(size, rows[-1] // settings.epochs)
    steps = settings.epochs * -(-receipt_of(model).rows // size)
    assert min(steps + 1, 13) <= len(rows) <= 20
    stored, numbers = model.features_of(SCORED), np.arange(200)
    for moment in shown.moments:
        assert moment.epochs == moment.rows / receipt_of(model).rows
        (loss,), (accuracy,) = cross_entropy_and_accuracy(moment.parameters, stored, SCORED.labels, numbers)
        assert (moment.loss, moment.accuracy) == (loss, accuracy)
    whole = evaluate(model, SCORED)
    assert (last.loss, last.accuracy) == (whole.log_loss, whole.accuracy)


def test_the_last_moment_of_lbfgs_is_after_the_passes_that_it_needed() -> None:
    settings = Settings.for_features((), solver="lbfgs", reg=0.1, epochs=1000)
    model = fit(SPLIT, settings)
    done = len(receipt_of(model).history)
    assert replay(model, SPLIT, SCORED).moments[-1].epochs == done < 1000


def test_a_moment_is_where_a_run_that_stops_there_ends() -> None:
    settings = changed(SETTINGS, schedule="constant", batch_size=90)  # three steps an epoch
    moments = replay(fit(SPLIT, settings), SPLIT, SCORED).moments
    assert [moment.rows for moment in moments[:5]] == [0, 90, 180, 260, 350]
    assert len(moments) == 10
    for epochs in (1, 2):
        shorter = fit(SPLIT, changed(settings, epochs=epochs))
        assert moments[3 * epochs].parameters.tobytes() == shorter.array.tobytes()


def test_after_one_step_the_weights_are_the_gradient_of_nothing_learned() -> None:
    settings = changed(SETTINGS, batch_size=300, val_size=0)
    parameters = replay(fit(SPLIT, settings), SPLIT, SCORED).moments[1].parameters
    nothing = np.zeros((30, 7)), np.zeros(7)
    dW, dB = softmax.gradient(SPLIT.images / 255, one_hot(SPLIT.labels, 7), *nothing, settings.reg)
    np.testing.assert_allclose(parameters, -settings.lr * np.vstack([dW, dB]), atol=1e-6)


def test_the_moments_depend_on_no_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    split = make_split(rows=20_000, source=Source("mnist"), files=FILES)
    model = fit(split, SETTINGS)
    bits = []
    for threads in (1, 2):
        monkeypatch.setattr(descent, "cores", lambda threads=threads: threads)
        moments = replay(model, split, SCORED).moments
        bits.append([(moment.rows, moment.loss, moment.parameters.tobytes()) for moment in moments])
    assert bits[0] == bits[1]
    assert len(bits[0]) == 19  # at the start two are the same


def test_watching_changes_neither_the_receipt_nor_a_resumed_run(tmp_path: Path) -> None:
    settings, out = changed(SETTINGS, batch_size=8), tmp_path / "w.npy"
    plain = fit(SPLIT, settings)
    steps: list[int] = []

    def stop_in_the_second_epoch(done: int, parameters: Any) -> None:
        parameters()
        if done == 40:
            raise KeyboardInterrupt

    def look(done: int, parameters: Any) -> None:
        steps.append(done)
        assert parameters().any() == (done > 0)

    watched = fit(SPLIT, settings, on_step=look)
    assert steps == list(range(99))
    with pytest.raises(KeyboardInterrupt):
        fit(SPLIT, settings, out=out, on_step=stop_in_the_second_epoch)
    steps.clear()
    resumed = fit(SPLIT, settings, out=out, resume=True, on_step=look)
    assert steps == list(range(33, 99))
    for model in (watched, resumed):
        assert model.array.tobytes() == plain.array.tobytes()
        assert model.receipt == plain.receipt


# What cannot be shown ----------------------------------------------------------------------------------------------


def test_an_altered_receipt_is_another_outcome() -> None:
    """The loss that it states, the weights, or the run itself."""
    moved = MODEL.array + np.float32(1e-3)
    other_array = Model(
        moved, msgspec.structs.replace(receipt_of(MODEL), array_sha256=array_sha256(moved)), Path("w.npy")
    )
    other_seed = with_receipt(MODEL, settings={**receipt_of(MODEL).settings, "seed": 6})
    for model in (with_receipt(MODEL, loss=0.1), other_array, other_seed):
        shown = replay(model, SPLIT, SCORED)
        assert shown.outcome.word == "different"
        assert len(shown.moments) == 15
    again = fit(
        SPLIT, changed(SETTINGS, seed=6)
    )  # the moments are those of what was trained, not of the file
    assert shown.moments[-1].parameters.tobytes() == again.array.tobytes()


def test_what_shows_without_data_is_known_before_any_is_opened() -> None:
    assert obstacle(MODEL) == ""
    assert obstacle(Model(MODEL.array)) == "the weights have no receipt"
    assert obstacle(with_receipt(MODEL, dataset=None)) == "the receipt names no data"
    assert obstacle(with_receipt(MODEL, rows=20_000_000 // 3)) == ""
    assert obstacle(with_receipt(MODEL, rows=7_000_000)) == (
        "training takes 21,000,000 rows, more than 20,000,000"
    )


@pytest.mark.parametrize(
    ("model", "split", "scored", "reason"),
    [
        (MODEL, changed(SPLIT, files={"train-images-idx3-ubyte": "3" * 64}), SCORED, "trained on another"),
        (MODEL, SPLIT, make_split(height=5), "the weights do not fit the images"),
        (MODEL, SPLIT, make_split(classes=8, source=Source(data_dir=Path("d"))), "do not fit the labels"),
        (
            with_receipt(MODEL, settings={**receipt_of(MODEL).settings, "val_size": 300}),
            SPLIT,
            SCORED,
            "the receipt is damaged",
        ),
        (
            with_receipt(MODEL, settings=asdict(Settings.for_features((), solver="lbfgs", val_size=300))),
            SPLIT,
            SCORED,
            "the receipt is damaged",
        ),
        (Model(MODEL.array), SPLIT, SCORED, "no receipt"),
    ],
)
def test_other_data_is_refused_before_training(
    model: Model, split: Split, scored: Split, reason: str
) -> None:
    with pytest.raises(WeightsError, match=reason):
        replay(model, split, scored, never)


def test_a_receipt_that_counts_too_few_rows_buys_no_long_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "MOST_ROWS", 779)
    model = with_receipt(MODEL, rows=1)
    assert obstacle(model) == ""
    with pytest.raises(WeightsError, match="training takes 780 rows, more than 779"):
        replay(model, SPLIT, SCORED, never)


def test_a_run_that_diverges_says_so() -> None:
    with pytest.raises(GateError, match="training diverged"):
        replay(with_receipt(MODEL, settings={**receipt_of(MODEL).settings, "lr": 1e300}), SPLIT, SCORED)


def test_a_result_of_another_shape_is_refused() -> None:
    array = np.zeros((31, 8), np.float32)
    receipt = msgspec.structs.replace(
        receipt_of(MODEL), class_names=list("abcdefgh"), array_sha256=array_sha256(array)
    )
    scored = make_split(classes=8)  # the eighth class is one that training again does not know
    with pytest.raises(WeightsError, match="another shape"):
        replay(Model(array, receipt), SPLIT, scored)


def test_weights_too_large_to_be_scored_are_refused() -> None:
    """White images alone meet the largest weights: the rows trained on are nearly black."""
    split = make_split(height=60, width=50, source=Source("mnist"), files=FILES)
    dark = changed(split, images=(split.images // 128).astype(np.uint8))
    model = fit(dark, changed(SETTINGS, lr=1e37, reg=0, epochs=1, batch_size=260, momentum=0))
    white = changed(split, images=np.full_like(split.images, 255))
    with pytest.raises(WeightsError, match="too large"):
        replay(model, dark, white)
