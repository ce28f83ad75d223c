"""docs/interop.md: every snippet is run as it stands, each in a process of its own, in the folder that it expects."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import clean_environment, run_here

import mnist_softmax as ms

PAGE = Path(ms.__file__).parent.parent / "docs" / "interop.md"
TEXT = PAGE.read_text(encoding="utf-8")
#: Heading of the section and number of the snippet in it -> code.
SNIPPETS = {
    f"{section.splitlines()[0]} {number}": code
    for section in TEXT.split("\n## ")[1:]
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", section, re.DOTALL), 1)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after the commands of the page."""
    path = tmp_path_factory.mktemp("interop")
    (commands,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in commands.splitlines():
        done = run_here(line.split()[1:], path)
        assert done.code == 0, done.err
    return path


@pytest.fixture
def run(folder: Path, request: pytest.FixtureRequest) -> Any:
    """Run a snippet; return what it printed. It is skipped where a library that it shows is missing."""

    def run(name: str) -> str:
        code = SNIPPETS[name]
        for node in ast.parse(code).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                pytest.importorskip((module or "").split(".")[0])
        settings = {"MLFLOW_TRACKING_URI": "file:mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}
        environment = clean_environment(**settings, MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="1")
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def accuracy_of(folder: Path, weights: str = "weights.npy") -> float:
    return float(
        json.loads(run_here(["eval", weights, "--dataset", "mnist-sample", "--json"], folder).out)["accuracy"]
    )


def test_no_snippet_is_left_out_here() -> None:
    others = {"NumPy 2", "scikit-learn 2", "pandas 1", "TensorBoard 1", "MLflow 1"}
    assert set(SNIPPETS) == {*SAME_ACCURACY, *others}


SAME_ACCURACY = ("NumPy 1", "ONNX Runtime 1", "PyTorch 1", "scikit-learn 1")


@pytest.mark.parametrize("name", SAME_ACCURACY)
def test_other_libraries_reach_the_accuracy_of_the_program(run: Any, folder: Path, name: str) -> None:
    assert float(run(name)) == pytest.approx(accuracy_of(folder), abs=1e-9)


def test_stripped_weights_and_those_from_pytorch_are_read_by_the_program(run: Any, folder: Path) -> None:
    for name, written in (("NumPy 2", "bare.npy"), ("PyTorch 1", "from_torch.npy")):
        run(name)
        np.testing.assert_array_equal(np.load(folder / written), np.load(folder / "weights.npy"))
        assert accuracy_of(folder, written) == accuracy_of(folder)
    with open(folder / "bare.npy", "rb") as file:
        np.load(file)
        assert not file.read()


def test_pandas_finds_the_recall_of_each_class_and_the_history(run: Any, folder: Path) -> None:
    recalls, accuracies = map(ast.literal_eval, run("pandas 1").splitlines())
    scored = json.loads(run_here(["eval", "--json"], folder).out)
    receipt = ms.load(folder / "weights.npy").receipt
    assert receipt
    assert recalls == pytest.approx({entry["label"]: entry["recall"] for entry in scored["classes"]})
    history = {entry.epoch: entry.validation_accuracy for entry in receipt.history}
    assert accuracies == pytest.approx(history)


def test_tensorboard_has_the_history(run: Any, folder: Path) -> None:
    run("TensorBoard 1")
    reader = (
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator as Events\n"
        "import json; events = Events('runs/mnist'); events.Reload()\n"
        "print(json.dumps({name: [entry.step for entry in events.Tensors(name)] for name in events.Tags()['tensors']}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", reader], cwd=folder, capture_output=True, text=True, check=True
    )
    steps = list(range(1, 11))
    names = ("running_loss", "validation_loss", "validation_accuracy")
    assert json.loads(done.stdout) == dict.fromkeys(names, steps)


def test_mlflow_has_the_settings_the_history_and_the_weights(run: Any, folder: Path) -> None:
    run("MLflow 1")
    receipt = ms.load(folder / "weights.npy").receipt
    assert receipt
    (kept,) = (path.parent for path in folder.glob("mlruns/*/*/params"))
    settings = {path.name: path.read_text() for path in (kept / "params").iterdir()}
    assert settings == {**{name: str(value) for name, value in receipt.settings.items()}, "features": ""}
    entries = (kept / "metrics" / "validation_accuracy").read_text().splitlines()
    assert [float(line.split()[1]) for line in entries] == [
        entry.validation_accuracy for entry in receipt.history
    ]
    (weights,) = folder.glob("mlruns/**/artifacts/weights.npy")
    assert weights.read_bytes() == (folder / "weights.npy").read_bytes()


def test_the_estimator_can_be_searched_over(run: Any) -> None:
    best, accuracy = run("scikit-learn 2").splitlines()
    assert best.startswith("{'reg': ")
    assert 0.88 < float(accuracy) < 0.93
