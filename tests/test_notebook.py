"""docs/walkthrough.ipynb: every cell runs, and the outputs stored in it are what it says today."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOK = DOCS / "walkthrough.ipynb"

pytestmark = pytest.mark.skipif(
    not (find_spec("nbclient") and find_spec("ipykernel")), reason="nbclient and ipykernel are not installed"
)


def cells(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def printed(cell: Any) -> str:
    return "".join(line for each in cell.get("outputs", []) for line in each.get("text", []))


def pictures(cell: Any) -> int:
    return sum("image/png" in each.get("data", {}) for each in cell.get("outputs", []))


@pytest.mark.timeout(300)
def test_every_cell_runs_and_prints_what_is_stored(tmp_path: Path) -> None:
    target = tmp_path / "again.ipynb"
    folders = {
        name: str(tmp_path) for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")
    }
    done = subprocess.run(
        [sys.executable, DOCS / "run_notebook.py", target],
        env={**os.environ, **folders, "MNIST_SOFTMAX_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "cache").exists(), "it needs no network and no cache"
    assert len(cells(NOTEBOOK)) == len(cells(target)) > 20
    for stored, fresh in zip(cells(NOTEBOOK), cells(target), strict=True):
        assert stored["source"] == fresh["source"]
        assert pictures(stored) == pictures(fresh)
        # The last digits depend on the processor, and with them a row or two of the test rows.
        texts = printed(stored), printed(fresh)
        assert re.sub(r"[\d.]+", "0", texts[0]).split() == re.sub(r"[\d.]+", "0", texts[1]).split()
        before, now = ([float(number) for number in re.findall(r"([\d.]+)%", text)] for text in texts)
        assert now == pytest.approx(before, abs=0.5)


def test_what_is_stored_is_complete_small_and_of_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 100_000
    assert not re.search(r"/(home|root|tmp|usr|Users)/", text)
    notebook = json.loads(text)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run make notebook"
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert not any(each["output_type"] == "error" for cell in code for each in cell["outputs"])
    assert sum(map(pictures, code)) >= 5
