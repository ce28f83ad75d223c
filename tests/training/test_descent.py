"""The epochs against descent by the formulas: schedules, stored dtypes, many models, divergence, repetition."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mnist_softmax import softmax
from mnist_softmax.data.split import one_hot
from mnist_softmax.settings import Settings
from mnist_softmax.training.descent import descend, learning_rate_factor
from mnist_softmax.training.kernel import State, initial_state
from mnist_softmax.training.shuffle import epoch_order

ROWS = np.arange(600, dtype=np.uint32)


def make_rows(rows: int = 600, columns: int = 30, classes: int = 7) -> tuple[Any, Any]:
    """(M, N) and (M,) uint8, of classes that can be told apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows).astype(np.uint8)
    prototypes = rng.integers(0, 180, (classes, columns))
    return (prototypes[labels] + rng.integers(0, 76, (rows, columns))).astype(np.uint8), labels


STORED, LABELS = make_rows()


def run(
    models: Sequence[Settings], stored: Any = STORED, state: State | None = None, rows: Any = ROWS
) -> tuple[State, Any]:
    """The state after all epochs, and the losses, (epochs, K)."""
    state = state or initial_state(stored.shape[1], 7, 255, len(models))
    return state, np.array(list(descend(stored, LABELS, rows, models, state)))


def reference_descent(X: Any, rows: Any, settings: Settings, classes: int) -> Any:
    """Gradient descent by the formulas of `softmax`, float64, a batch at a time: (N + 1, L)."""
    W, B = np.zeros((X.shape[1], classes)), np.zeros(classes)
    vW, vB, step = 0 * W, 0 * B, 0
    size = settings.batch_size
    steps = math.ceil(len(rows) / size) * settings.epochs
    for epoch in range(1, settings.epochs + 1):
        order = epoch_order(rows, settings.seed, epoch, X.shape[1])
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            dW, dB = softmax.gradient(X[batch], one_hot(LABELS[batch], classes), W, B, settings.reg)
            rate = settings.lr * learning_rate_factor(settings.schedule, step, steps)
            vW, vB = settings.momentum * vW + dW, settings.momentum * vB + dB
            W, B, step = W - rate * vW, B - rate * vB, step + 1
    return np.vstack([W, B])


def relative(a: Any, b: Any) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("batch_size", [50, 64, 128, 1000])
def test_a_run_equals_descent_by_the_formulas(schedule: str, batch_size: int) -> None:
    shared: Any = {"schedule": schedule, "batch_size": batch_size, "epochs": 3, "seed": 5}
    swept = [(0.3, 0.01, 0.9), (0.5, 0.0, 0.0), (0.1, 0.1, 0.5)]
    models = [Settings(lr=lr, reg=reg, momentum=momentum, **shared) for lr, reg, momentum in swept]
    state, _ = run(models)
    for mine, settings in zip(np.split(state.parameters(), 3, axis=1), models, strict=True):
        assert relative(mine, reference_descent(STORED / 255, ROWS, settings, 7)) < 2e-5


@pytest.mark.parametrize(("batch_size", "reg"), [(64, 0.0), (100, 0.01), (1000, 0.1)])
def test_float_rows_of_scale_1_train_to_the_weights_of_pixels_of_scale_255(
    batch_size: int, reg: float
) -> None:
    settings = Settings(lr=0.3, reg=reg, epochs=3, batch_size=batch_size)
    of_pixels, pixel_losses = run([settings])
    floats = (STORED / 255).astype(np.float32)
    of_floats, float_losses = run([settings], floats, initial_state(30, 7, 1.0))
    expected = reference_descent(STORED / 255, ROWS, settings, 7)
    for found in (of_pixels, of_floats):
        assert relative(found.parameters(), expected) < 2e-5
    assert relative(of_floats.parameters(), of_pixels.parameters()) < 2e-5
    np.testing.assert_allclose(float_losses, pixel_losses, rtol=1e-5)


def test_float_rows_that_are_no_pixels_equal_descent_by_the_formulas() -> None:
    X = np.random.default_rng(2).normal(size=STORED.shape).astype(np.float32)
    settings = Settings(lr=0.1, epochs=3, batch_size=64)
    state, _ = run([settings], X, initial_state(30, 7, 1.0))
    assert relative(state.parameters(), reference_descent(X.astype(float), ROWS, settings, 7)) < 2e-5


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int16, np.uint16, bool])
def test_rows_of_another_dtype_are_refused(dtype: Any) -> None:
    state = initial_state(30, 7, 255)
    with pytest.raises(TypeError, match=f"uint8 or float32 .* got {np.dtype(dtype)}"):
        next(descend(STORED.astype(dtype), LABELS, ROWS, [Settings()], state))
    assert not state.V.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, bool, str])
def test_labels_that_are_no_integers_are_refused(dtype: Any) -> None:
    with pytest.raises(TypeError, match="labels are integers"):
        next(descend(STORED, LABELS.astype(dtype), ROWS, [Settings()], initial_state(30, 7, 255)))


def test_labels_of_any_integer_dtype_train_the_same() -> None:
    states = [initial_state(30, 7, 255) for _ in range(2)]
    for state, dtype in zip(states, (np.uint8, np.int64), strict=True):
        next(descend(STORED, LABELS.astype(dtype), ROWS, [Settings()], state))
    assert states[0].V.tobytes() == states[1].V.tobytes()


def test_the_running_loss_is_the_mean_cross_entropy_before_each_step() -> None:
    X, Y = STORED / 255, one_hot(LABELS, 7)
    # One batch of everything: the running loss is the loss before the only step. Chunks do not divide it.
    state, losses = run([Settings(epochs=2, batch_size=600)])
    assert losses[0, 0] == pytest.approx(math.log(7), rel=1e-6)
    rate = Settings().lr
    dW, dB = softmax.gradient(X, Y, np.zeros((30, 7)), np.zeros(7), 0)
    assert losses[1, 0] == pytest.approx(softmax.loss(X, Y, -rate * dW, -rate * dB, 0), rel=1e-6)
    # Batches that do not divide the rows, at a rate too small to change the loss: its mean over all rows.
    before = state.parameters().astype(float)
    _, losses = run(
        [Settings(lr=1e-30, epochs=1, batch_size=64)], state=State(state.V, 0 * state.velocity, 255)
    )
    F = softmax.logits(X, before[:-1], before[-1])
    assert losses[0, 0] == pytest.approx(softmax.cross_entropy(F, Y), rel=1e-6)


def test_models_trained_side_by_side_equal_each_alone() -> None:
    swept = [(lr, reg, momentum) for lr in (0.1, 0.4) for reg in (0, 0.01) for momentum in (0, 0.9)]
    models = [
        Settings(lr=lr, reg=reg, momentum=momentum, epochs=4, batch_size=32) for lr, reg, momentum in swept
    ]
    rows = ROWS[ROWS % 6 != 0]
    together, losses = run(models, rows=rows)
    for k, settings in enumerate(models):
        alone, alone_losses = run([settings], rows=rows)
        mine = together.parameters()[:, 7 * k : 7 * k + 7]
        np.testing.assert_allclose(mine, alone.parameters(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(losses[:, k], alone_losses[:, 0], rtol=1e-5)


@pytest.mark.parametrize("lr", [1e30, 1e60])
def test_a_model_that_diverges_is_marked_and_disturbs_no_other(lr: float) -> None:
    models = [Settings(lr=rate, epochs=2, batch_size=32) for rate in (0.1, lr)]
    state, losses = run(models)
    alone, alone_losses = run(models[:1])
    assert np.isnan(losses[-1]).tolist() == [False, True]
    np.testing.assert_allclose(losses[:, 0], alone_losses[:, 0], rtol=1e-5)
    np.testing.assert_allclose(state.parameters()[:, :7], alone.parameters(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("batch_size", "columns"), [(8, 30), (37, 30), (128, 784)])
def test_wherever_in_an_epoch_divergence_begins_the_loss_is_nan(batch_size: int, columns: int) -> None:
    """At lr 1e6 the penalty multiplies the weights by about -98 a step, until the logits leave float32."""
    stored, labels = make_rows(3000, columns)
    settings = Settings(lr=1e6, schedule="constant", epochs=1, batch_size=batch_size)

    def diverges(rows: int) -> bool:
        state = initial_state(columns, 7, 255)
        state.V[:] = 4e13 / stored.sum(axis=1).mean()  # so large that the rows make no difference
        ((loss,),) = descend(stored, labels, np.arange(rows, dtype=np.uint32), [settings], state)
        assert np.isnan(loss) == (not np.isfinite(state.V).all())
        return bool(np.isnan(loss))

    survived = next(batches for batches in range(100) if diverges((batches + 1) * batch_size))
    assert survived > 2
    for short in {1, batch_size // 2, batch_size - 1}:
        assert not diverges((survived - 1) * batch_size + short)
        assert diverges(survived * batch_size + short)  # it begins in the last batch, a short one
        assert diverges((survived + 1) * batch_size + short)  # in a full one, with a short one after it
        assert diverges((survived + 3) * batch_size + short)


def test_divergence_in_the_last_step_of_all_is_a_loss_of_nan() -> None:
    _, losses = run([Settings(lr=rate, epochs=1, batch_size=600) for rate in (0.1, 1e60)])
    assert losses[0].tolist() == [pytest.approx(math.log(7), rel=1e-6), pytest.approx(math.nan, nan_ok=True)]


def test_an_infinite_loss_is_nan_even_where_the_weights_are_finite() -> None:
    state = initial_state(30, 7, 255)
    state.V[0] = -1e37  # a logit of minus infinity for every row
    state, losses = run([Settings(reg=0, epochs=1)], state=state)
    assert np.isfinite(state.V).all()
    assert np.isnan(losses).all()


def test_an_epoch_can_be_repeated_from_the_state_before_it() -> None:
    settings = Settings(epochs=4, batch_size=64)
    state = initial_state(30, 7, 255)
    epochs = descend(STORED, LABELS, ROWS, [settings], state)
    next(epochs)
    next(epochs)
    kept = state.copy()
    assert kept.epoch == 2
    losses = list(epochs)
    again = list(descend(STORED, LABELS, ROWS, [settings], kept))
    assert len(losses) == len(again) == 2
    assert (np.array(losses) == again).all()
    assert kept.V.tobytes() == state.V.tobytes()
    assert kept.velocity.tobytes() == state.velocity.tobytes()


def test_the_cosine_falls_from_one_to_zero_and_constant_stays() -> None:
    factors = [learning_rate_factor("cosine", step, 100) for step in range(101)]
    assert factors[0] == 1
    assert factors[50] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert factors == sorted(factors, reverse=True)
    assert learning_rate_factor("constant", 99, 100) == 1


@pytest.mark.parametrize("batch_size", [1, 50, 64, 1000])
def test_progress_counts_every_row(batch_size: int) -> None:
    counted: list[int] = []
    settings = Settings(epochs=2, batch_size=batch_size)
    list(descend(STORED, LABELS, ROWS, [settings], initial_state(30, 7, 255), on_rows=counted.append))
    assert sum(counted) == 1200
