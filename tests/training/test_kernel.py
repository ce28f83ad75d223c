"""One fast step against the reference, for every shape, stored dtype and scale."""

from typing import Any

import numpy as np
import pytest

from mnist_softmax import softmax
from mnist_softmax.data.split import one_hot
from mnist_softmax.settings import Settings
from mnist_softmax.training.kernel import State, Step, initial_state


def random_state(columns: int, classes: int, scale: float = 255, models: int = 1) -> State:
    state = initial_state(columns, classes, scale, models)
    rng = np.random.default_rng(1)
    state.V[:] = rng.normal(size=state.V.shape) / scale
    state.velocity[:] = rng.normal(size=state.V.shape)
    return state


def gradient(step: Step, stored: Any, labels: Any) -> Any:
    """The cross-entropy of each row under each model, (K, M); `step.gradients` holds the gradient then."""
    work = step.workspace(1)
    step.gradient(stored, np.arange(len(labels)), step.place(labels)[0], work[0][0], work[1][0])
    return step.nats(*work)[0]


def assert_equals_the_reference(
    state: State, stored: Any, labels: Any, classes: int, batch_size: int
) -> None:
    rows, columns = stored.shape
    step = Step(state, [Settings()], batch_size, rows)
    nats = gradient(step, stored, labels)[0]
    X, Y = stored.astype(float) / state.scale, one_hot(labels, classes)
    W, B = np.split(state.parameters().astype(float), [columns])
    dW, dB = softmax.gradient(X, Y, W, B, 0)
    expected = np.vstack([dW, dB])
    got = step.gradients.sum(axis=0, dtype=float).T / (batch_size * state.scale)
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-6
    F = softmax.logits(X, W, B)
    of_row = [softmax.cross_entropy(F[m : m + 1], Y[m : m + 1]) for m in range(rows)]
    assert np.abs(nats - of_row).max() / np.abs(of_row).max() < 1e-6


@pytest.mark.parametrize(
    ("columns", "classes", "rows"),
    [
        (784, 10, 128),
        (784, 10, 64),
        (784, 10, 100),
        (784, 10, 37),
        (784, 10, 1),
        (64, 10, 500),
        (784, 47, 128),
        (784, 10, 1024),
        (784, 10, 5000),
        (784, 47, 2500),
        (5, 256, 1500),
        (5, 256, 9),
    ],
)
def test_the_gradient_and_the_loss_of_each_row_equal_the_reference(
    columns: int, classes: int, rows: int
) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (rows, columns), np.uint8)
    labels = rng.integers(0, classes, rows).astype(np.uint8)
    assert_equals_the_reference(random_state(columns, classes), stored, labels, classes, rows)


@pytest.mark.parametrize("rows", [127, 37, 1])
def test_the_rows_of_a_short_batch_weigh_more_so_that_it_is_a_mean_too(rows: int) -> None:
    rng = np.random.default_rng(0)
    stored, labels = rng.integers(0, 256, (rows, 784), np.uint8), rng.integers(0, 10, rows)
    assert_equals_the_reference(random_state(784, 10), stored, labels, 10, 128)


@pytest.mark.parametrize("scale", [1.0, 255.0, 0.1])
def test_float32_rows_of_any_scale_equal_the_reference(scale: float) -> None:
    rng = np.random.default_rng(0)
    stored, labels = (scale * rng.normal(size=(100, 300))).astype(np.float32), rng.integers(0, 10, 100)
    assert_equals_the_reference(random_state(300, 10, scale), stored, labels, 10, 100)


def test_pixels_of_another_scale_equal_the_reference() -> None:
    rng = np.random.default_rng(0)
    stored, labels = rng.integers(0, 17, (50, 64), np.uint8), rng.integers(0, 10, 50)
    assert_equals_the_reference(random_state(64, 10, 16.0), stored, labels, 10, 50)


def test_a_batch_leaves_nothing_behind_for_the_next_one() -> None:
    rng = np.random.default_rng(0)
    batches = rng.integers(0, 256, (2, 37, 784), np.uint8), rng.integers(0, 10, (2, 37))
    state = random_state(784, 10)
    used, fresh = (Step(state, [Settings()], 37, 37) for _ in range(2))
    for stored, labels in zip(*batches, strict=True):
        nats = gradient(used, stored, labels)
    assert gradient(fresh, stored, labels).tobytes() == nats.tobytes()
    assert fresh.gradients.tobytes() == used.gradients.tobytes()


def test_a_step_of_several_models_is_the_step_of_each() -> None:
    rng = np.random.default_rng(0)
    stored, labels = rng.integers(0, 256, (90, 50), np.uint8), rng.integers(0, 7, 90)
    models = [Settings(lr=0.1, reg=0.2, momentum=0.5), Settings(lr=0.3, reg=0.0, momentum=0.0)]
    together = random_state(50, 7, models=2)
    halves = zip(np.split(together.V, 2), np.split(together.velocity, 2), strict=True)
    alone = [State(V, velocity, 255).copy() for V, velocity in halves]
    nats = []
    for state, of_state in [(together, models), *((s, [m]) for s, m in zip(alone, models, strict=True))]:
        step = Step(state, of_state, 90, 90)
        nats += list(gradient(step, stored, labels))
        step.update(0.7)
    np.testing.assert_allclose(nats[:2], nats[2:], rtol=1e-6)
    for mine, theirs in (
        (together.V, np.vstack([state.V for state in alone])),
        (together.velocity, np.vstack([state.velocity for state in alone])),
    ):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())


def test_a_state_holds_the_parameters_by_scale_and_its_copy_is_its_own() -> None:
    state = random_state(6, 3, scale=4.0)
    np.testing.assert_array_equal(state.parameters(), 4 * state.V.T)
    kept = state.copy()
    state.V += 1
    state.velocity += 1
    assert (kept.V != state.V).all()
    assert (kept.velocity != state.velocity).all()
    assert (kept.scale, kept.epoch) == (4.0, 0)
    assert not initial_state(6, 3, 255, models=2).V.any()
