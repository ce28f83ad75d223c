"""``mnist-softmax eval``: figures, gates, predictions, mismatches."""

import csv
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import change, receipt_of, strip
from conftest import Program, run_here, write_folder

from mnist_softmax import softmax
from mnist_softmax.data.folder import folder_split
from mnist_softmax.data.open import open_split
from mnist_softmax.runs.model import load


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights.npy, trained for too short to be perfect on the folder small beside it."""
    folder = tmp_path_factory.mktemp("eval")
    write_folder(folder / "small", "train", rows=300)
    write_folder(folder / "small", "test", rows=100, seed=1)
    arguments = ["train", "--data-dir", folder / "small", "--epochs", 1, "--lr", "0.01"]
    assert run_here(arguments, folder).code == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A folder of its own with the weights."""
    shutil.copy(trained / "weights.npy", tmp_path)
    return tmp_path


def expected_probabilities(folder: Path, split: str = "test") -> Any:
    rows = folder_split(folder / "small", split)
    W, B = np.split(np.load(folder / "weights.npy").astype(float), [-1])
    return rows.labels, softmax.softmax(rows.images / 255 @ W + B)


@pytest.mark.parametrize("split", ["test", "train"])
def test_json_holds_the_keys_that_are_promised_and_true_figures(
    program: Program, trained: Path, split: str
) -> None:
    done = program("eval", "--split", split, "--json", cwd=trained)
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
    assert facts["weights_sha256"] == load(trained / "weights.npy").sha256
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


def test_classes_txt_of_a_folder_names_the_classes_of_weights_trained_on_it(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "small", tmp_path / "named")
    names = [f"class {chr(ord('a') + k)}" for k in range(10)]
    (tmp_path / "named" / "classes.txt").write_text("\n".join(names))
    assert program("train", "--data-dir", "named", "--epochs", 1, "--lr", "0.01").code == 0
    assert (tmp_path / "weights.npy").read_bytes() != (trained / "weights.npy").read_bytes(), "the receipt"
    np.testing.assert_array_equal(np.load(tmp_path / "weights.npy"), np.load(trained / "weights.npy"))
    facts = json.loads(program("eval", "--json").out)
    assert [entry["name"] for entry in facts["classes"]] == names
    assert "class j" in program("eval").out
    assert "class j" in program("show", "--index", 0).out
    # The names are those of the weights, on a folder that has none too, and the other way round.
    elsewhere = json.loads(program("eval", "--data-dir", trained / "small", "--json").out)
    assert elsewhere["classes"] == facts["classes"]
    nameless = json.loads(program("eval", trained / "weights.npy", "--data-dir", "named", "--json").out)
    assert [entry["name"] for entry in nameless["classes"]] == list("0123456789")
    refused = program("eval", "--predictions", "named/classes.txt")
    assert (refused.code, (tmp_path / "named" / "classes.txt").read_text()) == (2, "\n".join(names))

    (tmp_path / "named" / "classes.txt").write_text("\n".join([*names[1:], names[0]]))
    again = program("reproduce")
    assert (again.code, again.error.partition("got ")[2]) == (7, "another class_names in the receipt")
    (tmp_path / "named" / "classes.txt").write_text("\n".join([*names, "class k"]))
    assert program("eval").code == 6
    (tmp_path / "named" / "classes.txt").write_text("\n".join(names[:9]))
    few = program("eval")
    assert (few.code, few.err.count("\n")) == (4, 1)
    assert few.error.startswith("mnist-softmax: error: wrong number of class names: named/classes.txt: ")


def test_plain_output_says_the_same_and_the_matrix_stands_only_when_asked_for(
    program: Program, trained: Path
) -> None:
    facts = json.loads(program("eval", "--json", cwd=trained).out)
    plain, with_matrix = program("eval", cwd=trained), program("eval", "--confusion", cwd=trained)
    assert f"accuracy {100 * facts['accuracy']:.2f} %" in plain.out
    assert "confusion" not in plain.out
    assert with_matrix.out.startswith(plain.out)
    rows = with_matrix.out.splitlines()[-10:]
    assert [[int(n) for n in row.split()[1:]] for row in rows] == facts["confusion"]


def test_a_matrix_wider_than_80_columns_gives_way_to_the_most_confused_pairs(
    program: Program, tmp_path: Path
) -> None:
    write_folder(tmp_path / "d", "train", rows=94, classes=47)
    write_folder(tmp_path / "d", "test", rows=490, classes=47, seed=1)
    program("train", "--data-dir", "d", "--epochs", 2)
    names = [f"class {i}" for i in range(47)]
    change(tmp_path / "weights.npy", class_names=names)
    confusion = np.array(json.loads(program("eval", "--json").out)["confusion"])
    rows = confusion.sum(axis=1)
    pairs = sorted((-n, i, j) for (i, j), n in np.ndenumerate(confusion) if i != j and n)
    assert len(pairs) > 20
    done = program("eval", "--confusion")
    assert "confusion matrix" not in done.out
    assert max(map(len, done.out.splitlines()[-21:])) <= 80
    assert [line.split("  ") for line in squeezed(done.out)[-20:]] == [
        [names[i], names[j], str(-n), f"{-100 * n / rows[i]:.2f} %"] for n, i, j in pairs[:20]
    ]
    assert "confusion matrix" in program("eval", "--confusion", COLUMNS=400).out


def squeezed(out: str) -> list[str]:
    """Lines with two spaces between columns."""
    return [re.sub("   +", "  ", line.strip()) for line in out.splitlines()]


def test_without_mistakes_no_pair_is_confused(program: Program, tmp_path: Path) -> None:
    write_folder(tmp_path / "d", "train", rows=60, classes=30)
    write_folder(tmp_path / "d", "test", rows=60, classes=30)
    program("train", "--data-dir", "d", "--epochs", 100, "--val-size", 0)
    assert program("eval", "--confusion").out.endswith("\n\nno class was taken for another\n")


def test_gates_pass_at_equality_and_print_the_figures_when_missed(program: Program, trained: Path) -> None:
    facts = json.loads(program("eval", "--json", cwd=trained).out)
    accuracy = facts["accuracy"]
    worst = min(entry["recall"] for entry in facts["classes"])
    gates = "--min-accuracy", repr(accuracy), "--min-class-recall", repr(worst)
    passed = program("eval", *gates, cwd=trained)
    assert (passed.code, passed.err) == (0, "")
    higher = math.nextafter(accuracy, 2)
    missed = program("eval", "--json", "--min-accuracy", repr(higher), cwd=trained)
    assert missed.code == 7
    assert json.loads(missed.out) == facts
    assert missed.err.count("\n") == 1
    by_recall = program("eval", "--min-class-recall", "1", cwd=trained)
    assert by_recall.code == 7
    assert "recall of class" in by_recall.error
    assert f"short by {1 - worst:.3g}" in by_recall.error


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "92"])
@pytest.mark.parametrize("gate", ["--min-accuracy", "--min-class-recall"])
def test_a_gate_is_a_fraction(program: Program, gate: str, value: str) -> None:
    done = program("eval", gate, value)
    assert done.code == 2
    assert gate in done.error


def test_predictions_are_a_csv_of_every_row(program: Program, trained: Path, tmp_path: Path) -> None:
    assert program("eval", "--predictions", tmp_path / "p.csv", cwd=trained).code == 0
    labels, S = expected_probabilities(trained)
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "label", "predicted", "probability"]
    assert [int(row["row"]) for row in rows] == list(range(100))
    assert [int(row["label"]) for row in rows] == list(labels)
    assert [int(row["predicted"]) for row in rows] == list(S.argmax(axis=1))
    np.testing.assert_allclose([float(row["probability"]) for row in rows], S.max(axis=1), atol=1e-6)


def test_probabilities_are_those_of_predict_proba(program: Program, trained: Path, tmp_path: Path) -> None:
    done = program(
        "eval", "--probabilities", tmp_path / "p", "--predictions", tmp_path / "p.csv", cwd=trained
    )
    assert done.code == 0
    S = np.load(tmp_path / "p", allow_pickle=False)
    assert (S.shape, S.dtype) == ((100, 10), np.float64)
    images = folder_split(trained / "small", "test").images
    np.testing.assert_array_equal(S, load(trained / "weights.npy").predict_proba(images))
    np.testing.assert_allclose(S, expected_probabilities(trained)[1], rtol=1e-5)
    table = np.genfromtxt(tmp_path / "p.csv", delimiter=",", skip_header=1)
    np.testing.assert_array_equal(S.argmax(axis=1), table[:, 2])
    # Of more rows than are scored at a time, through features.
    assert program("train", "--dataset", "mnist-sample", "--epochs", 1, "--features", "deskew").code == 0
    assert program("eval", "--probabilities", "all.npy").code == 0
    model, rows = load(tmp_path / "weights.npy"), open_split("mnist-sample", "test")
    np.testing.assert_array_equal(np.load(tmp_path / "all.npy"), model.predict_proba(rows.images))


def test_probabilities_are_never_written_over_what_is_used(program: Program, folder: Path) -> None:
    before = (folder / "weights.npy").read_bytes()
    for arguments in (["weights.npy"], ["p.csv", "--predictions", "p.csv"], ["missing/p.npy"]):
        done = program("eval", "--probabilities", *arguments)
        assert (done.code, done.out) == (2, "")
    assert (folder / "weights.npy").read_bytes() == before
    assert not (folder / "p.csv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data-dir", "small", "--epochs", "3", "--val-size", "77", "--seed", "5"],
        ["--data-dir", "small", "--epochs", "1", "--features", "deskew"],
        ["--dataset", "mnist-sample", "--epochs", "1", "--features", "deskew,directions"],
    ],
)
def test_the_validation_rows_reproduce_the_receipts_accuracy(
    program: Program, small_folder: Path, arguments: list[str]
) -> None:
    assert program("train", *arguments).code == 0
    receipt = receipt_of(small_folder.parent / "weights.npy")
    outputs = "--predictions", "p.csv", "--probabilities", "p.npy"
    done = program("eval", "--split", "validation", "--json", *outputs)
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert facts["accuracy"] == receipt.validation_accuracy
    assert facts["log_loss"] == pytest.approx(receipt.history[-1].validation_loss, rel=1e-12)
    assert (facts["split"], facts["rows"]) == ("validation", receipt.settings["val_size"])
    # The rows have their numbers in the training file, in its order.
    table = np.genfromtxt(small_folder.parent / "p.csv", delimiter=",", skip_header=1, dtype=int)
    rows = open_split(receipt.dataset, "train", data_dir=receipt.data_dir and small_folder)
    assert (np.diff(table[:, 0]) > 0).all()
    np.testing.assert_array_equal(table[:, 1], rows.labels[table[:, 0]])
    S = load(small_folder.parent / "weights.npy").predict_proba(rows.images[table[:, 0]])
    np.testing.assert_array_equal(np.load(small_folder.parent / "p.npy"), S)
    assert (table[:, 1] == table[:, 2]).mean() == receipt.validation_accuracy
    assert f"{facts['rows']} validation rows of " in program("eval", "--split", "validation").out


def test_validation_rows_are_known_only_with_a_receipt_that_names_the_data(
    program: Program, trained: Path, folder: Path
) -> None:
    validation = "eval", "--split", "validation"
    shutil.copytree(trained / "small", folder / "moved")
    moved = program(*validation, "--data-dir", "moved", "--json")
    assert (moved.code, moved.err) == (0, ""), "the same data elsewhere"
    write_folder(folder / "moved", "train", rows=300, seed=7)
    for arguments in (["--data-dir", "moved"], ["--dataset", "mnist-sample"]):
        other = program(*validation, *arguments)
        assert (other.code, other.out, other.err.count("\n")) == (6, "", 1)
        assert "the weights were trained on another train-images-idx3-ubyte: weights.npy" in other.error
    for changes, words in (
        (
            {"settings": {**receipt_of(folder / "weights.npy").settings, "val_size": 0}},
            "no rows were held out",
        ),
        (
            {"settings": {**receipt_of(folder / "weights.npy").settings, "val_size": 300}},
            "receipt is damaged",
        ),
        ({"files": {}, "data_dir": None}, "the receipt names no data"),
    ):
        shutil.copy(folder / "weights.npy", folder / "changed.npy")
        change(folder / "changed.npy", **changes)
        done = program(*validation, "changed.npy")
        assert (done.code, done.out, done.err.count("\n")) == (6, "", 1)
        assert words in done.error
        assert "changed.npy" in done.error
    strip(folder / "weights.npy")
    bare = program(*validation)
    assert (bare.code, bare.out, bare.err.count("\n")) == (6, "", 1)
    assert "no receipt: weights.npy" in bare.error


def test_markdown_has_the_figures_in_a_table_and_a_missed_gate_above(program: Program, folder: Path) -> None:
    names = ["T-shirt/top", "a|b", "`c`", "*d*", "<b>e", "f\\", "g_h_", "[i](j)", "k\\|l", "9"]
    change(folder / "weights.npy", class_names=names)
    facts = json.loads(program("eval", "--json").out)
    done = program("eval", "--markdown", "--confusion")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("### mnist-softmax eval weights.npy\n\naccuracy ")
    rows = [cells(line) for line in done.out.splitlines() if line.startswith("|")]
    assert rows[0] == ["class", "precision", "recall", "rows", "name"]
    assert [row[-1] for row in rows[2:12]] == names
    assert [row[2] for row in rows[2:12]] == [f"{100 * entry['recall']:.2f} %" for entry in facts["classes"]]
    assert [[int(cell) for cell in row[1:]] for row in rows[14:]] == facts["confusion"]
    missed = program("eval", "--markdown", "--min-accuracy", 1)
    assert missed.code == 7
    assert "\n\nquality gate missed: weights.npy: expected accuracy >= 1, got " in missed.out
    both = program("eval", "--markdown", "--json")
    assert (both.code, both.out) == (2, "")
    assert "--json and --markdown exclude each other" in both.error
    assert program("eval", "--markdown", MNIST_SOFTMAX_EVAL_JSON=1).out.startswith("###"), (
        "the later one wins"
    )


def cells(line: str) -> list[str]:
    """The cells of a row of a Markdown table, as they are shown."""
    inner = line[2:-2].split(" | ")
    return [re.sub(r"\\([!-/:-@[-`{-~])", r"\1", cell).replace("&#124;", "|") for cell in inner]


def test_predictions_into_a_missing_folder_are_exit_2_before_any_work(
    program: Program, trained: Path
) -> None:
    done = program("eval", "--predictions", "missing/p.csv", cwd=trained)
    assert (done.code, done.out) == (2, "")


def test_another_dataset_than_the_receipts_is_allowed_with_a_warning(
    program: Program, trained: Path, folder: Path
) -> None:
    write_folder(folder / "other", "test", seed=5)
    done = program("eval", "--data-dir", "other")
    assert done.code == 0
    small = trained / "small"
    warning = f"warning: the weights were trained on {small}, not on other: weights.npy"
    assert done.err == f"mnist-softmax: {warning}\n"
    assert program("eval", "--data-dir", small / ".." / "small").err == "", "the same folder, however named"


@pytest.mark.parametrize(
    ("shape", "words"),
    [({"height": 9}, "do not fit the images"), ({"classes": 11, "rows": 99}, "do not fit the labels")],
)
def test_data_that_does_not_fit_the_weights_is_exit_6(
    program: Program, folder: Path, shape: Any, words: str
) -> None:
    write_folder(folder / "other", "test", **shape)
    done = program("eval", "--data-dir", "other")
    assert done.code == 6
    assert words in done.error


def test_weights_of_another_number_of_classes_than_the_dataset_has_are_exit_6(
    program: Program, tmp_path: Path
) -> None:
    np.save(tmp_path / "w47.npy", np.zeros((785, 47), np.float32))
    done = program("eval", "w47.npy", "--dataset", "mnist-sample")
    assert (done.code, done.out) == (6, "")
    assert "expected 10 classes, got 47" in done.error


def test_a_bias_that_is_missing_is_zero(program: Program, trained: Path, tmp_path: Path) -> None:
    W = np.load(trained / "weights.npy")[:-1]
    np.save(tmp_path / "bare.npy", W.astype(">f8"))
    done = program("eval", "bare.npy", "--data-dir", trained / "small", "--json")
    assert done.code == 0
    rows = folder_split(trained / "small", "test")
    predicted = (rows.images / 255 @ W.astype(float)).argmax(axis=1)
    assert json.loads(done.out)["accuracy"] == (predicted == rows.labels).mean()


def test_the_class_names_of_the_receipt_are_printed(program: Program, folder: Path) -> None:
    change(folder / "weights.npy", class_names=["Coat", "Bag", *"23456789"])
    out = program("eval").out
    assert "  name\n" in out
    assert last_column(out)[:2] == ["Coat", "Bag"]


def last_column(out: str) -> list[str]:
    """The last column of the table of classes."""
    return [line.split()[-1] for line in out.splitlines()[3:13]]


def test_the_names_of_a_dataset_stand_in_for_a_receipts(program: Program, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.zeros((785, 10), np.float32))
    facts = json.loads(program("eval", "w.npy", "--dataset", "mnist-sample", "--json").out)
    assert [entry["name"] for entry in facts["classes"]] == list("0123456789")
    assert facts["accuracy"] == facts["classes"][0]["rows"] / 2000, "a tie goes to the first class"
