"""Seconds until the loss over all 60,000 rows, lambda 1e-4, is down to 0.2610: ours, or scikit-learn's.

`reach_loss.py DATA ours|estimator|lbfgs|saga` prints the seconds of the fit alone and the loss that was
reached. For lbfgs the clock stops at the first evaluation of the objective that is low enough, which no user
of it can do; saga and our estimator say nothing while they run, so they get a number of epochs that just
suffices.
"""

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from peer import BATCH_SIZE, REG, load

from mnist_softmax import softmax

WANTED = 0.2610
SAGA_EPOCHS = 14
OUR_EPOCHS, OUR_LR, OUR_MOMENTUM = 11, 0.3, 0.9
ESTIMATOR_EPOCHS = 28

Fit = Callable[[], tuple[NDArray[Any], NDArray[Any]]]


def ours() -> Fit:
    """Minibatch gradient descent as `mnist-softmax train` runs it, from the mapped file on."""
    from mnist_softmax.data.open import open_split
    from mnist_softmax.features.steps import SCALE
    from mnist_softmax.settings import Settings
    from mnist_softmax.training.descent import descend
    from mnist_softmax.training.kernel import initial_state

    split = open_split(data_dir=Path(sys.argv[1]))
    rows = np.arange(len(split.labels), dtype=np.uint32)
    settings = Settings(lr=OUR_LR, reg=REG, momentum=OUR_MOMENTUM, epochs=OUR_EPOCHS, batch_size=BATCH_SIZE)

    def fit() -> tuple[NDArray[Any], NDArray[Any]]:
        state = initial_state(784, 10, SCALE)
        for _ in descend(split.images, split.labels, rows, [settings], state):
            pass
        parameters = state.parameters()
        return parameters[:-1], parameters[-1]

    return fit


def estimator() -> Fit:
    """`SoftmaxRegression` on the pixels, for ESTIMATOR_EPOCHS passes."""
    from mnist_softmax.estimator import SoftmaxRegression

    images, labels = load()
    model = SoftmaxRegression(REG, epochs=ESTIMATOR_EPOCHS, tol=0.0)

    def fit() -> tuple[NDArray[Any], NDArray[Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged, as intended
            model.fit(images, labels)
        return model.coef_.T, model.intercept_

    return fit


class _Reached(Exception):  # noqa: N818
    def __init__(self, parameters: NDArray[Any]) -> None:
        self.parameters = parameters


def lbfgs() -> Fit:
    """LogisticRegression(solver="lbfgs"), stopped as soon as its objective, which is our loss, is reached."""
    import scipy.optimize
    from sklearn.linear_model import LogisticRegression

    X, y = _scaled()
    model = LogisticRegression(C=1 / (REG * len(y)), solver="lbfgs", max_iter=1000, tol=1e-9)
    minimize = scipy.optimize.minimize

    def stopping(objective: Any, start: Any, **options: Any) -> Any:
        def watched(parameters: Any, *arguments: Any) -> Any:
            loss, gradient = objective(parameters, *arguments)
            if loss <= WANTED:
                raise _Reached(parameters)
            return loss, gradient

        return minimize(watched, start, **options)

    def fit() -> tuple[NDArray[Any], NDArray[Any]]:
        try:
            with mock.patch("scipy.optimize.minimize", stopping):
                model.fit(X, y)
        except _Reached as reached:
            both = reached.parameters.reshape(10, 785, order="F")
            return both[:, :784].T, both[:, 784]
        raise SystemExit("lbfgs ended above the loss wanted")

    return fit


def saga() -> Fit:
    """LogisticRegression(solver="saga") for SAGA_EPOCHS epochs."""
    from sklearn.linear_model import LogisticRegression

    X, y = _scaled()
    model = LogisticRegression(
        C=1 / (REG * len(y)), solver="saga", max_iter=SAGA_EPOCHS, tol=1e-9, random_state=0
    )

    def fit() -> tuple[NDArray[Any], NDArray[Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged, as intended
            model.fit(X, y)
        return model.coef_.T, model.intercept_

    return fit


def _scaled() -> tuple[NDArray[Any], NDArray[np.uint8]]:
    images, labels = load()
    return np.divide(images, 255, dtype=np.float32), labels  # float32 is the faster of the two that it takes


def main() -> None:
    """Fit, then print the seconds and the exact loss."""
    fit = {"ours": ours, "estimator": estimator, "lbfgs": lbfgs, "saga": saga}[sys.argv[2]]()
    started = time.perf_counter()
    W, B = fit()
    seconds = time.perf_counter() - started
    images, labels = load()
    loss = softmax.loss(images / 255, np.eye(10)[labels], W.astype(float), B.astype(float), REG)
    print(seconds, loss)


main()
