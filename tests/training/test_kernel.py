"""One fast step against the reference, for every shape, stored dtype and scale, and either form of a product."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_softmax import softmax
from mnist_softmax.data.split import one_hot
from mnist_softmax.rows import Gatherer
from mnist_softmax.settings import Settings
from mnist_softmax.training.batches import of_epoch
from mnist_softmax.training.kernel import State, Step, initial_state

#: A step by the gradient of the cross-entropy, and nothing else.
PLAIN = Settings(lr=1.0, reg=0.0, momentum=0.0)


pytestmark = pytest.mark.usefixtures("form_of_products")


def random_state(columns: int, classes: int, scale: float = 255, models: int = 1) -> State:
    state = initial_state(columns, classes, scale, models)
    rng = np.random.default_rng(1)
    state.V[:] = rng.normal(size=state.V.shape) / scale
    state.velocity[:] = rng.normal(size=state.V.shape)
    return state


def run(
    step: Step, stored: Any, labels: Any, rates: Sequence[tuple[float, float]] = ((1.0, 1.0),)
) -> NDArray[np.float32]:
    """Train on all rows, one batch; return the cross-entropy of each row under each model, (K, M)."""
    rows, left = np.arange(len(labels)), iter(rates)
    blocks = of_epoch(Gatherer(stored, buffers=1), labels, rows, len(labels))
    return np.concatenate([nats for block in blocks for nats in step.run(block, left)], axis=1)


def assert_equals_the_reference(state: State, stored: Any, labels: Any, classes: int) -> None:
    rows, columns = stored.shape
    X, Y = stored.astype(float) / state.scale, one_hot(labels, classes)
    W, B = np.split(state.parameters().astype(float), [columns])
    before = state.copy()
    step = Step(state, [PLAIN])
    nats = run(step, stored, labels)[0]
    step.store()
    dW, dB = softmax.gradient(X, Y, W, B, 0)
    expected = np.vstack([dW, dB])
    got = state.velocity.T.astype(float) * state.scale
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-6
    np.testing.assert_array_equal(state.V, before.V - state.velocity)
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
    assert_equals_the_reference(random_state(columns, classes), stored, labels, classes)


@pytest.mark.parametrize("scale", [1.0, 255.0, 0.1])
def test_float32_rows_of_any_scale_equal_the_reference(scale: float) -> None:
    rng = np.random.default_rng(0)
    stored, labels = (scale * rng.normal(size=(100, 300))).astype(np.float32), rng.integers(0, 10, 100)
    assert_equals_the_reference(random_state(300, 10, scale), stored, labels, 10)


def test_pixels_of_another_scale_equal_the_reference() -> None:
    rng = np.random.default_rng(0)
    stored, labels = rng.integers(0, 17, (50, 64), np.uint8), rng.integers(0, 10, 50)
    assert_equals_the_reference(random_state(64, 10, 16.0), stored, labels, 10)


def test_a_batch_leaves_nothing_behind_for_the_next_one() -> None:
    rng = np.random.default_rng(0)
    batches = rng.integers(0, 256, (3, 37, 784), np.uint8), rng.integers(0, 10, (3, 37))
    state = random_state(784, 10)
    still = Settings(lr=1e-30, reg=0, momentum=0)
    used, fresh = Step(state, [still]), Step(state, [still])
    for stored, labels in zip(*batches, strict=True):
        nats = run(used, stored, labels)
        run(used, stored[:20], labels[:20])  # another size
    assert run(used, stored, labels).tobytes() == nats.tobytes()
    assert run(fresh, stored, labels).tobytes() == nats.tobytes()


@pytest.mark.parametrize("rows", [90, 700])
def test_a_step_of_several_models_is_the_step_of_each(rows: int) -> None:
    rng = np.random.default_rng(0)
    stored, labels = rng.integers(0, 256, (rows, 50), np.uint8), rng.integers(0, 7, rows)
    models = [Settings(lr=0.1, reg=0.2, momentum=0.5), Settings(lr=0.3, reg=0.0, momentum=0.0)]
    together = random_state(50, 7, models=2)
    halves = zip(np.split(together.V, 2), np.split(together.velocity, 2), strict=True)
    alone = [State(V, velocity, 255).copy() for V, velocity in halves]
    nats: list[Any] = []
    for state, of_state in [(together, models), *((s, [m]) for s, m in zip(alone, models, strict=True))]:
        step = Step(state, of_state)
        nats += list(run(step, stored, labels, [(0.7, 0.9)]))
        step.store()
    np.testing.assert_allclose(nats[:2], nats[2:], rtol=0, atol=1e-6 * np.max(nats))
    for mine, theirs in (
        (together.V, np.vstack([state.V for state in alone])),
        (together.velocity, np.vstack([state.velocity for state in alone])),
    ):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())


def test_momentum_penalty_and_a_rate_that_changes_equal_the_formulas() -> None:
    rng = np.random.default_rng(0)
    stored, labels = rng.integers(0, 256, (40, 50), np.uint8), rng.integers(0, 7, 40)
    state, settings = random_state(50, 7), Settings(lr=0.3, reg=0.2, momentum=0.5)
    W, B = np.split(state.parameters().astype(float), [50])
    dW, dB = softmax.gradient(stored / 255, one_hot(labels, 7), W, B, 0.2)
    rate, rate_before = 0.3 * 0.6, 0.3 * 0.8
    velocity = state.velocity.T.astype(float) * 255 / rate_before
    expected = 0.5 * velocity + np.vstack([dW, dB])
    step = Step(state, [settings])
    run(step, stored, labels, [(0.6, 0.6 / 0.8)])
    step.store()
    np.testing.assert_allclose(
        state.velocity.T * 255, rate * expected, rtol=0, atol=1e-6 * np.abs(expected).max()
    )
    np.testing.assert_allclose(
        state.parameters(), np.vstack([W, B]) - rate * expected, rtol=0, atol=1e-6 * np.abs(expected).max()
    )


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
