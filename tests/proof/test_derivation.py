"""docs/derivation.md: its equations are those that the code cites, its numbers are right, its slips are caught."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proof.test_gradcheck import MISTAKES

import mnist_softmax
from mnist_softmax import softmax
from mnist_softmax.proof import gradcheck
from mnist_softmax.training.descent import learning_rate_factor

ROOT = Path(mnist_softmax.__file__).parent.parent
ENGLISH, CHINESE = (ROOT / "docs" / f"derivation{suffix}.md" for suffix in ("", ".zh"))
LANGUAGES = [ENGLISH, CHINESE]

#: What GitHub's MathJax and KaTeX both take. GitHub refuses operatorname, mbox, phantom and macro definitions.
ALLOWED = {
    *(
        "approx",
        "begin",
        "cdot",
        "cos",
        "delta",
        "end",
        "eta",
        "frac",
        "hat",
        "lambda",
        "left",
        "ln",
        "mathrm",
    ),
    *("max", "mu", "partial", "pi", "qquad", "right", "sum", "tag", "theta", "tilde", "top"),
}


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def tags(path: Path) -> list[int]:
    return [int(tag) for block in blocks(path, "math") for tag in re.findall(r"\\tag\{(\d+)\}", block)]


def cited(*folders: str) -> set[int]:
    """The numbers of every "Eq. 7" in the Python files of some folders."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return {int(n) for file in files for n in re.findall(r"Eq\. (\d+)", file.read_text(encoding="utf-8"))}


def slips(path: Path) -> list[list[str]]:
    """The rows of the last table: slip, wrong, right, the check that catches it."""
    table = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    last = max(i for i, line in enumerate(table) if line.startswith("|---"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[last + 1 :]]


def example() -> dict[str, Any]:
    """The worked example, by the program's own functions, which `gradcheck` checks."""
    X, Y = np.array([[1, 0], [0.5, 1]]), np.array([[1.0, 0, 0], [0, 0, 1]])
    W, B, reg = np.array([[1.0, 0, -1], [0, 2, 1]]), np.array([0, 0.5, 0]), 0.1
    F = softmax.logits(X, W, B)
    E, S = np.exp(softmax.shift(F)), softmax.softmax(F)
    dW, dB = softmax.gradient(X, Y, W, B, reg)
    rates = [0.5 * learning_rate_factor("cosine", t, 4) for t in range(4)]
    W_1, B_1 = W - rates[0] * dW, B - rates[0] * dB

    def loss(W: Any, B: Any = B) -> float:
        return float(softmax.loss(X, Y, W, B, reg))

    unit = np.array([[0.5, 0, 0], [0, 0, 0]])
    values = {
        "X": X,
        "Y": Y,
        "W": W,
        "B": B,
        "F": F,
        "F_shifted": softmax.shift(F),
        "E": E,
        "sums": E.sum(axis=1),
    }
    values |= {"S": S, "log_S": softmax.log_softmax(F), "C": softmax.cross_entropy(F, Y)}
    values |= {"c": [softmax.cross_entropy(F[m : m + 1], Y[m : m + 1]) for m in (0, 1)]}
    values |= {"penalty": softmax.penalty(W, reg), "loss": loss(W), "J": softmax.jacobian(S)[0]}
    values |= {"dc_dS": softmax.probability_gradient(S, Y), "S_minus_Y": softmax.logit_gradient(S, Y)}
    values |= {"dC_dF": (S - Y) / 2, "dC_dW": softmax.gradient(X, Y, W, B, 0.0)[0], "dW": dW, "dB": dB}
    values |= {f"dC_dW_{m + 1}": softmax.gradient(X[[m]], Y[[m]], W, B, 0.0)[0] for m in (0, 1)}
    values |= {"W_1": W_1, "B_1": B_1, "loss_1": loss(W_1, B_1), "rates": rates}
    values |= {"loss_above": loss(W + unit), "loss_below": loss(W - unit)}
    values |= {"central": loss(W + unit) - loss(W - unit)}
    values |= {"drop": loss(W - 0.01 * dW, B - 0.01 * dB) - loss(W)}
    values |= {"predicted": -0.01 * ((dW**2).sum() + (dB**2).sum())}
    return values


@pytest.mark.parametrize("path", LANGUAGES)
def test_the_equations_are_numbered_in_order_and_have_their_shapes(path: Path) -> None:
    assert tags(path) == list(range(1, 29))
    for block in blocks(path, "math"):
        assert len(re.findall(r"\\tag", block)) <= 1
    after = re.findall(r"\\tag\{\d+\}\n```\n\n(\w+)", path.read_text(encoding="utf-8"))
    assert after == [{ENGLISH: "Shapes", CHINESE: "形状"}[path]] * 28


@pytest.mark.parametrize("path", LANGUAGES)
def test_github_renders_the_equations(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for block in blocks(path, "math"):
        assert set(re.findall(r"\\([a-zA-Z]+)", block)) <= ALLOWED, block
        assert block.count("{") == block.count("}")
        assert block.isascii()
    # A dollar outside of a block would start inline mathematics, which GitHub reads after Markdown's own marks.
    assert "$" not in text


def test_every_equation_that_code_cites_exists_and_every_equation_is_cited() -> None:
    numbers = set(tags(ENGLISH))
    assert cited("mnist_softmax", "tests", "benchmarks") <= numbers
    assert cited("mnist_softmax") == numbers


def test_the_prose_refers_to_equations_that_exist() -> None:
    for path in LANGUAGES:
        text = path.read_text(encoding="utf-8")
        assert {int(n) for n in re.findall(r"Eq\. (\d+)", text)} <= set(tags(path))


def test_every_equation_is_checked_or_is_how_the_check_is_made() -> None:
    checked = {equation for _, equation, *_ in gradcheck.STEPS}
    assert checked | {23, 24} == set(tags(ENGLISH))


@pytest.mark.parametrize("path", LANGUAGES)
def test_every_number_of_the_worked_example_is_right(path: Path) -> None:
    expected = example()
    shown = [line.split(" = ") for block in blocks(path, "text") for line in block.splitlines()]
    assert {name for name, _ in shown} == set(expected)
    for name, value in shown:
        np.testing.assert_allclose(
            ast.literal_eval(value), expected[name], rtol=0, atol=5.01e-5, err_msg=name
        )


@pytest.mark.parametrize("path", LANGUAGES)
def test_every_slip_is_planted_and_caught_by_the_check_that_is_named(path: Path) -> None:
    """`test_a_planted_mistake_is_caught` shows that it is."""
    english = slips(ENGLISH)
    names = [
        max((name for name in MISTAKES if row[0].startswith(name)), key=len, default="") for row in english
    ]
    assert "" not in names
    assert len(set(names)) == len(names) == len(slips(path))
    for name, row, row_here in zip(names, english, slips(path), strict=True):
        assert row_here[3] == row[3] == MISTAKES[name][0]


def test_both_languages_hold_the_same_equations_and_numbers() -> None:
    for language in ("math", "text"):
        assert blocks(CHINESE, language) == blocks(ENGLISH, language)
    assert len(slips(ENGLISH)) == len(slips(CHINESE)) > 20
    for path in LANGUAGES:
        assert re.findall(r"^#+", path.read_text(encoding="utf-8"), re.MULTILINE) == re.findall(
            r"^#+", ENGLISH.read_text(encoding="utf-8"), re.MULTILINE
        )
