"""``mnist-softmax show``: in a pipe, on a terminal of several widths, and what it draws."""

import csv
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import change, receipt_of, strip
from cli.streams import run_on_terminal
from conftest import Program, run_here, write_folder

from mnist_softmax import softmax
from mnist_softmax.data.folder import folder_split
from mnist_softmax.data.idx import write_idx
from mnist_softmax.data.open import open_split
from mnist_softmax.features.prepare import prepare
from mnist_softmax.records.receipt import Epoch
from mnist_softmax.views import terminal

SGR = re.compile(r"\x1b\[[0-9;]*m")
posix = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")

#: Name of a data set -> its shape.
SHAPES: Any = {
    "small": {"rows": 100},
    "letters": {"rows": 94, "height": 28, "width": 28, "classes": 47},
    "large": {"rows": 30, "height": 64, "width": 64, "classes": 10},
    "oblong": {"rows": 30, "height": 5, "width": 12, "classes": 3},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with data sets of several shapes, and NAME.npy trained on each."""
    folder = tmp_path_factory.mktemp("show")
    for name, shape in SHAPES.items():
        write_folder(folder / name, "train", **shape)
        write_folder(folder / name, "test", seed=1, **shape)
        epochs = 50 if name == "small" else 1  # the one to be sure, the others to make mistakes
        arguments = ["--data-dir", folder / name, "--out", f"{name}.npy", "--epochs", epochs, "--lr", 0.01]
        assert run_here(["train", *arguments], folder).code == 0
    return folder


def probabilities(folder: Path, name: str) -> Any:
    """Labels, and S as the derivation has it, of the test rows."""
    rows = folder_split(folder / name, "test")
    W, B = np.split(np.load(folder / f"{name}.npy").astype(float), [-1])
    return rows.labels, softmax.softmax(rows.images / 255 @ W + B)


@posix
@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("small", []),
        ("small", ["--index", "5"]),
        ("letters", []),
        ("letters", ["--index", "5"]),
        ("letters", ["--mistakes"]),
        ("large", []),
    ],
)
def test_on_a_terminal_there_are_colours_and_no_line_is_wider(
    trained: Path, columns: int, name: str, what: list[str]
) -> None:
    seen = run_on_terminal("show", f"{name}.npy", *what, cwd=trained, columns=columns)
    assert (seen.code, seen.beside) == (0, "")
    assert any("\x1b[38;5;" in line and "▀" in line for line in seen.lines)
    assert max(len(SGR.sub("", line)) for line in seen.lines) <= columns
    drawn = [line for line in seen.lines if "▀" in line and not re.search("%|others", line)]
    assert all(line.endswith("\x1b[0m") for line in drawn)


@posix
def test_ten_templates_fit_one_screen_of_80_by_24(trained: Path) -> None:
    lines = run_on_terminal("show", "large.npy", cwd=trained).lines
    assert len(lines) < 24
    assert [name for line in lines for name in line.split() if name.isdigit()] == list("0123456789")


@posix
@pytest.mark.parametrize(
    "options",
    [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"encoding": "ascii"}, {"encoding": "cp1252"}],
)
def test_without_colours_or_blocks_a_terminal_gets_plain_characters(trained: Path, options: Any) -> None:
    lines = run_on_terminal("show", "small.npy", "--index", 5, cwd=trained, **options).lines
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert max(map(len, lines)) <= 80
    assert len(lines) > 10


def test_a_process_in_the_c_locale_writes_plain_characters(process: Program, trained: Path) -> None:
    done = process(
        *("show", "small.npy", "--index", 5, "--color", "always"),
        cwd=trained,
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.isascii()
    assert "\\u" not in done.out


def test_a_pipe_gets_plain_characters_unless_colours_are_asked_for(program: Program, trained: Path) -> None:
    plain = program("show", "small.npy", cwd=trained, TERM="xterm")
    assert (plain.code, plain.err) == (0, "")
    assert plain.out.isascii()
    assert "\x1b" not in plain.out
    assert max(map(len, plain.out.splitlines())) <= 80
    asked = program("show", "small.npy", "--color", "always", cwd=trained, NO_COLOR=1)
    assert "\x1b[38;5;" in asked.out
    assert max(len(SGR.sub("", line)) for line in asked.out.splitlines()) <= 80


def test_the_templates_are_the_weights(program: Program, tmp_path: Path) -> None:
    # Two classes, 4 x 4 pixels, and no receipt: the first class speaks for the left half and against the right.
    W = np.zeros((17, 2), np.float32)
    W[:16, 0] = np.tile([1, 1, -1, -1], 4)
    W[:16, 1] = -W[:16, 0]
    np.save(tmp_path / "w.npy", W)
    done = program("show", "w.npy", "--offline")
    assert done.code == 0
    left, right = "@" * 18, "-" * 18
    assert f"{left}{right} {right}{left}" in done.out.splitlines()
    assert done.out.splitlines()[-1].split() == ["0", "1"]
    np.save(tmp_path / "w.npy", W[:-1])
    assert program("show", "w.npy", "--offline").out == done.out, "a bias is not drawn"


@posix
def test_plain_templates_are_smoothed_and_two_in_a_row_on_a_terminal_and_in_a_pipe(
    program: Program, tmp_path: Path
) -> None:
    # A speck in one class's weights, and a bar in another's.
    W = np.zeros((28, 28, 3), np.float32)
    W[4, 4, 0], W[12:16, 4:24, 1] = 1, 1
    np.save(tmp_path / "w.npy", np.vstack([W.reshape(784, 3), np.zeros((1, 3), np.float32)]))
    done = program("show", "w.npy", "--offline")
    lines = done.out.splitlines()
    assert "the weights of each class, smoothed: + # @ for it, . : - against it" in done.out
    assert max(map(len, lines)) <= 79
    assert len([line for line in lines if "@" * 20 in line[40:]]) == 2
    assert not any("@" in line[:39] for line in lines[2:]), "a speck is less than a bar"
    names = [line.split() for line in lines[2:] if any(c.isdigit() for c in line)]
    assert names == [["0", "1"], ["2"]]
    seen = run_on_terminal("show", "w.npy", "--offline", cwd=tmp_path, NO_COLOR="1")
    assert seen.lines == lines


@posix
def test_class_names_stand_under_their_templates(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "oblong.npy", tmp_path)
    change(tmp_path / "oblong.npy", class_names=["T-shirt/top", "h\u00e9\u624b", "\u001b[31mred"])
    utf_8 = run_on_terminal("show", "oblong.npy", cwd=tmp_path, NO_COLOR="1").terminal
    assert "T-shirt/top" in utf_8
    assert "hé手" in utf_8
    assert "\x1b" not in utf_8
    assert "\\x1b[31mred" in utf_8
    assert "h\\xe9\\u624b" in run_on_terminal("show", "oblong.npy", cwd=tmp_path, encoding="ascii").terminal


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_row_has_its_label_its_probabilities_and_bars(program: Program, trained: Path, split: str) -> None:
    done = program("show", "small.npy", "--index", 7, "--split", split, cwd=trained)
    assert (done.code, done.err) == (0, "")
    rows = folder_split(trained / "small", split)
    W, B = np.split(np.load(trained / "small.npy").astype(float), [-1])
    S = softmax.softmax(rows.images[7:8] / 255 @ W + B)[0]
    lines = done.out.splitlines()
    assert lines[0] == f"{split} row 7 of {trained / 'small'}"[:80]
    found = re.findall(r"([* ]) (\d) +(\d+\.\d\d) % ?(#*)$", done.out, re.MULTILINE)
    assert [int(label) for _, label, _, _ in found] == list(range(10))
    np.testing.assert_allclose([float(percent) for _, _, percent, _ in found], 100 * S, atol=0.006)
    assert [i for i, (mark, *_) in enumerate(found) if mark == "*"] == [rows.labels[7]]
    longest = [len(bar) for *_, bar in found]
    assert longest.index(max(longest)) == S.argmax()
    said = f"label {rows.labels[7]}, the model says {S.argmax()} ({100 * S.max():.2f} %): "
    assert said + ("right" if S.argmax() == rows.labels[7] else "wrong") in done.out


def test_the_picture_is_that_row(program: Program, tmp_path: Path, trained: Path) -> None:
    images, _ = write_folder(tmp_path / "d", "test", rows=3, height=28, width=28)
    images[1] = 0
    images[1, 10:12, 5:9] = 255
    with open(tmp_path / "d" / "t10k-images-idx3-ubyte", "wb") as file:
        write_idx(file, images)
    done = program("show", trained / "letters.npy", "--data-dir", "d", "--index", 1)
    assert done.code == 0
    assert [line for line in done.out.splitlines() if "@" in line and "%" not in line[:28]] == [
        line for line in done.out.splitlines() if line.startswith("     @@@@  ")
    ]


def test_of_many_classes_the_most_probable_and_the_label_have_bars(program: Program, trained: Path) -> None:
    done = program("show", "letters.npy", "--index", 5, cwd=trained)
    labels, S = probabilities(trained, "letters")
    shown = {int(match) for match in re.findall(r"[* ] (\d+) +\d+\.\d\d %", done.out)}
    assert shown == {int(labels[5]), *np.argsort(-S[5])[:10].tolist()}
    rest = 1 - sum(S[5][i] for i in shown)
    percent = re.search(rf"{47 - len(shown)} others (\d+\.\d\d) %", done.out)
    assert percent
    assert float(percent[1]) == pytest.approx(100 * rest, abs=0.01)


@posix
def test_plain_mistakes_on_a_terminal_have_a_column_per_pixel(trained: Path) -> None:
    lines = run_on_terminal("show", "letters.npy", "--mistakes", cwd=trained, NO_COLOR="1").lines
    assert [line[29:].startswith("row ") for line in lines if line.startswith("row ")] == [True] * 5


def test_mistakes_are_the_most_confident_ones_in_order(program: Program, trained: Path) -> None:
    labels, S = probabilities(trained, "letters")
    wrong = np.flatnonzero(S.argmax(axis=1) != labels)
    assert len(wrong) > 5
    expected = wrong[np.argsort(-S[wrong].max(axis=1), kind="stable")][:5]
    done = program("show", "letters.npy", "--mistakes", "--limit", 5, cwd=trained)
    assert (done.code, done.err) == (0, "")
    assert f"the 5 most confident of {len(wrong)} mistakes in 94 test rows" in done.out
    found = {
        what: [int(number) for number in re.findall(rf"\b{what} (\d+)", done.out)]
        for what in ("row", "label", "says")
    }
    assert found == {
        "row": expected.tolist(),
        "label": labels[expected].tolist(),
        "says": S[expected].argmax(axis=1).tolist(),
    }
    percents = [float(value) for value in re.findall(r"says \d+, (\d+\.\d) %", done.out)]
    np.testing.assert_allclose(percents, 100 * S[expected].max(axis=1), atol=0.06)


def test_rows_are_drawn_and_scored_with_the_features_of_the_receipt(program: Program, tmp_path: Path) -> None:
    assert program("train", "--dataset", "mnist-sample", "--features=deskew", "--epochs", 1).code == 0
    image = prepare(open_split("mnist-sample", "test").images[3:4], 28, 28, ["deskew"])
    W, B = np.split(np.load(tmp_path / "weights.npy").astype(float), [-1])
    done = program("show", "--index", 3)
    assert done.out.startswith("test row 3 of mnist-sample, after deskew\n")
    percents = [float(percent) for percent in re.findall(r" (\d+\.\d\d) % ?#*$", done.out, re.MULTILINE)]
    np.testing.assert_allclose(percents, 100 * softmax.softmax(image / 255 @ W + B)[0], atol=0.006)
    drawn = terminal.digit(image.reshape(28, 28), 28, "plain")
    assert all(line.rstrip() in done.out for line in drawn)
    assert program("eval", "--predictions", "p.csv").code == 0
    with open(tmp_path / "p.csv", newline="") as file:
        wrong = [row for row in csv.DictReader(file) if row["label"] != row["predicted"]]
    mistakes = " ".join(program("show", "--mistakes", "--limit", 400).out.split())
    assert f"of {len(wrong)} mistakes in 2000 test rows of mnist-sample, after deskew" in mistakes
    assert sorted(re.findall(r"\brow (\d+)", mistakes)) == sorted(row["row"] for row in wrong)


def test_directions_are_drawn_as_edges_around_their_cells(program: Program, tmp_path: Path) -> None:
    chain = ("deskew", "directions")
    done = program("train", "--dataset=mnist-sample", f"--features={','.join(chain)}", "--epochs", 1)
    assert done.code == 0
    done = program("show", "--color", "never")
    assert "a mark on the left of a cell is the left edge of ink there" in " ".join(done.out.split())
    differences = np.load(tmp_path / "weights.npy")[:-1]
    differences -= differences.mean(axis=1, keepdims=True)
    picture = np.zeros((28, 28), np.float32)
    # Ink that rises to the east has its edge on the left of the cell, and so on, clockwise.
    rows_and_columns = [(1, 0), (0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0)]
    for d, (row, column) in enumerate(rows_and_columns):
        picture[row::4, column::4] = differences[:, 3].reshape(8, 7, 7)[d]
    scale = float(np.quantile(np.abs(differences[np.abs(differences).max(axis=1) > 0]), 0.99))
    drawn = terminal.template(picture, scale, 39, "plain")
    assert all(line.rstrip() in done.out for line in drawn)
    done = program("show", "--index", 3)
    assert done.out.startswith("test row 3 of mnist-sample, after deskew; the model sees its directions\n")
    image = prepare(open_split("mnist-sample", "test").images[3:4], 28, 28, ["deskew"])
    assert all(line.rstrip() in done.out for line in terminal.digit(image.reshape(28, 28), 28, "plain"))


def test_where_there_are_no_mistakes_it_says_so(program: Program, tmp_path: Path) -> None:
    write_folder(tmp_path / "d", "train", rows=40, classes=2)
    write_folder(tmp_path / "d", "test", rows=40, classes=2)
    program("train", "--data-dir", "d", "--val-size", 0, "--epochs", 30)
    done = program("show", "--mistakes")
    assert done.code == 0
    assert done.out.startswith("no mistakes in 40 test rows of ")


# The history ------------------------------------------------------------------------------------------------


def with_history(trained: Path, folder: Path, losses: list[float], accuracies: list[float | None]) -> None:
    """Put weights.npy with this history into a folder; the validation losses are the accuracies."""
    shutil.copy(trained / "small.npy", folder / "weights.npy")
    settings = {**receipt_of(trained / "small.npy").settings, "epochs": len(losses)}
    history = [
        Epoch(i, loss, accuracy, accuracy)
        for i, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    ]
    change(folder / "weights.npy", settings=settings, history=history)


def test_the_history_is_figures_and_sparklines(program: Program, trained: Path, tmp_path: Path) -> None:
    with_history(trained, tmp_path, [0.8, 0.4, 0.2, 0.1], [0.5, 0.75, 1.0, 0.875])
    done = program("show", "--history", "--offline")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-3:] == [
        "training loss        0.8000 to 0.1000    █▄▂▁  lowest 0.1000 in epoch 4",
        "validation loss      0.5000 to 0.8750    ▁▅█▇  lowest 0.5000 in epoch 1",
        "validation accuracy  50.00 % to 87.50 %  ▁▅█▇  highest 100.00 % in epoch 3",
    ]
    assert done.out.startswith("4 epochs of ")
    assert "\x1b" not in program("show", "--history", "--color", "always").out


def test_a_history_of_one_epoch_with_nothing_held_out_is_a_line(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    with_history(trained, tmp_path, [1e300], [None])
    lines = program("show", "--history").out.splitlines()
    assert lines[0].startswith("1 epoch of ")
    assert lines[-1] == "training loss        1.000e+300 to 1.000e+300  ▅  lowest 1.000e+300 in epoch 1"
    assert not [line for line in lines if "validation" in line]


@posix
def test_a_long_history_takes_the_width_of_the_terminal(trained: Path, tmp_path: Path) -> None:
    epochs = 3000
    with_history(
        *(trained, tmp_path, [1 / i for i in range(1, epochs + 1)]),
        [None, *(i / epochs for i in range(1, epochs))],
    )
    for columns in (30, 80, 200):
        lines = run_on_terminal("show", "--history", cwd=tmp_path, columns=columns).lines
        assert max(map(len, lines)) <= columns
        assert f"highest 99.97 % in epoch {epochs}" in " ".join(lines)
        drawn = [line for line in lines if "█" in line]
        assert [len(line) for line in drawn] == [columns] * 3
        assert (drawn[0][0], drawn[0][-1], drawn[2][:2], drawn[2][-1]) == ("█", "▁", " ▁", "█")


@posix
def test_a_terminal_without_blocks_gets_a_history_in_ascii(trained: Path) -> None:
    seen = run_on_terminal("show", "small.npy", "--history", cwd=trained, encoding="ascii")
    assert (seen.code, seen.beside) == (0, "")
    assert seen.terminal.isascii()
    assert "\\u" not in seen.terminal
    assert "@" in seen.terminal


def test_a_history_needs_a_receipt(program: Program, trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "small.npy", tmp_path / "weights.npy")
    strip(tmp_path / "weights.npy")
    done = program("show", "--history")
    assert (done.code, done.out, done.err.count("\n")) == (6, "", 1)
    assert "no receipt: weights.npy" in done.error


@pytest.mark.parametrize("index", [-1, 100, 10**30])
def test_an_index_out_of_range_is_exit_2_with_the_range(program: Program, trained: Path, index: int) -> None:
    done = program("show", "small.npy", "--index", index, cwd=trained)
    assert (done.code, done.out) == (2, "")
    assert f"--index: expected 0 to 99, got {index}" in done.error
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "both", [["--index", 1, "--mistakes"], ["--history", "--index", 0], ["--mistakes", "--history"]]
)
def test_what_to_draw_is_one_thing(program: Program, trained: Path, both: Any) -> None:
    done = program("show", "small.npy", *both, cwd=trained)
    assert (done.code, done.out) == (2, "")
    assert "exclude" in done.error


def test_what_the_command_line_says_to_draw_wins_over_the_environment(
    program: Program, trained: Path
) -> None:
    done = program("show", "small.npy", "--history", cwd=trained, MNIST_SOFTMAX_SHOW_MISTAKES=1)
    assert done.out.startswith("50 epochs of ")


@pytest.mark.parametrize("what", [[], ["--index", 1], ["--mistakes"]])
def test_data_that_does_not_fit_the_weights_is_exit_6(
    program: Program, trained: Path, tmp_path: Path, what: Any
) -> None:
    done = program("show", "small.npy", "--data-dir", "large", *what, cwd=trained)
    assert (done.code, done.out) == (6, "")
    assert "do not fit the images" in done.error
    assert done.err.startswith("mnist-softmax: warning: the weights were trained on")
    write_folder(tmp_path / "d", "test", rows=44, classes=11)
    done = program("show", trained / "small.npy", "--data-dir", "d", *what)
    assert (done.code, done.out) == (6, "")
    assert "do not fit the labels" in done.error


def test_weights_of_no_square_need_their_data_named(program: Program, trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "oblong.npy", tmp_path / "bare.npy")
    strip(tmp_path / "bare.npy")
    done = program("show", "bare.npy", "--offline")
    assert (done.code, done.out) == (6, "")
    assert "--data-dir" in done.error
    named = program("show", "bare.npy", "--data-dir", trained / "oblong")
    assert (named.code, named.err.count("\n")) == (0, 1)
    assert named.out == program("show", trained / "oblong.npy").out


def test_missing_weights_and_weights_that_overflow_are_errors(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    assert program("show", "missing.npy").code == 2
    np.save(tmp_path / "huge.npy", np.full((65, 10), 1e38, np.float32))
    done = program("show", "huge.npy", "--data-dir", trained / "small", "--index", 0)
    assert (done.code, done.out) == (6, "")
    assert "huge.npy" in done.error
