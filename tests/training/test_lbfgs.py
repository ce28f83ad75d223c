"""L-BFGS against SciPy's on the same loss, its sums against one sum, its tree, its line search, its end."""

import math
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from mnist_softmax import softmax
from mnist_softmax.data.split import one_hot
from mnist_softmax.settings import Settings
from mnist_softmax.training import blocks, curvature, lbfgs
from mnist_softmax.training.blocks import Blocks, folded
from mnist_softmax.training.curvature import inverse_at_start, inverted, start_curvature
from mnist_softmax.training.lbfgs import (
    Sum,
    initial_state,
    minimise,
    sum_of_block,
)

ROWS = np.arange(600, dtype=np.uint32)


def make_rows(rows: int = 600, columns: int = 30, classes: int = 7) -> tuple[Any, Any]:
    """(M, N) and (M,) uint8; the classes overlap."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows).astype(np.uint8)
    prototypes = rng.integers(0, 100, (classes, columns))
    return (prototypes[labels] + rng.integers(0, 156, (rows, columns))).astype(np.uint8), labels


STORED, LABELS = make_rows()


def settings(reg: float = 1e-3, **given: Any) -> Settings:
    return Settings.for_features((), solver="lbfgs", reg=reg, **given)


def run(made: Settings, stored: Any = STORED, rows: Any = ROWS, **options: Any) -> tuple[Any, list[float]]:
    """The state at the end, and the cross-entropy after each pass."""
    state = options.pop("state", None) or initial_state(stored.shape[1], 7, options.pop("scale", 255.0))
    in_blocks = Blocks(stored, LABELS, rows, threads=options.pop("threads", None))
    return state, list(minimise(in_blocks, made, state, **options))


def optimum(reg: float, rows: Any = ROWS) -> tuple[float, Any]:
    """The least loss and where it is, (N + 1, L), by SciPy in float64."""
    X, Y = STORED[rows] / 255, one_hot(LABELS[rows], 7)

    def loss(flat: Any) -> Any:
        P = flat.reshape(31, 7)
        dW, dB = softmax.gradient(X, Y, P[:-1], P[-1], reg)
        return softmax.loss(X, Y, P[:-1], P[-1], reg), np.vstack([dW, dB]).ravel()

    found = minimize(
        loss, np.zeros(31 * 7), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-9}
    )
    return found.fun, found.x.reshape(31, 7)


@pytest.mark.parametrize("reg", [1e-1, 1e-3, 1e-4])
def test_it_finds_the_optimum_that_scipy_finds(reg: float) -> None:
    state, losses = run(settings(reg, epochs=1000))
    least, where = optimum(reg)
    assert len(losses) < 1000  # it ends by itself
    assert least - 1e-7 <= state.best.loss < least + 1e-6
    assert np.abs(state.parameters() - where).max() < 1e-2 * np.abs(where).max()


def test_some_rows_are_trained_on_and_no_others() -> None:
    kept = np.sort(np.random.default_rng(1).choice(600, 400, replace=False)).astype(np.uint32)
    state, _ = run(settings(epochs=1000), rows=kept)
    assert state.best.loss == pytest.approx(optimum(1e-3, kept)[0], abs=1e-6)
    changed = STORED.copy()
    changed[np.setdiff1d(ROWS, kept)] = 255
    again, _ = run(settings(epochs=1000), changed, rows=kept)
    assert again.parameters().tobytes() == state.parameters().tobytes()


def test_the_loss_never_rises_and_starts_with_the_logarithm_of_the_classes() -> None:
    state, seen = initial_state(30, 7, 255.0), []
    for cross_entropy in minimise(Blocks(STORED, LABELS, ROWS), settings(epochs=60), state):
        seen.append(state.best.loss)
        assert cross_entropy == state.best.cross_entropy
    assert seen[0] == pytest.approx(math.log(7), abs=1e-6)
    assert seen == sorted(seen, reverse=True)
    assert state.epoch == len(seen)


def test_float_rows_of_scale_1_train_to_the_weights_of_pixels_of_scale_255() -> None:
    of_pixels, _ = run(settings(epochs=200))
    of_floats, _ = run(settings(epochs=200), (STORED / 255).astype(np.float32), scale=1.0)
    largest = np.abs(of_pixels.parameters()).max()
    assert np.abs(of_pixels.parameters() - of_floats.parameters()).max() < 1e-3 * largest


@pytest.mark.parametrize("block", [7, 64, 100, 600, 16_384])
def test_the_same_bits_from_any_number_of_threads(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block)
    alone, losses = run(settings(epochs=8), threads=1)
    for threads in (2, 3, 8):
        counted: list[int] = []
        state, again = run(settings(epochs=8), threads=threads, on_rows=counted.append)
        assert (state.parameters().tobytes(), again) == (alone.parameters().tobytes(), losses)
        assert sum(counted) == 8 * 600
        assert set(counted) <= {min(block, 600), 600 % block}


def test_an_interruption_waits_for_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    over = threading.Event()

    def held(*arguments: Any) -> Sum:
        begun.append(len(begun))
        if len(begun) > 1:
            over.wait(20)
        return sum_of_block(*arguments)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(blocks, "BLOCK_ROWS", 50)
    monkeypatch.setattr(lbfgs, "sum_of_block", held)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(settings(epochs=1), threads=2, on_rows=interrupt)
    assert time.monotonic() - started < 10
    over.set()
    assert len(begun) <= 3  # the first, and one for each thread


@pytest.mark.parametrize("columns", [1, 30, 5000])
def test_the_sum_of_a_block_is_that_of_the_formulas(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(lbfgs, "_PART_NUMBERS", 1 << 18)  # parts of 52 rows of 5,000 columns
    rng = np.random.default_rng(columns)
    stored = rng.integers(0, 256, (600, columns)).astype(np.uint8)
    V = rng.normal(0, 1e-2 / columns**0.5, (7, columns + 1)).astype(np.float32)
    rows = np.sort(rng.choice(600, 555, replace=False)).astype(np.uint32)
    found = sum_of_block(stored, LABELS, rows, V, 255.0)
    X, Y, P = stored[rows] / 255, one_hot(LABELS[rows], 7), V.T.astype(float) * 255
    dW, dB = softmax.gradient(X, Y, P[:-1], P[-1], 0.0)
    assert found.nats == pytest.approx(
        555 * softmax.cross_entropy(softmax.logits(X, P[:-1], P[-1]), Y), rel=1e-6
    )
    expected = 555 * 255 * np.vstack([dW, dB]).T
    assert np.abs(found.product - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("count", range(1, 40))
def test_folding_runs_of_blocks_first_gives_the_same_bits(count: int) -> None:
    rng = np.random.default_rng(count)
    sums = [
        Sum(float(x), x * rng.normal(size=3))
        for x in rng.normal(size=count) * 10.0 ** rng.integers(-8, 8, count)
    ]
    whole = folded(sums)
    for size in (2, 4, 8, 16):
        runs = folded(folded(sums[at : at + size]) for at in range(0, count, size))
        assert (runs.nats, runs.product.tobytes()) == (whole.nats, whole.product.tobytes())
    assert whole.nats == pytest.approx(math.fsum(total.nats for total in sums), rel=1e-9)


def test_each_state_between_passes_goes_on_to_the_same_bits() -> None:
    whole, losses = run(settings(1e-4, epochs=40))
    state = initial_state(30, 7, 255.0)
    for done, _ in enumerate(minimise(Blocks(STORED, LABELS, ROWS), settings(1e-4, epochs=40), state), 1):
        if done in {1, 2, 3, 17, 39}:
            kept = state.copy()
            resumed, rest = run(settings(1e-4, epochs=40), state=kept)
            assert rest == losses[done:]
            assert resumed.parameters().tobytes() == whole.parameters().tobytes()


def test_a_step_that_raises_the_loss_is_tried_again_shorter() -> None:
    state = initial_state(30, 7, 255.0)
    list(minimise(Blocks(STORED, LABELS, ROWS), settings(epochs=5), state))
    too_long = replace(state, length=1e4)
    before = too_long.best
    lengths = []
    for _ in minimise(Blocks(STORED, LABELS, ROWS), settings(epochs=30), too_long):
        if too_long.best is not before:
            break
        lengths.append(too_long.length)
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) > 1
    assert too_long.best.loss < before.loss


def test_a_penalty_near_the_largest_number_still_ends() -> None:
    state, losses = run(settings(1e30, epochs=300))
    assert np.isfinite(losses).all()
    assert np.isfinite(state.parameters()).all()
    assert np.abs(state.parameters()[:-1]).max() < 1e-6  # only the bias is free


def test_on_step_sees_the_parameters_before_each_pass_and_changes_nothing() -> None:
    seen: list[Any] = []
    watched, _ = run(settings(epochs=6), on_step=lambda done, parameters: seen.append((done, parameters())))
    plain, _ = run(settings(epochs=6))
    assert [done for done, _ in seen] == list(range(6))
    assert not seen[0][1].any()
    assert not seen[1][1].any()  # the first pass is spent at the start
    assert seen[2][1].any()
    assert watched.parameters().tobytes() == plain.parameters().tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_other_dtypes_are_refused(dtype: Any) -> None:
    with pytest.raises(TypeError, match="rows are uint8 or float32"):
        run(settings(), STORED.astype(dtype))


# The curvature at the start -----------------------------------------------------------------------------------------

NOTHING = np.zeros(31)


def test_the_curvature_is_how_the_gradient_changes_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curvature, "_PART_NUMBERS", 31 * 100)  # six parts
    monkeypatch.setattr(curvature, "_RIDGE", 1e-12)
    inverse = inverted(start_curvature(STORED, ROWS, 255.0, 7, 1e-3), NOTHING)
    X, Y, P = STORED / 255, one_hot(LABELS, 7), np.zeros((31, 7))
    step = np.random.default_rng(0).normal(0, 1e-4, (31, 7))
    step -= step.mean(axis=1, keepdims=True)  # what all classes share changes nothing
    dW, dB = softmax.gradient(X, Y, P[:-1] + step[:-1], P[-1] + step[-1], 1e-3)
    dW0, dB0 = softmax.gradient(X, Y, P[:-1], P[-1], 1e-3)
    change = np.vstack([dW - dW0, dB - dB0])
    expected = np.linalg.solve(inverse, step)
    np.testing.assert_allclose(change, expected, atol=1e-3 * np.abs(expected).max())


def passes_to(least: float, stored: Any, reg: float) -> int:
    """How many passes the loss takes to come within 1e-4 of `least`, at most 200."""
    state = initial_state(stored.shape[1], 7, 1.0)
    for _ in minimise(Blocks(stored, LABELS, ROWS), settings(reg, epochs=200), state):
        if state.best.loss < least + 1e-4:
            break
    return state.epoch


def test_features_of_very_different_scales_take_no_more_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    scales = np.logspace(-1, 3, 30)
    stored = ((STORED / 255 - 0.2) * scales).astype(np.float32)
    state = initial_state(30, 7, 1.0)
    list(minimise(Blocks(stored, LABELS, ROWS), settings(1e-6, epochs=1000), state))
    with_curvature = passes_to(state.best.loss, stored, 1e-6)
    monkeypatch.setattr(lbfgs, "inverse_at_start", lambda *_: np.ones(1))
    assert with_curvature < 60
    assert passes_to(state.best.loss, stored, 1e-6) > 2 * with_curvature


def test_of_more_columns_only_the_diagonal_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = inverted(start_curvature(STORED, ROWS, 255.0, 7, 1e-3), NOTHING)
    monkeypatch.setattr(curvature, "_MOST_COLUMNS", 30)
    diagonal = inverted(start_curvature(STORED, ROWS, 255.0, 7, 1e-3), NOTHING)
    assert (whole.shape, diagonal.shape) == ((31, 31), (31,))
    np.testing.assert_allclose(diagonal, 1 / np.diag(np.linalg.inv(whole)))
    state, _ = run(settings(epochs=1000))
    assert state.best.loss == pytest.approx(optimum(1e-3)[0], abs=1e-6)


@pytest.mark.parametrize("reg", [0.0, 1e-3])
@pytest.mark.parametrize("most", [30, 2048])
def test_features_that_are_zero_or_depend_on_others_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, reg: float, most: int
) -> None:
    monkeypatch.setattr(curvature, "_MOST_COLUMNS", most)
    stored = STORED.copy()
    stored[:, :3], stored[:, 3], stored[:, 4] = 0, stored[:, 5], 255
    state, losses = run(settings(reg, epochs=60), stored)
    assert losses[-1] < losses[0] / 2
    assert np.isfinite(state.parameters()).all()
    assert not state.parameters()[:3].any()


def test_a_sample_of_many_rows_gives_nearly_their_curvature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curvature, "SAMPLE", 299)  # every third row
    part = inverted(start_curvature(STORED, ROWS, 255.0, 7, 1e-1), NOTHING)
    np.testing.assert_array_equal(
        part, inverted(start_curvature(STORED[::3], ROWS[:200], 255.0, 7, 1e-1), NOTHING)
    )


@pytest.mark.parametrize("reg", [0.0, 1e-9])
def test_a_feature_that_the_sample_hardly_shows_makes_no_enormous_step(
    monkeypatch: pytest.MonkeyPatch, reg: float
) -> None:
    monkeypatch.setattr(curvature, "SAMPLE", 60)
    stored = STORED.copy()
    stored[:, :10] = 0
    stored[::10, :10] = 1  # the sample has every tenth row
    stored[5::70, :10] = 255
    state, losses = run(settings(reg, epochs=60), stored)
    assert state.best.loss < losses[0] / 4
    inverse = inverse_at_start(Blocks(stored, LABELS, ROWS), 255.0, 7, reg)
    assert np.diag(inverse)[:10].max() < 2 * 60 * 7


def test_floats_of_either_sign_count_by_their_size() -> None:
    stored = np.zeros((600, 30), np.float32)
    stored[1, 0], stored[2, 0], stored[3, 1] = -4, 3, 2  # the first row of three is in a sample of 200
    inverse = inverse_at_start(Blocks(stored[:, :], LABELS, ROWS), 1.0, 7, 1.0)
    unseen = np.array([16, 4, 0]) / (600 * 7)
    np.testing.assert_allclose(
        np.diag(inverse)[:3] ** -1, 1 + unseen + np.array([25, 4, 0]) / (600 * 7), rtol=1e-4
    )
