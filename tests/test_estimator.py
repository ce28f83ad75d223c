"""The estimator: scikit-learn's own checks, its minimum, its numbers, and the tools of scikit-learn around it."""

import json
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import clean_environment

import mnist_softmax as ms
from mnist_softmax import softmax
from mnist_softmax.data.split import one_hot

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mnist_softmax.estimator import SoftmaxRegression

IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]


def python(code: str, **environment: Any) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loss(model: Any, X: Any, y: Any, reg: float) -> float:
    """The derivation's loss at a fitted model, in float64."""
    Y = one_hot(np.searchsorted(model.classes_, y), len(model.classes_))
    return float(softmax.loss(X, Y, model.coef_.T.astype(float), model.intercept_.astype(float), reg))


def test_it_passes_every_check_of_scikit_learn() -> None:
    """None is expected to fail; those of array API and of pandas run only where they can."""
    pytest.importorskip("pandas")
    code = """
import json, warnings
from collections import Counter
from sklearn.utils.estimator_checks import check_estimator
from mnist_softmax.estimator import SoftmaxRegression
warnings.simplefilter("ignore")
print(json.dumps(Counter(check["status"] for check in check_estimator(SoftmaxRegression()))))
"""
    counts = json.loads(python(code, SCIPY_ARRAY_API=1))
    assert set(counts) == {"passed"}
    assert counts["passed"] >= 54


@pytest.mark.parametrize("reg", [1e-1, 1e-3])
def test_the_minimum_is_that_of_logistic_regression(reg: float) -> None:
    model = SoftmaxRegression(reg, tol=0, epochs=1000).fit(IRIS, NAMES)
    theirs = LogisticRegression(C=1 / (reg * len(IRIS)), tol=1e-8, max_iter=10_000).fit(IRIS, NAMES)
    assert model.coef_.shape == (3, 4)
    assert model.intercept_.shape == (3,)
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    assert loss(model, IRIS, NAMES, reg) == pytest.approx(loss(theirs, IRIS, NAMES, reg), abs=1e-6)
    np.testing.assert_allclose(model.predict_proba(IRIS), theirs.predict_proba(IRIS), atol=2e-3)
    np.testing.assert_array_equal(model.predict(IRIS), theirs.predict(IRIS))
    assert model.score(IRIS, NAMES) == theirs.score(IRIS, NAMES)


def test_pixels_are_trained_on_as_the_command_line_does_bit_for_bit() -> None:
    split, test = ms.open_split("mnist-sample"), ms.open_split("mnist-sample", "test")
    model = SoftmaxRegression(reg=1e-3, epochs=20, tol=0)
    with pytest.warns(ConvergenceWarning, match="not converged after epochs=20"):
        model.fit(split.images, split.labels)
    other = ms.train(split, solver="lbfgs", reg=1e-3, epochs=20, val_size=0)
    assert model.n_iter_ == 20
    np.testing.assert_array_equal(np.vstack([model.coef_.T, model.intercept_]), other.array)
    np.testing.assert_array_equal(model.predict(test.images), other.predict(test.images))
    np.testing.assert_allclose(model.predict_proba(test.images), other.predict_proba(test.images), atol=1e-5)


def test_uint8_counts_255_as_1_and_other_numbers_are_taken_as_they_are() -> None:
    pixels = (IRIS * 30).astype(np.uint8)
    exact = SoftmaxRegression(1e-3, tol=1e-6, epochs=1000)
    of_pixels = clone(exact).fit(pixels, NAMES)
    for dtype in (np.float64, np.float32):
        model = clone(exact).fit((pixels / 255).astype(dtype), NAMES)
        np.testing.assert_allclose(
            model.predict_proba((pixels / 255).astype(dtype)), of_pixels.predict_proba(pixels), atol=1e-3
        )
    as_integers = clone(exact).fit(pixels.astype(int), NAMES)
    assert np.abs(as_integers.coef_).max() < 0.2 * np.abs(of_pixels.coef_).max()


def test_a_shift_of_the_features_changes_nothing_though_float32_cannot_hold_it() -> None:
    shift = np.array([1e9, -1e7, 0, 1e8])
    model, shifted = (
        SoftmaxRegression(1e-3).fit(IRIS, NAMES),
        SoftmaxRegression(1e-3).fit(IRIS + shift, NAMES),
    )
    np.testing.assert_allclose(shifted.predict_proba(IRIS + shift), model.predict_proba(IRIS), atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_probabilities_are_float64_and_sum_to_1_whatever_it_was_trained_on(dtype: Any) -> None:
    X = (10 * IRIS).astype(dtype)
    S = SoftmaxRegression().fit(X, NAMES).predict_proba(X)
    assert S.dtype == np.float64
    assert np.abs(S.sum(axis=1) - 1).max() < 1e-15


def test_it_ends_when_the_gradient_is_within_tol() -> None:
    X = StandardScaler().fit_transform(IRIS)
    passes = [SoftmaxRegression(1e-2, tol=tol).fit(X, SPECIES).n_iter_ for tol in (1e-1, 1e-3, 1e-5)]
    assert passes == sorted(set(passes))
    model = SoftmaxRegression(1e-2, tol=1e-3).fit(X, SPECIES)
    dW, dB = softmax.gradient(
        X, one_hot(SPECIES, 3), model.coef_.T.astype(float), model.intercept_.astype(float), 1e-2
    )
    assert max(np.abs(dW).max(), np.abs(dB).max()) <= 1.01e-3


def test_grid_search_in_a_pipeline_on_two_processes() -> None:
    pipeline = make_pipeline(StandardScaler(), SoftmaxRegression())
    search = GridSearchCV(pipeline, {"softmaxregression__reg": [1e-3, 1e1]}, cv=3, n_jobs=2)
    search.fit(IRIS, NAMES)
    assert search.best_params_ == {"softmaxregression__reg": 1e-3}
    assert search.score(IRIS, NAMES) > 0.95


def test_a_clone_has_the_parameters_and_a_pickle_the_model() -> None:
    model = SoftmaxRegression(1e-2, epochs=77, tol=1e-3).fit(IRIS, NAMES)
    assert clone(model).get_params() == {"reg": 1e-2, "epochs": 77, "tol": 1e-3}
    assert not hasattr(clone(model), "coef_")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(IRIS), model.predict_proba(IRIS))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"reg": -1}, "wrong value of reg"),
        ({"reg": "a"}, "reg"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
    ],
)
def test_a_wrong_parameter_is_a_value_error_that_names_it(parameters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoftmaxRegression(**parameters).fit(IRIS, NAMES)


def test_what_cannot_be_trained_on_is_refused() -> None:
    with pytest.raises(ValueError, match="one class: setosa"):
        SoftmaxRegression().fit(IRIS[:50], NAMES[:50])
    for factor in (1e37, 1e60):  # of the first only the sums, in the gradient, are too large
        with pytest.raises(ValueError, match="too large for float32"):
            SoftmaxRegression().fit(IRIS * factor, NAMES)
    with pytest.raises(ValueError, match="3 features, but SoftmaxRegression is expecting 4"):
        SoftmaxRegression().fit(IRIS, NAMES).predict(IRIS[:, :3])


def test_without_scikit_learn_an_import_error_names_the_extra() -> None:
    code = """
import sys
import mnist_softmax as ms
ms.train
assert "sklearn" not in sys.modules
sys.modules["sklearn"] = None
try:
    import mnist_softmax.estimator
except ImportError as error:
    print(error)
"""
    wanted = "scikit-learn >= 1.6 is missing; install it with: pip install 'mnist-softmax[sklearn]'\n"
    assert python(code) == wanted


@pytest.mark.full
def test_the_default_comes_closer_to_the_optimum_of_mnist_than_100_passes_of_theirs(cache: Any) -> None:
    split = ms.open_split("mnist", "train", cache_dir=cache, offline=True)
    model = SoftmaxRegression(reg=1e-4).fit(split.images, split.labels)
    assert loss(model, split.images / 255, split.labels, 1e-4) < 0.2592482953 + 1.8e-3
