"""docs/results.md: a row for every configuration, written by its script, with what a fresh run reaches."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Program

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


def test_every_configuration_has_a_row_and_its_command() -> None:
    assert sorted(ROWS) == [config.stem for config in CONFIGS], "run make results"
    for row in ROWS.values():
        assert f"\n{row.command()}\n" in TEXT
        assert row.low < row.accuracy < row.high


def test_the_page_is_what_its_script_writes() -> None:
    machine = TEXT.split("the best of 3, on ")[1].split(".\n")[0]
    assert results.page(list(ROWS.values()), machine) == TEXT, "run make results"


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=config.stem, marks=[] if "sample" in config.read_text() else pytest.mark.full)
        for config in CONFIGS
    ],
)
def test_a_fresh_run_reaches_what_the_page_says(
    program: Program, config: Path, request: pytest.FixtureRequest
) -> None:
    row = ROWS[config.stem]
    environment: Any = {}
    if row.dataset != "mnist-sample":
        folder = request.getfixturevalue("mnist_folder")
        assert program("download", "--from", folder).code == 0
        environment["MNIST_SOFTMAX_OFFLINE"] = 1
    trained = program("train", "--config", config, "--json", timeout=100, **environment)
    assert trained.code == 0, trained.err
    assert json.loads(trained.out)["loss"] == pytest.approx(row.loss, abs=1e-3)
    scored = json.loads(program("eval", "--json", **environment).out)
    assert scored["rows"] == row.rows
    assert scored["accuracy"] == pytest.approx(row.accuracy, abs=1e-3)
