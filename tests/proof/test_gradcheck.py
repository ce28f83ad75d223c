"""The numeric check of the derivation: it passes on what is right, and fails on every planted mistake."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Program

from mnist_softmax import softmax
from mnist_softmax.data.open import open_split
from mnist_softmax.data.split import Split
from mnist_softmax.features.prepare import prepare
from mnist_softmax.proof import gradcheck, references
from mnist_softmax.proof.training import Formulas
from mnist_softmax.training.blocks import folded
from mnist_softmax.training.curvature import start_curvature
from mnist_softmax.training.descent import learning_rate_factors
from mnist_softmax.training.kernel import Step
from mnist_softmax.training.lbfgs import Sum, direction, sum_of_block

NAMES = [name for name, *_ in gradcheck.STEPS]


def normalised(F: Any) -> Any:
    return np.exp(F) / np.exp(F).sum(axis=-1, keepdims=True)


def with_gradient(change: Any) -> Formulas:
    """The gradient with `change` made to (dW, dB), given the arguments of the gradient too."""
    return Formulas(gradient=lambda *arguments: change(*softmax.gradient(*arguments), *arguments))


def with_loss(change: Any) -> Formulas:
    return Formulas(
        loss=lambda X, Y, W, B, reg: change(
            softmax.cross_entropy(softmax.logits(X, W, B), Y), softmax.penalty(W, reg), X, B, reg
        )
    )


class BiasColumnOfOnes(Step):
    def run(self, block: Any, rates: Any) -> Any:
        self._gradient.workspace(block.cut.rows).X[:, 784] = 1
        return super().run(block, rates)


class NoBiasGradient(Step):
    def run(self, block: Any, rates: Any) -> Any:
        of_bias = self._momentum * self._velocity[:, 784]
        nats = super().run(block, rates)
        self._velocity[:, 784] = of_bias
        return nats


class LabelsForgotten(Step):
    def run(self, block: Any, rates: Any) -> Any:
        return super().run(block._replace(labels=0 * block.labels), rates)


class NoMomentum(Step):
    def _begin(self, *arguments: Any) -> None:
        self._velocity[:] = 0
        super()._begin(*arguments)


class AveragedMomentum(Step):
    def _begin(self, rows: int, factor: float, ratio: float) -> None:
        faded = self._momentum * ratio * self._velocity
        super()._begin(rows, factor, ratio)
        self._velocity[:] = faded + (1 - self._momentum) * (self._velocity - faded)
        self._rate *= 1 - self._momentum


class PenalisedBias(Step):
    def _begin(self, rows: int, factor: float, ratio: float) -> None:
        super()._begin(rows, factor, ratio)
        self._velocity[:, 784] += self._lr_reg * factor * self._V[:, 784]


class Ascent(Step):
    def run(self, block: Any, rates: Any) -> Any:
        before = self._V.copy()
        nats = super().run(block, rates)
        self._V[:] = 2 * before - self._V
        return nats


class RateForgotten(Step):
    def _begin(self, rows: int, factor: float, ratio: float) -> None:
        self._lr, self._lr_reg = self._lr / factor, self._lr_reg / factor
        super()._begin(rows, factor, ratio)


class RatioForgotten(Step):
    def _begin(self, rows: int, factor: float, ratio: float) -> None:
        super()._begin(rows, factor, 1.0)


def counted_alike(rows: int, total: Sum) -> Sum:
    return Sum(13 / rows * total.nats, 13 / rows * total.product)


#: Mistake -> the check that must catch it, and the formulas with the mistake in them. docs/derivation.md lists
#: some of them under these names.
MISTAKES: dict[str, tuple[str, Formulas]] = {
    "F without B": ("logits", Formulas(logits=lambda X, W, B: X @ W)),
    "F of the size of X": ("logits", Formulas(logits=lambda X, W, B: (X @ W + B) @ W.T)),
    "one maximum for all rows": ("shift by the maximum", Formulas(shift=lambda F: F - F.max())),
    "the mean instead of the maximum": (
        "shift by the maximum",
        Formulas(shift=lambda F: F - F.mean(axis=-1, keepdims=True)),
    ),
    "sums over the rows": ("softmax", Formulas(softmax=lambda F: np.exp(F) / np.exp(F).sum(axis=0))),
    "powers of 2": ("softmax", Formulas(softmax=lambda F: normalised(F * math.log(2)))),
    "no shift": ("shift invariance", Formulas(softmax=normalised)),
    "a sum over the numerators": ("softmax", Formulas(softmax=lambda F: 0 * F + 1.0)),
    "no denominator": ("rows of S sum to 1", Formulas(softmax=lambda F: np.exp(softmax.shift(F)))),
    "the logarithm of a probability of 0": (
        "log-sum-exp",
        Formulas(log_softmax=lambda F: np.log(softmax.softmax(F))),
    ),
    "no minus in C": (
        "cross-entropy of a row",
        Formulas(cross_entropy=lambda F, Y: -softmax.cross_entropy(F, Y)),
    ),
    "bits instead of nats": (
        "cross-entropy of a row",
        Formulas(cross_entropy=lambda F, Y: softmax.cross_entropy(F, Y) / math.log(2)),
    ),
    "the sum over the rows in the loss": (
        "mean cross-entropy",
        Formulas(cross_entropy=lambda F, Y: softmax.cross_entropy(F, Y) * len(F)),
    ),
    "a second minus": ("loss with penalty", with_loss(lambda C, penalty, X, B, reg: -C + penalty)),
    "the norm of X": (
        "loss with penalty",
        with_loss(lambda C, penalty, X, B, reg: C + reg / 2 * (X**2).sum()),
    ),
    "B penalised in the loss": (
        "loss with penalty",
        with_loss(lambda C, penalty, X, B, reg: C + penalty + reg / 2 * (B**2).sum()),
    ),
    "the penalty without its half": (
        "loss with penalty",
        Formulas(penalty=lambda W, reg: reg * (W**2).sum()),
    ),
    "the norm not squared": (
        "loss with penalty",
        Formulas(penalty=lambda W, reg: reg / 2 * math.sqrt((W**2).sum())),
    ),
    "only the diagonal of the Jacobian": (
        "Jacobian, central differences",
        Formulas(jacobian=lambda S: np.eye(S.shape[1]) * (S * (1 - S))[:, None, :]),
    ),
    "a Jacobian row summed": (
        "Jacobian, complex step",
        Formulas(jacobian=lambda S: softmax.jacobian(S).sum(axis=-1)),
    ),
    "a Jacobian row summed, of the right shape": (
        "Jacobian, complex step",
        Formulas(jacobian=lambda S: 0 * S[:, :, None] + softmax.jacobian(S).sum(axis=-1, keepdims=True)),
    ),
    "S_i twice off the diagonal": (
        "Jacobian, complex step",
        Formulas(jacobian=lambda S: S[:, :, None] * (np.eye(S.shape[1]) - S[:, :, None])),
    ),
    "a plus off the diagonal": (
        "Jacobian, complex step",
        Formulas(jacobian=lambda S: S[:, :, None] * (2 * S[:, :, None] * np.eye(S.shape[1]) + S[:, None, :])),
    ),
    "Y / S without the minus": ("dc/dS, complex step", Formulas(probability_gradient=lambda S, Y: Y / S)),
    "1 / S for every class": ("dc/dS, complex step", Formulas(probability_gradient=lambda S, Y: -1 / S)),
    "Y - S": ("vector-Jacobian product", Formulas(logit_gradient=lambda S, Y: Y - S)),
    "the Jacobian's diagonal times the error": (
        "vector-Jacobian product",
        Formulas(logit_gradient=lambda S, Y: (S - Y) * S * (1 - S)),
    ),
    "no 1/M": ("dC/dF, complex step", with_gradient(lambda dW, dB, X, *_: (dW * len(X), dB * len(X)))),
    "1/(M L) for 1/M": (
        "dC/dF, complex step",
        with_gradient(lambda dW, dB, *_: (dW / dB.size, dB / dB.size)),
    ),
    "X^T (Y - S)": ("dC/dW, complex step", with_gradient(lambda dW, dB, *_: (-dW, -dB))),
    "(S - Y)^T X": ("dC/dW, complex step", with_gradient(lambda dW, dB, *_: (dW.T, dB))),
    "no lambda W": (
        "dloss/dW, complex step",
        with_gradient(lambda dW, dB, X, Y, W, B, reg: (dW - reg * W, dB)),
    ),
    "2 lambda W": (
        "dloss/dW, central differences",
        with_gradient(lambda dW, dB, X, Y, W, B, reg: (dW + reg * W, dB)),
    ),
    "lambda W over M": (
        "dloss/dW, complex step",
        with_gradient(lambda dW, dB, X, Y, W, B, reg: (dW - reg * W + reg * W / len(X), dB)),
    ),
    "B never differentiated": ("dloss/dB, complex step", with_gradient(lambda dW, dB, *_: (dW, 0 * dB))),
    "the bias summed over the rows": (
        "dloss/dB, central differences",
        with_gradient(lambda dW, dB, X, *_: (dW, dB * len(X))),
    ),
    "B penalised in the gradient": (
        "dloss/dB, complex step",
        with_gradient(lambda dW, dB, X, Y, W, B, reg: (dW, dB + reg * B)),
    ),
    "no momentum": ("momentum", Formulas(step=NoMomentum)),
    "an average for the velocity": ("momentum", Formulas(step=AveragedMomentum)),
    "B penalised by the step": ("momentum", Formulas(step=PenalisedBias)),
    "uphill": ("update", Formulas(step=Ascent)),
    "the rate's factor forgotten": ("update", Formulas(step=RateForgotten)),
    "a whole cosine wave": (
        "cosine rate",
        Formulas(learning_rate_factor=lambda schedule, t, T: 0.5 * (1 + math.cos(2 * math.pi * t / T))),
    ),
    "a constant rate": ("cosine rate", Formulas(learning_rate_factor=lambda schedule, t, T: 1.0)),
    "a bias column of ones": ("fast cross-entropy, float32", Formulas(step=BiasColumnOfOnes)),
    "no bias in the fast gradient": ("fast gradient, float32", Formulas(step=NoBiasGradient)),
    "the same rate in every step": (
        "fast update, float32",
        Formulas(learning_rate_factors=lambda *of: ((f, 1.0) for f, _ in learning_rate_factors(*of))),
    ),
    "the velocity of the rate before": ("fast update, float32", Formulas(step=RatioForgotten)),
    "every label a 0": ("fast gradient, float32", Formulas(step=LabelsForgotten)),
    "half of the gradient": (
        "one step lowers the loss",
        with_gradient(lambda dW, dB, *_: (dW / 2, dB / 2)),
    ),
    "every block counted alike": (
        "gradient from blocks, float32",
        Formulas(sum_of_block=lambda *arguments: counted_alike(len(arguments[2]), sum_of_block(*arguments))),
    ),
    "a block forgotten": (
        "gradient from blocks, float32",
        Formulas(folded=lambda sums: folded(list(sums)[:-1])),
    ),
    "the pairs from the oldest to the newest": (
        "direction of L-BFGS",
        Formulas(direction=lambda gradient, pairs, inverse: direction(gradient, pairs[::-1], inverse)),
    ),
    "plain gradient descent": ("direction of L-BFGS", Formulas(direction=lambda gradient, *_: -gradient)),
    "the curvature of certain probabilities": (
        "curvature at the start",
        Formulas(start_curvature=lambda *arguments: 10 * start_curvature(*arguments)),
    ),
    "B penalised in the curvature too": (
        "curvature at the start",
        Formulas(
            start_curvature=lambda *arguments: (
                start_curvature(*arguments) + np.diag(np.append(np.zeros(784), arguments[-1]))
            )
        ),
    ),
}


@pytest.fixture(scope="module")
def sample() -> Split:
    return open_split("mnist-sample", "train")


def checks(
    images: Any,
    labels: Any,
    classes: int = 10,
    *,
    rows: int = 64,
    reg: float = 1e-4,
    seed: int = 0,
    formulas: Formulas | None = None,
) -> Any:
    split = Split.of(images, labels, [str(label) for label in range(classes)])
    done = gradcheck.check(split, rows, reg, seed, formulas=formulas)
    return {check.name: check for check in done}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("reg", [0, 1e-4, 1e6])
def test_every_step_passes_far_below_what_the_derivation_promises(sample: Any, reg: Any, seed: Any) -> None:
    done = checks(sample.images, sample.labels, reg=reg, seed=seed)
    assert list(done) == NAMES
    for name, check in done.items():
        assert check.passed, check
        if "complex step" in name:
            assert check.error < 1e-13


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_caught(sample: Any, mistake: Any) -> None:
    name, formulas = MISTAKES[mistake]
    done = checks(sample.images, sample.labels, rows=16, formulas=formulas)
    assert not done[name].passed, done[name]
    assert any(check.passed for check in done.values())


def test_every_check_has_a_mistake_to_catch() -> None:
    assert {name for name, _ in MISTAKES.values()} == set(NAMES)


@pytest.mark.parametrize(
    ("rows", "pixels", "classes"),
    [(1, 1, 1), (1, 5, 2), (3, 7, 1), (20, 1, 256), (100, 12, 3), (3, 20_000, 2)],
)
@pytest.mark.parametrize("brightest", [0, 1, 255])
def test_rows_of_any_shape_pass(rows: Any, pixels: Any, classes: Any, brightest: Any) -> None:
    rng = np.random.default_rng(3)
    images = rng.integers(0, brightest, (rows, pixels), np.uint8, endpoint=True)
    labels = rng.integers(0, classes, rows, np.uint8)
    for check in checks(images, labels, classes, rows=rows).values():
        assert check.passed, check


def test_the_numeric_gradient_moves_one_parameter_at_a_time(sample: Any) -> None:
    """The short cut of `moved_losses` against the plain way of it, for some parameters."""
    p = references.Problem(sample.images[::700], sample.labels[::700], 10, 0.3, np.random.default_rng(5))
    rows = np.arange(len(p.labels))
    moved = p.moved_losses(0.01, p.reg)
    for place in [(0, 0), (300, 3), (406, 9), (784, 2)]:
        P = p.P.copy()
        P[place] += 0.01
        F = p.X1 @ P
        nats = np.log(np.exp(F).sum(axis=1)) - F[rows, p.labels]
        penalty = 0.15 * ((P[:-1] ** 2).sum() - (p.P[:-1] ** 2).sum())
        assert moved[place] == pytest.approx(nats.mean() + penalty, rel=1e-12)


def test_json_holds_every_check_and_plain_lines_say_the_same(program: Program, small_folder: Path) -> None:
    arguments = ("gradcheck", "--data-dir", small_folder, "--rows", 20, "--reg", 0.01, "--seed", 3)
    done = program(*arguments, "--json")
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert list(facts) == ["dataset", "rows", "features", "reg", "seed", "checks", "passed"]
    assert (facts["dataset"], facts["rows"], facts["reg"], facts["seed"]) == (str(small_folder), 20, 0.01, 3)
    assert facts["passed"] is True
    assert [set(check) for check in facts["checks"]] == [
        {"name", "equation", "error", "tolerance", "passed"}
    ] * len(NAMES)
    plain = program(*arguments)
    assert (plain.code, plain.err) == (0, "")
    lines = plain.out.splitlines()
    for line, check in zip(lines, facts["checks"], strict=False):
        assert line.startswith(f"Eq. {check['equation']} ")
        assert check["name"] in line
        assert f"{check['error']:.1e}" in line
        assert line.endswith(" ok")
    assert lines[-1].startswith(f"{len(NAMES)} of {len(NAMES)} checks passed: 20 rows")
    assert program(*arguments).out == plain.out


def test_features_are_checked_as_pixels_are(program: Program) -> None:
    done = program(
        "gradcheck", "--dataset=mnist-sample", "--features=deskew,directions", "--rows", 16, "--json"
    )
    facts = json.loads(done.out)
    assert done.code == 0
    assert (facts["features"], facts["reg"], facts["passed"]) == (["deskew", "directions"], 1e-6, True)
    sample = open_split("mnist-sample")
    seen = Split.of(prepare(sample.images, 28, 28, ("deskew", "directions")), sample.labels)
    errors = [check.error for check in gradcheck.check(seen, 16, 1e-6, 0)]
    assert [check["error"] for check in facts["checks"]] == errors
    plain = program(
        "gradcheck", "--dataset=mnist-sample", "--features=directions", "--rows", 16, "--reg", 0.1
    )
    assert plain.out.endswith(
        f"{len(NAMES)} of {len(NAMES)} checks passed: 16 rows of mnist-sample after directions, reg 0.1, seed 0\n"
    )


@pytest.mark.parametrize("features", [(), ("deskew", "directions")])
def test_rows_that_leave_nothing_to_learn_are_no_mistake_of_the_derivation(features: Any) -> None:
    rng = np.random.default_rng(0)
    split = Split.of(rng.integers(0, 256, (50, 28, 28), np.uint8), np.zeros(50, np.uint8))
    for seed in range(3):
        done = {check.name: check for check in gradcheck.check(split, 50, 1e-6, seed, features)}
        assert done["dloss/dW, central differences"].passed
        assert done["dloss/dB, central differences"].passed
    # The penalty, 1e-6 beside nothing, is still seen.
    forgotten = with_gradient(lambda dW, dB, X, Y, W, B, reg: (dW - reg * W, dB))
    done = {c.name: c for c in gradcheck.check(split, 50, 1e-6, 0, features, forgotten)}
    assert not done["dloss/dW, central differences"].passed


def test_fewer_rows_than_asked_for_are_all_of_them_and_no_row_is_wrong_usage(
    program: Program, small_folder: Path
) -> None:
    many = json.loads(program("gradcheck", "--data-dir", small_folder, "--rows", 1000, "--json").out)
    assert many["rows"] == 300
    for wrong in (("--rows", "0"), ("--rows", "1001"), ("--reg", "-1"), ("--reg", "nan"), ("--seed", "-1")):
        done = program("gradcheck", "--data-dir", small_folder, *wrong)
        assert (done.code, done.out) == (2, "")
        assert wrong[0] in done.error


def test_the_rows_and_the_parameters_are_drawn_by_the_seed(sample: Split) -> None:
    first, again, other = (
        [check.error for check in checks(sample.images, sample.labels, seed=seed).values()]
        for seed in (0, 0, 1)
    )
    assert first == again != other
    with pytest.raises(ValueError, match="larger sample"):
        checks(sample.images[:3], sample.labels[:3], rows=4)


@pytest.mark.parametrize(
    ("mistake", "failing", "error"),
    [("B never differentiated", "dloss/dB, complex step", 1.0), ("no shift", "shift invariance", None)],
)
def test_a_step_that_fails_is_exit_7_and_the_figures_are_printed_all_the_same(
    program: Program,
    small_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    mistake: str,
    failing: str,
    error: Any,
) -> None:
    monkeypatch.setattr(gradcheck, "Formulas", lambda: MISTAKES[mistake][1])
    plain, as_json = (program("gradcheck", "--data-dir", small_folder, *flag) for flag in ((), ("--json",)))
    for done in (plain, as_json):
        assert done.code == 7
        assert done.err.startswith(
            "mnist-softmax: error: the derivation is not confirmed: gradcheck: expected"
        )
        assert done.err.count("\n") == 1
        assert failing in done.err
    lines = plain.out.splitlines()
    assert len(lines) == len(NAMES) + 1
    assert [line.endswith("FAILED") for line in lines if failing in line] == [True]
    facts = json.loads(as_json.out)
    assert facts["passed"] is False
    (check,) = (check for check in facts["checks"] if check["name"] == failing)
    assert (check["passed"], check["error"]) == (False, error), "null where it is no number"


@pytest.mark.full
def test_on_mnist_each_derivative_is_within_1e_7_of_the_complex_step(
    program: Program, mnist_folder: Path
) -> None:
    facts = json.loads(program("gradcheck", "--data-dir", mnist_folder, "--rows", 64, "--json").out)
    assert (facts["passed"], facts["rows"]) == (True, 64)
    errors = [check["error"] for check in facts["checks"] if "complex step" in check["name"]]
    assert len(errors) == 6
    assert max(errors) < 1e-7
