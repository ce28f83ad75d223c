"""``mnist-softmax report`` trains again to show how the weights formed: what it proves, and what it does if it cannot."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import change, change_json, receipt_of, strip
from cli.streams import run_on_terminal
from conftest import LABEL_NAMES, Finished, Program, write_folder
from servers import Server

from mnist_softmax.views.report import page


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the page was told of the replay, each time that one was made."""
    seen: list[Any] = []
    render = page.render

    def listen(model: Any, split: Any, replay: Any) -> Any:
        seen.append(replay)
        return render(model, split, replay)

    monkeypatch.setattr(page, "render", listen)
    return seen


def without_replay(done: Finished, trained: Path, told: Any) -> str:
    """The reason that the page was given; the command succeeded, and its line says nothing of a replay."""
    assert done.code == 0
    assert "; trained again" not in done.out
    assert (trained.parent / "report.html").exists()
    (reason,) = told
    assert isinstance(reason, str)
    assert (f"; not trained again: {reason}; " in done.out) == (reason != "it was not asked for")
    assert str(trained.parent) not in reason
    return reason


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_page_gets_the_moments_and_the_line_says_what_they_prove(
    program: Program, trained: Path, told: Any, split: str
) -> None:
    done = program("report", "--split", split)
    assert (done.code, done.err) == (0, "")
    assert "; trained again: the same weights; " in done.out
    (replay,) = told
    assert replay.outcome.word == "identical"
    np.testing.assert_array_equal(replay.moments[-1].parameters, np.load(trained))
    assert f"{100 * replay.moments[-1].accuracy:.2f} % on {300 if split == 'train' else 100} " in done.out


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_a_terminal_shows_a_bar(trained: Path) -> None:
    for arguments, shown in (["report"], True), (["report", "--no-replay"], False):
        seen = run_on_terminal(*arguments, stream="stderr", cwd=trained.parent)
        assert (seen.code, "training again" in seen.terminal) == (0, shown)


def test_no_replay_is_a_choice(program: Program, trained: Path, told: Any) -> None:
    done = program("report", "--no-replay")
    assert without_replay(done, trained, told) == "it was not asked for"
    assert done.err == ""


def test_other_bits_of_other_versions_are_a_warning(program: Program, trained: Path, told: Any) -> None:
    change(trained, 1e-6, versions={**receipt_of(trained).versions, "numpy": "1.0"})
    done = program("report")
    assert done.code == 0
    assert done.err == (
        "mnist-softmax: warning: training again gave weights equal within the tolerance, not the same bytes: "
        "weights.npy\n"
    )
    assert "; trained again: equal within the tolerance; " in done.out
    assert told[0].outcome.word == "equal"


def test_the_same_bits_of_other_versions_are_none(program: Program, trained: Path) -> None:
    change(trained, versions={**receipt_of(trained).versions, "numpy": "1.0"})
    done = program("report")
    assert (done.code, done.err) == (0, "")
    assert "; trained again: the same weights; " in done.out


@pytest.mark.parametrize(
    ("by", "receipt", "warning", "line"),
    [
        (0.01, {}, "another result: weights that differ by up to 0.01 ", "different weights"),
        (0, {"train_accuracy": 1.0}, "the same weights, but with train_accuracy 1.0 in ", "the same weights"),
    ],
)
def test_what_does_not_come_out_again_is_a_warning(
    program: Program, trained: Path, told: Any, by: float, receipt: Any, warning: str, line: str
) -> None:
    change(trained, by, **receipt)
    done = program("report")
    assert done.code == 0
    assert done.err.startswith(f"mnist-softmax: warning: training again gave {warning}")
    assert done.err.count("\n") == 1
    assert f"; trained again: {line}; " in done.out
    page = " ".join((trained.parent / "report.html").read_text().split())
    assert ("<b>Not reproduced.</b>" in page) == (line == "different weights")
    assert ("the same bits, but with train_accuracy 1.0 in" in page) == (line != "different weights")
    assert told[0].outcome.word == "different"


def test_data_that_is_not_cached_is_not_fetched(program: Program, trained: Path, told: Any) -> None:
    change(trained, dataset="mnist", data_dir=None)
    with Server() as server:
        done = program("report", "--data-dir", "small", MNIST_SOFTMAX_MIRROR=server.url)
        assert without_replay(done, trained, told) == "the data is not in the cache"
        assert server.requests == []
    assert not (trained.parent / "cache").exists()
    assert done.err.startswith("mnist-softmax: warning: the weights were trained on mnist, not on small: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data_dir": "gone"}, "the data is not where the receipt says"),
        ({"data_dir": None}, "the receipt names no data"),
        ({"rows": 20_000_000}, "training takes 60,000,000 rows, more than 20,000,000"),
        ({"settings": {"lr": 1e300}}, "training diverged"),
        ({"settings": {"val_size": 300}}, "the receipt is damaged"),
        ({"files": {}}, "the weights were trained on another train-images-idx3-ubyte"),
        ({"features": ["deskew"]}, None),
    ],
)
def test_a_receipt_that_cannot_be_followed_costs_the_replay_alone(
    program: Program, trained: Path, told: Any, changes: Any, reason: str | None
) -> None:
    if "settings" in changes:
        changes = {"settings": {**receipt_of(trained).settings, **changes["settings"]}}
    change_json(trained, **changes)
    done = program("report", "--data-dir", "small")
    if reason is None:  # it can be followed, to other weights
        assert done.code == 0
        assert told[0].outcome.word == "different"
    else:
        assert without_replay(done, trained, told) == reason


def test_weights_without_a_receipt_have_no_replay(program: Program, trained: Path, told: Any) -> None:
    strip(trained)
    done = program("report", "--data-dir", "small")
    assert without_replay(done, trained, told) == "the weights have no receipt"


def test_other_training_data_is_a_reason(program: Program, trained: Path, told: Any) -> None:
    labels = trained.parent / "small" / LABEL_NAMES["train"]
    data = labels.read_bytes()
    labels.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    reason = without_replay(program("report"), trained, told)
    assert reason == "the weights were trained on another train-labels-idx1-ubyte"
    told.clear()
    labels.write_bytes(data[:-1])
    assert without_replay(program("report"), trained, told)
    told.clear()
    labels.unlink()
    assert without_replay(program("report"), trained, told) == "the data is not where the receipt says"


@pytest.mark.parametrize("error", [MemoryError(), PermissionError(13, "Permission denied", "/secret")])
def test_what_the_system_refuses_is_a_reason(
    program: Program, trained: Path, told: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("mnist_softmax.runs.reproduce.fit", refuse)
    reason = without_replay(program("report"), trained, told)
    assert reason == "the data cannot be read into memory"


def test_the_page_takes_the_place_of_no_file_that_is_trained_on_again(
    program: Program, trained: Path
) -> None:
    for split in ("train", "test"):
        write_folder(trained.parent / "other", split)
    labels = trained.parent / "small" / LABEL_NAMES["train"]
    before = labels.read_bytes()
    done = program("report", "--data-dir", "other", "-o", f"small/{LABEL_NAMES['train']}")
    assert (done.code, done.out) == (2, "")
    assert labels.read_bytes() == before


def test_data_that_fits_no_weights_is_still_exit_6(program: Program, trained: Path) -> None:
    write_folder(trained.parent / "large", "test", height=9)
    done = program("report", "--data-dir", "large")
    assert (done.code, done.out) == (6, "")
    assert "do not fit the images" in done.error
    assert not (trained.parent / "report.html").exists()
