"""docs/results.md: a row for every configuration, written by its script, with what a fresh run reaches."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import Program, run_here

import mnist_softmax

ROOT = Path(mnist_softmax.__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    import results
finally:
    sys.path.pop(0)

TEXT = results.PAGE.read_text(encoding="utf-8")
ROWS = {row.name: row for row in results.read(TEXT)}
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
#: The minimum of the loss over all 60,000 training rows by lambda (float64 L-BFGS, |gradient| < 1e-7).
OPTIMUM = {1e-4: 0.2592482953, 1e-5: 0.2267931664}
#: What each configuration is for: the loss above `OPTIMUM` at most (None: it has another minimum), and the
#: accuracy on the test rows at least.
BARS = {
    "accurate": (1.5e-3, 0.925),
    "derivation": (None, 0.918),
    "deskew": (None, 0.955),
    "directions": (None, 0.991),
    "optimum": (1e-4, 0.9243),
    "small-reg": (1e-4, 0.9243),
    "smoke": (None, 0.88),
}


def test_every_configuration_has_a_row_and_its_command() -> None:
    assert sorted(ROWS) == sorted(BARS) == [config.stem for config in CONFIGS], "run make results"
    for row in ROWS.values():
        assert f"\n{row.command()}\n" in TEXT
        assert row.low < row.accuracy < row.high


def test_the_page_is_what_its_script_writes() -> None:
    machine = TEXT.split("the best of 3, on ")[1].split(".\n")[0]
    assert results.page(list(ROWS.values()), machine) == TEXT, "run make results"


def test_the_derivation_config_is_plain_gradient_descent(tmp_path: Path) -> None:
    config = ROOT / "configs" / "derivation.toml"
    printed = run_here(["train", "--config", config, "--print-config"], tmp_path).out
    assert "\nmomentum = 0.0\n" in printed
    assert '\nschedule = "constant"\n' in printed
    assert "\nfeatures = []" in printed


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=config.stem, marks=[] if "sample" in config.read_text() else pytest.mark.full)
        for config in CONFIGS
    ],
)
def test_a_fresh_run_reaches_what_the_page_says_and_what_it_is_for(
    program: Program, config: Path, request: pytest.FixtureRequest
) -> None:
    row = ROWS[config.stem]
    environment: dict[str, Any] = {"MNIST_SOFTMAX_OFFLINE": 1}
    if row.dataset != "mnist-sample":
        environment["MNIST_SOFTMAX_CACHE_DIR"] = request.getfixturevalue("cache")
    trained = program("train", "--config", config, "--json", **environment)
    assert trained.code == 0, trained.err
    facts = json.loads(trained.out)
    assert facts["loss"] == pytest.approx(row.loss, abs=1e-3)
    assert facts["epochs"] == row.epochs
    scored = json.loads(program("eval", "--json", **environment).out)
    assert scored["rows"] == row.rows
    assert scored["accuracy"] == pytest.approx(row.accuracy, abs=1e-3)
    above_optimum, accuracy = BARS[config.stem]
    assert scored["accuracy"] >= accuracy
    if above_optimum is not None:
        reg = tomllib.loads(config.read_text())["reg"]
        assert 0 < facts["loss"] - OPTIMUM[reg] < above_optimum
