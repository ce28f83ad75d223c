"""``mnist-softmax eval`` through its real entry point: figures, gates, predictions, mismatches."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Program, write_folder

from mnist_softmax import softmax, weights
from mnist_softmax.data import folder_split


@pytest.fixture
def trained(program: Program, tmp_path: Path, small_folder: Path) -> Any:
    """A folder with weights.npy, trained for too short to be perfect on `small_folder`."""
    assert program("train", "--data-dir", small_folder, "--epochs", 1, "--lr", "0.01").code == 0
    return tmp_path


def expected_probabilities(folder: Path, split: str = "test") -> Any:
    rows = folder_split(folder / "small", split)
    W, B = np.split(np.load(folder / "weights.npy").astype(float), [-1])
    return rows.labels, softmax.softmax(rows.images / 255 @ W + B)


@pytest.mark.parametrize("split", ["test", "train"])
def test_json_holds_the_keys_of_the_design_and_true_figures(
    program: Program, trained: Path, split: str
) -> None:
    done = program("eval", "--split", split, "--json")
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    labels, S = expected_probabilities(trained, split)
    predicted = S.argmax(axis=1)
    assert facts["rows"] == len(labels)
    assert facts["accuracy"] == (predicted == labels).mean()
    assert facts["accuracy_low"] < facts["accuracy"] < facts["accuracy_high"]
    assert facts["log_loss"] == pytest.approx(-np.log(S[np.arange(len(labels)), labels]).mean(), rel=1e-6)
    assert facts["split"] == split
    assert facts["dataset"] == str(trained / "small")
    assert facts["weights_sha256"] == weights.load(trained / "weights.npy").sha256
    confusion = np.array(facts["confusion"])
    assert confusion[3, 4] == ((labels == 3) & (predicted == 4)).sum()
    for entry in facts["classes"]:
        label = entry["label"]
        assert set(entry) == {"label", "name", "precision", "recall", "rows"}
        assert entry["rows"] == (labels == label).sum()
        assert entry["recall"] == confusion[label, label] / entry["rows"]


def test_undefined_precision_and_recall_are_null_and_no_gate(program: Program, tmp_path: Path) -> None:
    write_folder(tmp_path / "d", "train", rows=50, classes=5)
    write_folder(tmp_path / "d", "test", rows=30, classes=3)
    program("train", "--data-dir", "d", "--val-size", 0)
    done = program("eval", "--json", "--min-class-recall", "0.5")
    assert done.code == 0
    assert json.loads(done.out)["classes"][4]["recall"] is None
    assert program("eval").code == 0


def test_plain_output_says_the_same_and_the_matrix_stands_only_when_asked_for(
    program: Program, trained: Path
) -> None:
    facts = json.loads(program("eval", "--json").out)
    plain, with_matrix = program("eval"), program("eval", "--confusion")
    assert f"accuracy {100 * facts['accuracy']:.2f} %" in plain.out
    assert "confusion" not in plain.out
    assert with_matrix.out.startswith(plain.out)
    rows = with_matrix.out.splitlines()[-10:]
    assert [[int(n) for n in row.split()[1:]] for row in rows] == facts["confusion"]


def test_gates_pass_at_equality_and_print_the_figures_when_missed(program: Program, trained: Path) -> None:
    facts = json.loads(program("eval", "--json").out)
    accuracy = facts["accuracy"]
    worst = min(entry["recall"] for entry in facts["classes"])
    passed = program("eval", "--min-accuracy", repr(accuracy), "--min-class-recall", repr(worst))
    assert (passed.code, passed.err) == (0, "")
    higher = math.nextafter(accuracy, 2)
    missed = program("eval", "--json", "--min-accuracy", repr(higher))
    assert missed.code == 7
    assert json.loads(missed.out) == facts
    assert missed.err.count("\n") == 1
    by_recall = program("eval", "--min-class-recall", "1")
    assert by_recall.code == 7
    assert "recall of class" in by_recall.error
    assert f"short by {1 - worst:.3g}" in by_recall.error


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "92"])
def test_a_gate_is_a_fraction(program: Program, trained: Path, value: Any) -> None:
    done = program("eval", "--min-accuracy", value)
    assert done.code == 2
    assert "--min-accuracy" in done.error


def test_predictions_are_a_csv_of_every_row(program: Program, trained: Path) -> None:
    assert program("eval", "--predictions", "p.csv").code == 0
    labels, S = expected_probabilities(trained)
    with open(trained / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "label", "predicted", "probability"]
    assert [int(row["row"]) for row in rows] == list(range(100))
    assert [int(row["label"]) for row in rows] == list(labels)
    assert [int(row["predicted"]) for row in rows] == list(S.argmax(axis=1))
    np.testing.assert_allclose([float(row["probability"]) for row in rows], S.max(axis=1), atol=1e-6)


def test_predictions_into_a_missing_folder_are_exit_2_before_any_work(
    program: Program, trained: Path
) -> None:
    done = program("eval", "--predictions", "missing/p.csv")
    assert (done.code, done.out) == (2, "")


def test_another_dataset_than_the_receipts_is_allowed_with_a_warning(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    write_folder(tmp_path / "other", "test", seed=5)
    done = program("eval", "--data-dir", "other")
    assert done.code == 0
    assert done.err.startswith("mnist-softmax: warning: the weights were trained on")
    same = program("eval", "--data-dir", "small")
    assert same.err == ""


@pytest.mark.parametrize(
    ("shape", "words"),
    [({"height": 9}, "do not fit the images"), ({"classes": 11, "rows": 99}, "do not fit the labels")],
)
def test_data_that_does_not_fit_the_weights_is_exit_6(
    program: Program, trained: Path, tmp_path: Path, shape: Any, words: str
) -> None:
    write_folder(tmp_path / "other", "test", **shape)
    done = program("eval", "--data-dir", "other")
    assert done.code == 6
    assert words in done.error


def test_weights_with_no_receipt_are_read_as_plain_pixels(program: Program, trained: Path) -> None:
    with_receipt = json.loads(program("eval", "--json").out)
    (trained / "weights.json").unlink()
    done = program("eval", "--data-dir", "small", "--json")
    assert done.err == ""
    assert json.loads(done.out)["accuracy"] == with_receipt["accuracy"]


def test_a_bias_that_is_missing_is_zero(program: Program, trained: Path) -> None:
    array = np.load(trained / "weights.npy")
    np.save(trained / "bare.npy", array[:-1].astype(">f8"))
    done = program("eval", "bare.npy", "--data-dir", "small", "--json")
    assert done.code == 0
    rows = folder_split(trained / "small", "test")
    predicted = (rows.images / 255 @ array[:-1].astype(float)).argmax(axis=1)
    assert json.loads(done.out)["accuracy"] == (predicted == rows.labels).mean()


def test_a_receipt_of_other_weights_is_exit_6(program: Program, trained: Path) -> None:
    np.save(trained / "weights.npy", np.load(trained / "weights.npy") + 1)
    done = program("eval")
    assert done.code == 6
    assert done.err.count("\n") == 1


def test_fashion_names_are_printed(program: Program, tmp_path: Path) -> None:
    # The receipt's names are used; a data set of one's own has numbers.
    write_folder(tmp_path / "d", "train", rows=40, classes=2)
    write_folder(tmp_path / "d", "test", rows=40, classes=2)
    program("train", "--data-dir", "d")
    receipt = json.loads((tmp_path / "weights.json").read_text())
    (tmp_path / "weights.json").write_text(json.dumps({**receipt, "class_names": ["Coat", "Bag"]}))
    out = program("eval").out
    assert "Coat" in out
    assert "Bag" in out
