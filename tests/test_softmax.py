"""The derivation's functions against central differences, closed forms and an independent implementation."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnist_softmax import softmax
from mnist_softmax.data.split import one_hot

finite = st.floats(-1e4, 1e4)
logit_arrays = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=finite)


@pytest.fixture
def problem() -> Any:
    """X, Y, W, B of 7 rows, 5 pixels, 4 classes."""
    rng = np.random.default_rng(1)
    Y = one_hot(rng.integers(0, 4, 7), 4)
    return rng.random((7, 5)), Y, rng.normal(size=(5, 4)), rng.normal(size=4)


@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_gradient_matches_central_differences(problem: Any, reg: Any) -> None:
    X, Y, W, B = problem
    eps = 1e-5
    dW, dB = softmax.gradient(X, Y, W, B, reg)
    for parameter, derivative in ((W, dW), (B, dB)):
        numeric = np.empty_like(parameter)
        for place in np.ndindex(parameter.shape):
            kept = parameter[place]
            parameter[place] = kept + eps
            above = softmax.loss(X, Y, W, B, reg)
            parameter[place] = kept - eps
            below = softmax.loss(X, Y, W, B, reg)
            parameter[place] = kept
            numeric[place] = (above - below) / (2 * eps)
        np.testing.assert_allclose(derivative, numeric, rtol=0, atol=1e-8)


def test_the_bias_is_not_penalised(problem: Any) -> None:
    X, Y, W, B = problem
    without, with_penalty = (softmax.gradient(X, Y, W, B, reg) for reg in (0.0, 2.0))
    np.testing.assert_array_equal(without[1], with_penalty[1])
    np.testing.assert_allclose(with_penalty[0] - without[0], 2 * W)


def test_loss_agrees_with_scipy(problem: Any) -> None:
    special = pytest.importorskip("scipy.special")
    X, Y, W, B = problem
    F = X @ W + B
    expected = -(Y * special.log_softmax(F, axis=1)).sum() / len(X) + 0.05 * (W**2).sum()
    assert softmax.loss(X, Y, W, B, 0.1) == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(softmax.softmax(F), special.softmax(F, axis=1), rtol=1e-13)


@given(logit_arrays)
def test_rows_of_probabilities_are_positive_and_sum_to_one(F: Any) -> None:
    S = softmax.softmax(F)
    assert (S >= 0).all()
    np.testing.assert_allclose(S.sum(axis=1), 1, rtol=1e-14)


@given(logit_arrays, finite)
def test_a_shift_of_all_logits_changes_nothing(F: Any, constant: Any) -> None:
    np.testing.assert_allclose(softmax.softmax(F + constant), softmax.softmax(F), rtol=1e-9, atol=1e-12)


@given(logit_arrays)
def test_log_probabilities_are_finite_and_agree_with_probabilities(F: Any) -> None:
    log_S = softmax.log_softmax(F)
    assert np.isfinite(log_S).all()
    np.testing.assert_allclose(np.exp(log_S), softmax.softmax(F), rtol=1e-12, atol=1e-300)


@given(logit_arrays)
def test_the_larger_logit_has_the_larger_probability(F: Any) -> None:
    S = softmax.softmax(F)
    assert (np.take_along_axis(S, F.argmax(axis=1)[:, None], 1)[:, 0] == S.max(axis=1)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_neither_overflow_nor_give_nan(dtype: Any) -> None:
    F = np.array([[1e30, 0, -1e30], [-1e30, -1e30, -1e30]], dtype)
    S = softmax.softmax(F)
    np.testing.assert_array_equal(S[0], [1, 0, 0])
    np.testing.assert_allclose(S[1], 1 / 3, rtol=1e-6)
    assert softmax.cross_entropy(F[:1], np.array([[1.0, 0, 0]], dtype)) == 0
    assert S.dtype == dtype


def test_the_loss_of_zero_weights_is_the_logarithm_of_the_number_of_classes(problem: Any) -> None:
    X, Y, W, B = problem
    assert softmax.loss(X, Y, 0 * W, 0 * B, 1.0) == pytest.approx(np.log(4), rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_every_function_keeps_the_dtype_it_is_given(problem: Any, dtype: Any) -> None:
    X, Y, W, B = (array.astype(dtype) for array in problem)
    F = softmax.logits(X, W, B)
    S = softmax.softmax(F)
    results = {
        "F": F,
        "shifted": softmax.shift(F),
        "S": S,
        "log S": softmax.log_softmax(F),
        "C": softmax.cross_entropy(F, Y),
        "penalty": softmax.penalty(W, 0.1),
        "loss": softmax.loss(X, Y, W, B, 0.1),
        "Jacobian": softmax.jacobian(S),
        "dc/dS": softmax.probability_gradient(S, Y),
        "dc/dF": softmax.logit_gradient(S, Y),
        **dict(zip(("dloss/dW", "dloss/dB"), softmax.gradient(X, Y, W, B, 0.1), strict=True)),
    }
    assert {name: result.dtype for name, result in results.items()} == dict.fromkeys(results, dtype)


def test_the_complex_step_through_the_loss_is_its_gradient(problem: Any) -> None:
    X, Y, W, B = problem
    for derivative, direction in zip(softmax.gradient(X, Y, W, B, 0.3), (W / 2, B / 2), strict=True):
        moved = [1e-30j * direction if direction.shape == p.shape else 0 * p for p in (W, B)]
        slope = softmax.loss(X, Y, W + moved[0], B + moved[1], 0.3).imag / 1e-30
        assert slope == pytest.approx((derivative * direction).sum(), rel=1e-13)
