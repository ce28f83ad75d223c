"""The fast step against the reference, the schedule, and what makes a run repeatable."""

import math
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from mnist_softmax import blas, softmax, train
from mnist_softmax.data import Split, one_hot, train_validation_rows
from mnist_softmax.shuffle import epoch_order


def make_split(rows: int = 600, height: int = 6, width: int = 5, classes: int = 7, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows).astype(np.uint8)
    prototypes = rng.integers(0, 180, (classes, height * width))
    images = (prototypes[labels] + rng.integers(0, 76, (rows, height * width))).astype(np.uint8)
    return Split(images, labels, height, width, {})


def random_state(pixels: Any, classes: int, models: Any = 1, seed: int = 1) -> Any:
    state = train.initial_state(pixels, classes, models)
    rng = np.random.default_rng(seed)
    state.V[:] = rng.normal(size=state.V.shape) / 255
    state.velocity[:] = rng.normal(size=state.V.shape)
    return state


def reference_descent(split: Split, orders: Any, models: Any, schedule: Any, classes: int) -> Any:
    """Gradient descent by the formulas of `softmax`, float64, one model and one batch at a time."""
    results = []
    for model in models:
        W, B = np.zeros((split.images.shape[1], classes)), np.zeros(classes)
        vW, vB, step = 0 * W, 0 * B, 0
        batches = math.ceil(len(orders[0]) / schedule.batch_size)
        for order in orders:
            for start in range(0, len(order), schedule.batch_size):
                rows = order[start : start + schedule.batch_size]
                X, Y = split.images[rows] / 255, one_hot(split.labels[rows], classes)
                dW, dB = softmax.gradient(X, Y, W, B, model.reg)
                rate = model.lr * train.learning_rate_factor(
                    schedule.schedule, step, batches * schedule.epochs
                )
                vW, vB = model.momentum * vW + dW, model.momentum * vB + dB
                W, B, step = W - rate * vW, B - rate * vB, step + 1
        results.append(np.vstack([W, B]))
    return results


@pytest.mark.parametrize(
    ("pixels", "classes", "rows"),
    [
        (784, 10, 128),
        (784, 10, 64),
        (784, 10, 100),
        (784, 10, 37),
        (784, 10, 1),
        (64, 10, 500),
        (784, 47, 128),
        (5, 256, 9),
    ],
)
def test_the_fast_gradient_equals_the_reference(pixels: Any, classes: int, rows: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (rows, pixels), np.uint8)
    labels = rng.integers(0, classes, rows).astype(np.uint8)
    state = random_state(pixels, classes)
    step = train.Step(state, [train.Model()], rows, rows)
    step.gradient(
        images,
        np.arange(rows),
        step.place(labels)[0],
        np.empty(rows, np.float32),
        np.empty(step.largest.shape, np.float32),
    )
    W, B = np.split(state.parameters().astype(float), [pixels])
    dW, dB = softmax.gradient(images / 255, one_hot(labels, classes), W, B, 0)
    expected = np.vstack([dW, dB])
    got = step.gradients.sum(axis=0, dtype=float).T / (rows * 255)
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-6


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("batch_size", [50, 64, 128, 1000])
def test_a_run_equals_descent_by_the_formulas(schedule: Any, batch_size: Any) -> None:
    split = make_split()
    rows = np.arange(600, dtype=np.uint32)
    models = [train.Model(0.3, 0.01, 0.9), train.Model(0.5, 0.0, 0.0), train.Model(0.1, 0.1, 0.5)]
    plan = train.Schedule(3, batch_size, schedule, seed=5)
    orders = [epoch_order(rows, 5, epoch, 784) for epoch in (1, 2, 3)]
    expected = reference_descent(split, orders, models, plan, 7)
    state = train.initial_state(30, 7, 3)
    for _ in train.train(split, rows, rows[:0], models, plan, state):
        pass
    got = np.split(state.parameters(), 3, axis=1)
    for mine, theirs in zip(got, expected, strict=True):
        assert np.abs(mine - theirs).max() / np.abs(theirs).max() < 2e-5


def test_the_running_loss_is_the_mean_cross_entropy_before_each_step() -> None:
    split = make_split()
    rows = np.arange(600, dtype=np.uint32)
    state = random_state(30, 7)
    W, B = np.split(state.parameters().astype(float), [30])
    expected = softmax.cross_entropy(softmax.logits(split.images / 255, W, B), one_hot(split.labels, 7))
    # One batch of everything: the running loss is the loss before the only step. 100 rows a chunk do not divide it.
    (epoch,) = train.train(split, rows, rows, [train.Model()], train.Schedule(1, 600), state)
    assert epoch.running_loss[0] == pytest.approx(expected, rel=1e-6)
    W, B = np.split(state.parameters().astype(float), [30])
    after = softmax.cross_entropy(softmax.logits(split.images / 255, W, B), one_hot(split.labels, 7))
    assert epoch.validation_loss is not None
    assert epoch.validation_loss[0] == pytest.approx(after, rel=1e-6)


def test_models_trained_side_by_side_equal_each_alone() -> None:
    split = make_split()
    rows, held_out = train_validation_rows(600, 100, 0)
    models = [
        train.Model(lr, reg, momentum) for lr in (0.1, 0.4) for reg in (0, 0.01) for momentum in (0, 0.9)
    ]
    together = train.initial_state(30, 7, len(models))
    epochs = list(train.train(split, rows, held_out, models, train.Schedule(4, 32), together))
    for k, model in enumerate(models):
        alone = train.initial_state(30, 7)
        alone_epochs = list(train.train(split, rows, held_out, [model], train.Schedule(4, 32), alone))
        np.testing.assert_allclose(
            together.parameters()[:, 7 * k : 7 * k + 7], alone.parameters(), rtol=0, atol=1e-4
        )
        together_accuracy = epochs[-1].validation_accuracy
        alone_accuracy = alone_epochs[-1].validation_accuracy
        assert together_accuracy is not None
        assert alone_accuracy is not None
        assert together_accuracy[k] == alone_accuracy[0]


def test_a_model_that_diverges_is_marked_and_disturbs_no_other() -> None:
    split = make_split()
    rows = np.arange(600, dtype=np.uint32)
    models = [train.Model(lr=0.1), train.Model(lr=1e30)]
    state = train.initial_state(30, 7, 2)
    epochs = list(train.train(split, rows, rows, models, train.Schedule(2, 32), state))
    alone = train.initial_state(30, 7)
    list(train.train(split, rows, rows, models[:1], train.Schedule(2, 32), alone))
    assert np.isnan(epochs[-1].running_loss).tolist() == [False, True]
    np.testing.assert_allclose(state.parameters()[:, :7], alone.parameters(), rtol=0, atol=1e-5)


def test_every_row_is_used_once_an_epoch_in_an_order_of_seed_and_epoch() -> None:
    rows = np.arange(0, 2000, 2, dtype=np.uint32)
    first = epoch_order(rows, 0, 1, 784)
    assert sorted(first) == list(rows)
    for other in (epoch_order(rows, 0, 2, 784), epoch_order(rows, 1, 1, 784)):
        assert (other != first).mean() > 0.9
    np.testing.assert_array_equal(epoch_order(rows, 0, 1, 784), first)


def test_an_epoch_can_be_repeated_from_the_state_before_it() -> None:
    split = make_split()
    rows = np.arange(600, dtype=np.uint32)
    plan = train.Schedule(4, 64)
    state = train.initial_state(30, 7)
    run = train.train(split, rows, rows[:0], [train.Model()], plan, state)
    next(run)
    next(run)
    kept = state.copy()
    assert kept.epoch == 2
    list(run)
    list(train.train(split, rows, rows[:0], [train.Model()], plan, kept))
    assert kept.V.tobytes() == state.V.tobytes()
    assert kept.velocity.tobytes() == state.velocity.tobytes()


def test_the_cosine_falls_from_one_to_zero_and_constant_stays() -> None:
    factors = [train.learning_rate_factor("cosine", step, 100) for step in range(101)]
    assert factors[0] == 1
    assert factors[50] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert factors == sorted(factors, reverse=True)
    assert train.learning_rate_factor("constant", 99, 100) == 1


def test_progress_counts_every_row() -> None:
    split = make_split()
    counted: list[int] = []
    rows = np.arange(600, dtype=np.uint32)
    list(
        train.train(
            split,
            rows,
            rows[:0],
            [train.Model()],
            train.Schedule(2, 50),
            train.initial_state(30, 7),
            on_rows=counted.append,
        )
    )
    assert sum(counted) == 1200


def test_blas_is_named_and_its_threads_are_put_back() -> None:
    with blas.threads(2), blas.threads(1):
        assert blas_threads() == {1}
    with blas.threads(2):
        with blas.threads(1):
            pass
        assert blas_threads() == {2}
    assert blas.description() != "unknown"


def blas_threads() -> Any:
    pools = threadpoolctl.ThreadpoolController().select(user_api="blas").info()
    return {pool["num_threads"] for pool in pools if "numpy" in pool["filepath"]}
