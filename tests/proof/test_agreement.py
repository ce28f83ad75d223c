"""Loss and gradient beside two programs that know nothing of this one: PyTorch's autograd and scikit-learn."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from mnist_softmax import softmax
from mnist_softmax.data.open import open_split
from mnist_softmax.data.split import one_hot
from mnist_softmax.proof.references import relative_error
from mnist_softmax.rows import Gatherer
from mnist_softmax.settings import Settings
from mnist_softmax.training.batches import of_epoch
from mnist_softmax.training.kernel import Step, initial_state

ROWS = 1000
REG = 1e-2


class Result(NamedTuple):
    """The loss, and its gradient by W with that by B as the last row."""

    loss: float
    gradient: Any


@pytest.fixture(scope="module")
def problem() -> Any:
    """uint8 images, labels, and random parameters (785, 10) that float32 holds exactly."""
    split = open_split("mnist-sample", "train")
    parameters = np.random.default_rng(4).normal(0, 0.1, (785, 10)).astype(np.float32)
    return split.images[:ROWS], split.labels[:ROWS], parameters


def reference(problem: Any, dtype: Any) -> Result:
    images, labels, parameters = problem
    W, B = np.split(parameters.astype(dtype), [-1])
    arguments = images.astype(dtype) / dtype(255), one_hot(labels, 10, dtype), W, B[0], dtype(REG)
    loss, (dW, dB) = softmax.loss(*arguments), softmax.gradient(*arguments)
    assert loss.dtype == dW.dtype == dB.dtype == dtype
    return Result(float(loss), np.vstack([dW, dB]).astype(float))


def fast(problem: Any) -> Result:
    """The trainer's step in float32: the velocity after one step from rest is the gradient."""
    images, labels, parameters = problem
    state = initial_state(784, 10, 255)
    state.V[:] = parameters.T / 255
    step, rates = Step(state, [Settings(lr=1.0, reg=REG)]), iter([(1.0, 1.0)])
    blocks = of_epoch(Gatherer(images, buffers=1), labels, np.arange(ROWS), ROWS)
    nats = np.mean(np.concatenate([step.run(block, rates).ravel() for block in blocks]))
    step.store()
    loss = nats + softmax.penalty(parameters[:-1].astype(float), REG)
    return Result(float(loss), state.velocity.T.astype(float) * 255)


def by_torch(problem: Any, dtype: Any) -> Result:
    torch = pytest.importorskip("torch")
    images, labels, parameters = problem
    X = torch.tensor(images.astype(dtype)) / 255
    P = torch.tensor(parameters.astype(dtype), requires_grad=True)
    cross_entropy = torch.nn.functional.cross_entropy(
        X @ P[:-1] + P[-1], torch.tensor(labels.astype(np.int64))
    )
    loss = cross_entropy + REG / 2 * (P[:-1] ** 2).sum()
    loss.backward()
    return Result(loss.item(), P.grad.numpy().astype(float))


def by_scikit_learn(problem: Any) -> Result:
    # Private, but the only way to the loss that LogisticRegression minimises. The last two tests use public ones.
    linear_loss = pytest.importorskip("sklearn.linear_model._linear_loss")
    losses = pytest.importorskip("sklearn._loss")
    images, labels, parameters = problem
    model = linear_loss.LinearModelLoss(losses.HalfMultinomialLoss(n_classes=10), fit_intercept=True)
    coef = np.asfortranarray(parameters.T.astype(float))
    loss, gradient = model.loss_gradient(coef, images / 255, labels.astype(float), l2_reg_strength=REG)
    return Result(float(loss), np.reshape(gradient, coef.shape, order="F").T)


PEERS = {"PyTorch": lambda problem: by_torch(problem, np.float64), "scikit-learn": by_scikit_learn}


@pytest.mark.parametrize("peer", PEERS)
def test_the_float64_reference_agrees_with_its_peers_to_1e_12(problem: Any, peer: Any) -> None:
    ours, theirs = reference(problem, np.float64), PEERS[peer](problem)
    assert relative_error(ours.loss, theirs.loss) < 1e-12
    assert relative_error(ours.gradient, theirs.gradient) < 1e-12


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(
    "ours", [fast, lambda problem: reference(problem, np.float32)], ids=["fast", "reference"]
)
def test_float32_agrees_with_its_peers_to_1e_6(problem: Any, peer: Any, ours: Any) -> None:
    mine, theirs = ours(problem), PEERS[peer](problem)
    assert relative_error(mine.loss, theirs.loss) < 1e-6
    assert relative_error(mine.gradient, theirs.gradient) < 1e-6


def test_float32_agrees_with_float32_of_pytorch_to_1e_6(problem: Any) -> None:
    mine, theirs = fast(problem), by_torch(problem, np.float32)
    assert relative_error(mine.loss, theirs.loss) < 1e-6
    assert relative_error(mine.gradient, theirs.gradient) < 1e-6


def test_log_loss_of_scikit_learn_is_the_cross_entropy(problem: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    images, labels, parameters = problem
    W, B = np.split(parameters.astype(float), [-1])
    F = softmax.logits(images / 255, W, B[0])
    expected = metrics.log_loss(labels, softmax.softmax(F), labels=range(10))
    assert softmax.cross_entropy(F, one_hot(labels, 10)) == pytest.approx(expected, rel=1e-12)


def test_our_gradient_vanishes_where_scikit_learn_finds_the_minimum(problem: Any) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    images, labels, _ = problem
    X, Y = images[:200, 300:500] / 255, one_hot(labels[:200], 10)
    model = linear_model.LogisticRegression(C=1 / (REG * 200), tol=1e-9, max_iter=10_000).fit(X, labels[:200])
    dW, dB = softmax.gradient(X, Y, model.coef_.T, model.intercept_, REG)
    at_rest, _ = softmax.gradient(X, Y, 0 * model.coef_.T, 0 * model.intercept_, REG)
    assert max(np.abs(dW).max(), np.abs(dB).max()) < 1e-5 * np.abs(at_rest).max()
