"""``mnist-softmax compare``: its figures, its gate, its list of differing rows, and what it refuses."""

import csv
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import strip
from conftest import Program, run_here, write_folder

from mnist_softmax import softmax
from mnist_softmax.data.folder import folder_split
from mnist_softmax.scoring.mcnemar import mcnemar

SHAPES: Any = {
    "small": {"rows": 300},
    "letters": {"rows": 470, "height": 28, "width": 28, "classes": 47},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with data sets of two shapes, and weights of each: NAME-good.npy and NAME-bad.npy."""
    folder = tmp_path_factory.mktemp("compare")
    for name, shape in SHAPES.items():
        write_folder(folder / name, "train", **shape)
        write_folder(folder / name, "test", seed=1, **shape)
        for kind, epochs, lr in (("good", 30, 0.1), ("bad", 1, 0.002)):
            arguments = ["--epochs", epochs, "--lr", lr, "--out", f"{name}-{kind}.npy"]
            assert run_here(["train", "--data-dir", folder / name, *arguments], folder).code == 0
    return folder


def predictions(folder: Path, name: str, weights: str) -> Any:
    """Labels, and S as the derivation has it, of the test rows."""
    rows = folder_split(folder / name, "test")
    W, B = np.split(np.load(folder / weights).astype(float), [-1])
    return rows.labels, softmax.softmax(rows.images / 255 @ W + B)


@pytest.mark.parametrize("name", SHAPES)
def test_json_holds_true_figures(program: Program, trained: Path, name: str) -> None:
    files = f"{name}-bad.npy", f"{name}-good.npy"
    done = program("compare", *files, "--json", cwd=trained)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    facts = json.loads(done.out)
    right = {}
    for key, file in zip("ab", files, strict=True):
        labels, S = predictions(trained, name, file)
        right[key] = S.argmax(axis=1) == labels
        alone = json.loads(program("eval", file, "--json", cwd=trained).out)
        same = ("weights_sha256", "accuracy", "accuracy_low", "accuracy_high")
        assert facts[key] == {"weights": file, **{name: alone[name] for name in same}}
        for entry, of_eval in zip(facts["classes"], alone["classes"], strict=True):
            assert entry[f"recall_{key}"] == of_eval["recall"]
            assert [entry[k] for k in ("label", "name", "rows")] == [
                of_eval[k] for k in ("label", "name", "rows")
            ]
    a, b = right["a"], right["b"]
    assert facts["rows"] == len(a)
    assert facts["both_right"] == (a & b).sum()
    assert facts["only_a"] == (a & ~b).sum()
    assert facts["only_b"] == (~a & b).sum()
    assert facts["both_wrong"] == (~a & ~b).sum()
    assert facts["difference"] == pytest.approx(b.mean() - a.mean(), abs=1e-12)
    assert facts["difference"] > 0
    assert facts["p_value"] == mcnemar(facts["only_a"], facts["only_b"])
    assert facts["dataset"] == str(trained / name)
    assert facts["split"] == "test"
    for entry in facts["classes"]:
        assert entry["difference"] == pytest.approx(entry["recall_b"] - entry["recall_a"], abs=1e-12)


def test_plain_output_says_the_same(program: Program, trained: Path) -> None:
    files = "small-good.npy", "small-bad.npy"
    facts = json.loads(program("compare", *files, "--json", cwd=trained).out)
    out = program("compare", *files, cwd=trained).out
    for key in "ab":
        assert f"{key}: accuracy {100 * facts[key]['accuracy']:.2f} %" in out
    assert f"b is worse by {-100 * facts['difference']:.2f} points: significant at 0.05 (p" in out
    counts = [facts[key] for key in ("both_right", "only_a", "only_b", "both_wrong")]
    assert "right under both {}, a alone {}, b alone {}, neither {}".format(*counts) in out
    assert f"the predictions differ on {facts['differing_rows']} rows" in out
    won = re.search("classes that b wins: (.*)", out)
    lost = re.search("classes that b loses: (.*)", out)
    assert won
    assert lost
    worse = [entry["name"] for entry in facts["classes"] if entry["difference"] < 0]
    assert worse
    assert lost[1] == ", ".join(worse)
    assert won[1] == (", ".join(e["name"] for e in facts["classes"] if e["difference"] > 0) or "none")


def test_weights_do_not_differ_from_themselves(program: Program, trained: Path) -> None:
    done = program("compare", "small-bad.npy", "small-bad.npy", "--fail-if-worse", "--alpha", 1, cwd=trained)
    assert done.code == 0
    assert "no difference: not significant at 1 (p = 1, " in done.out
    assert "differ on 0 rows" in done.out


def test_differences_are_a_csv_of_the_rows_on_which_they_differ(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "d.csv"
    done = program("compare", "small-bad.npy", "small-good.npy", "--differences", path, "--json", cwd=trained)
    labels, S_a = predictions(trained, "small", "small-bad.npy")
    _, S_b = predictions(trained, "small", "small-good.npy")
    a, b = S_a.argmax(axis=1), S_b.argmax(axis=1)
    differing = np.flatnonzero(a != b)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "label", "a", "b", "probability_a", "probability_b"]
    assert [int(row["row"]) for row in rows] == differing.tolist()
    assert json.loads(done.out)["differing_rows"] == len(differing) > 0
    for name, values in (("label", labels), ("a", a), ("b", b)):
        assert [int(row[name]) for row in rows] == values[differing].tolist()
    for name, S in (("probability_a", S_a), ("probability_b", S_b)):
        np.testing.assert_allclose([float(row[name]) for row in rows], S[differing].max(axis=1), atol=2e-6)


def test_the_gate_fails_only_where_b_is_significantly_worse(program: Program, trained: Path) -> None:
    good, bad = "small-good.npy", "small-bad.npy"
    better = program("compare", bad, good, "--fail-if-worse", cwd=trained)
    assert (better.code, better.err) == (0, "")
    worse = program("compare", good, bad, "--fail-if-worse", "--json", cwd=trained)
    assert worse.code == 7
    assert worse.err.count("\n") == 1
    facts = json.loads(worse.out)
    short = facts["a"]["accuracy"] - facts["b"]["accuracy"]
    assert f"significantly worse than {good}: {bad}: expected accuracy" in worse.error
    assert f"(short by {short:.3g}), p = {facts['p_value']:.3g}" in worse.error
    # The gate passes at equality.
    at = program("compare", good, bad, "--fail-if-worse", "--alpha", repr(facts["p_value"]), cwd=trained)
    assert at.code == 0
    assert "not significant at" in at.out
    # In three digits p would be on the other side of this alpha.
    p_value = facts["p_value"]
    alpha = (p_value + float(f"{p_value:.3g}")) / 2
    out = program("compare", good, bad, "--alpha", repr(alpha), cwd=trained).out
    shown = float(re.findall(r"p = ([\d.e-]+)", out)[0])
    assert (shown < alpha) == (p_value < alpha) == ("not significant" not in out)


def test_alpha_is_a_fraction(program: Program, trained: Path) -> None:
    for value in ("-0.1", "1.1", "nan"):
        done = program("compare", "small-bad.npy", "small-bad.npy", "--alpha", value, cwd=trained)
        assert done.code == 2
        assert "--alpha" in done.error


def test_weights_of_other_data_are_compared_with_a_warning_that_names_them(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    write_folder(tmp_path / "other", "train", seed=5)
    write_folder(tmp_path / "other", "test", seed=6, rows=50)
    assert program("train", "--data-dir", "other", "--out", "other.npy").code == 0
    done = program("compare", trained / "small-good.npy", "other.npy", "--json")
    assert done.code == 0
    assert json.loads(done.out)["dataset"] == str(trained / "small"), "the first receipt's"
    assert done.err == (
        f"mnist-softmax: warning: the weights were trained on other, not on {trained / 'small'}: other.npy\n"
    )
    chosen = program("compare", trained / "small-good.npy", "other.npy", "--data-dir", "other", "--json")
    assert json.loads(chosen.out)["rows"] == 50
    assert chosen.err.endswith(": {}\n".format(trained / "small-good.npy"))
    # Without a receipt of its own the first is scored on what the second one's receipt names.
    shutil.copy(trained / "small-good.npy", tmp_path / "bare.npy")
    strip(tmp_path / "bare.npy")
    bare = program("compare", "bare.npy", "other.npy", "--json")
    assert (bare.code, bare.err.count("\n")) == (0, 1)
    assert "warning: no receipt" in bare.err
    assert json.loads(bare.out)["rows"] == 50


def test_each_sees_the_features_that_its_own_receipt_names(program: Program) -> None:
    train = "train", "--dataset", "mnist-sample", "--epochs", 1
    assert program(*train, "--out", "plain.npy").code == 0
    assert program(*train, "--features=deskew", "--out", "deskewed.npy").code == 0
    facts = json.loads(program("compare", "plain.npy", "deskewed.npy", "--json").out)
    for key, file in (("a", "plain.npy"), ("b", "deskewed.npy")):
        assert facts[key]["accuracy"] == json.loads(program("eval", file, "--json").out)["accuracy"]
    assert facts["difference"] > 0.02
    assert facts["p_value"] < 1e-4


@pytest.mark.parametrize("order", [1, -1])
def test_weights_that_do_not_fit_the_rows_are_exit_6_and_named(
    program: Program, trained: Path, order: int
) -> None:
    files = ["small-good.npy", "letters-good.npy"][::order]
    done = program("compare", *files, "--data-dir", "small", cwd=trained)
    assert (done.code, done.out) == (6, "")
    assert "do not fit the images: letters-good.npy" in done.error


def test_weights_of_more_classes_than_the_others_fit_if_the_rows_do(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    array = np.load(trained / "small-good.npy")
    wider = np.hstack([array, np.full((65, 2), -1, np.float32)])
    np.save(tmp_path / "wider.npy", wider)
    done = program("compare", trained / "small-good.npy", "wider.npy", "--json")
    assert done.code == 0
    facts = json.loads(done.out)
    assert facts["differing_rows"] == 0
    assert len(facts["classes"]) == 12
    assert facts["classes"][11].pop("name") == "11"
    undefined = dict.fromkeys(("recall_a", "recall_b", "difference"))
    assert facts["classes"][11] == {"label": 11, "rows": 0, **undefined}
    assert program("compare", trained / "small-good.npy", "wider.npy").code == 0


def test_missing_weights_and_targets_are_exit_2(program: Program, trained: Path) -> None:
    assert (
        "no such file: missing.npy" in program("compare", "small-bad.npy", "missing.npy", cwd=trained).error
    )
    done = program("compare", "small-bad.npy", "small-bad.npy", "--differences", "missing/d.csv", cwd=trained)
    assert (done.code, done.out) == (2, "")
    assert program("compare", "small-bad.npy", cwd=trained).code == 2


def ranked(folder: Path, program: Program, *files: str) -> Any:
    """What `compare --json` should print of the models, from what `eval` prints and from NumPy."""
    models = []
    for file in files:
        labels, S = predictions(folder, "small", file)
        alone = json.loads(program("eval", file, "--json", cwd=folder).out)
        same = ("accuracy", "accuracy_low", "accuracy_high", "log_loss", "weights_sha256")
        models.append(({"weights": file, **{name: alone[name] for name in same}}, S.argmax(axis=1) == labels))
    models.sort(key=lambda model: -model[0]["accuracy"])
    best = models[0][1]
    pairs = len(files) * (len(files) - 1) / 2
    for entry, right in models:
        p_value = mcnemar(int((best & ~right).sum()), int((right & ~best).sum()))
        entry["difference"] = pytest.approx(right.mean() - best.mean(), abs=1e-12)
        entry["p_value"] = None if right is best else p_value
        entry["p_value_corrected"] = None if right is best else min(1.0, p_value * pairs)
    return [entry for entry, _ in models]


@pytest.fixture(scope="module")
def many(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `trained`, with better and worse weights and a name that Markdown would take apart."""
    for name, lr in (("middling.npy", 0.004), ("also_*b|a`d*_<b>.npy", 0.002)):
        arguments = ["--epochs", 1, "--lr", lr, "--out", name]
        assert run_here(["train", "--data-dir", trained / "small", *arguments], trained).code == 0
    return trained


MANY = "small-bad.npy", "also_*b|a`d*_<b>.npy", "small-good.npy", "middling.npy"


def test_more_than_two_are_ranked_with_a_test_against_the_best(program: Program, many: Path) -> None:
    done = program("compare", *MANY, "--json", cwd=many)
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert facts.pop("models") == ranked(many, program, *MANY)
    assert facts == {"dataset": str(many / "small"), "split": "test", "rows": 300}
    # Equal ones, here the same file and its twin, stay in the order in which they were given.
    names = [entry["weights"] for entry in json.loads(done.out)["models"]]
    assert names[0] == "small-good.npy"
    assert names.index(MANY[0]) + 1 == names.index(MANY[1])
    turned = json.loads(program("compare", *MANY[::-1], "--json", cwd=many).out)["models"]
    twins = [entry["weights"] for entry in turned if entry["weights"] in MANY[:2]]
    assert twins == [MANY[1], MANY[0]]


def test_the_ranking_in_words_says_which_are_not_significantly_worse(program: Program, many: Path) -> None:
    models = ranked(many, program, *MANY)
    worst = models[-1]["p_value_corrected"]
    for alpha in (0.05, worst, math.nextafter(worst, 1), 1):
        out = program("compare", *MANY, "--alpha", repr(alpha), cwd=many).out
        equal = [e["weights"] for e in models[1:] if e["p_value_corrected"] >= alpha]
        last = out.splitlines()[-1]
        assert last == f"not significantly worse than the first at {alpha:g}: {', '.join(equal) or 'none'}"
    lines = out.splitlines()
    assert lines[0] == f"300 test rows of {many / 'small'}, the best weights first"
    assert [line.split()[-1] for line in lines[3:7]] == [entry["weights"] for entry in models]
    assert lines[3].split()[0] == f"{100 * models[0]['accuracy']:.2f}"
    assert "all 6 pairs" in out


def cells(line: str) -> list[str]:
    """The cells of a row of a Markdown table, as they are shown."""
    inner = re.split(r"(?<!\\)\|", line)[1:-1]
    return [re.sub(r"\\([!-/:-@[-`{-~])", r"\1", cell.strip()).replace("&#124;", "|") for cell in inner]


def test_markdown_shows_every_name_as_it_is(program: Program, many: Path) -> None:
    done = program("compare", *MANY, "--markdown", cwd=many)
    assert (done.code, done.err) == (0, "")
    models = ranked(many, program, *MANY)
    head, rule, *rows = [line for line in done.out.splitlines() if line.startswith("|")]
    assert cells(head)[-1] == "weights"
    assert set(rule) <= set("|-: ")
    assert [cells(row)[-1] for row in rows] == [entry["weights"] for entry in models]
    assert [cells(row)[0] for row in rows] == [f"{100 * entry['accuracy']:.2f} %" for entry in models]
    assert not re.search(r"(?<!\\)[`*<_]", done.out), "markup that stands for itself"
    two = program("compare", *MANY[:2], "--markdown", cwd=many)
    assert "no difference: not significant at 0.05 (p = 1, " in two.out
    assert sum(line.startswith("|") for line in two.out.splitlines()) == 12


def test_each_of_many_sees_the_features_that_its_own_receipt_names(program: Program) -> None:
    train = "train", "--dataset", "mnist-sample", "--epochs", 1
    chains = {"plain": "none", "directed": "directions", "deskewed": "deskew"}
    for name, chain in chains.items():
        assert program(*train, "--features", chain, "--out", f"{name}.npy").code == 0
    files = [f"{name}.npy" for name in ("plain", "directed", "plain", "deskewed")]
    models = json.loads(program("compare", *files, "--json").out)["models"]
    assert models[0]["weights"] == "directed.npy"
    for entry in models:
        alone = json.loads(program("eval", entry["weights"], "--json").out)
        assert entry["accuracy"] == alone["accuracy"]
        assert entry["log_loss"] == alone["log_loss"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fail-if-worse"], "--fail-if-worse compares two weights: got 4 of them"),
        (["--differences", "d.csv"], "--differences compares two weights: got 4 of them"),
        (["--json", "--markdown"], "--json and --markdown exclude each other"),
    ],
)
def test_what_does_not_go_together_is_exit_2(
    program: Program, many: Path, arguments: list[str], words: str
) -> None:
    done = program("compare", *MANY, *arguments, cwd=many)
    assert (done.code, done.out) == (2, "")
    assert words in done.error
    assert not (many / "d.csv").exists()


def test_one_of_many_that_does_not_fit_is_exit_6_and_named(program: Program, many: Path) -> None:
    done = program("compare", *MANY, "letters-good.npy", "--data-dir", "small", "--json", cwd=many)
    assert (done.code, done.out) == (6, "")
    assert "do not fit the images: letters-good.npy" in done.error
