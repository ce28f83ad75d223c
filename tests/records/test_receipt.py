"""The receipt: one schema that writes and reads it, the same bytes for the same run."""

import json
import time
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records.made import PARAMETERS, facts, history, receipt, run

from mnist_softmax.data.split import Source
from mnist_softmax.errors import WeightsError
from mnist_softmax.records import weights
from mnist_softmax.records.checkpoint import Checkpoint, load, save
from mnist_softmax.records.receipt import Epoch, Receipt, Run, decode, encode
from mnist_softmax.settings import Settings
from mnist_softmax.training.kernel import initial_state

HERE = Path("weights.npy")


def test_what_is_written_is_read() -> None:
    for changes in (
        {},
        {"validation_accuracy": None},
        {"class_names": ["a", "\N{HIRAGANA LETTER WO}", "\0"]},
    ):
        made = receipt(**changes)
        assert decode(encode(made), Receipt, HERE, "the receipt") == made
    assert decode(encode(run()), Run, HERE, "the run") == run()


@settings(deadline=None)
@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.floats(0, 1),
)
def test_numbers_come_back_with_every_bit(loss: float, validation_loss: float, accuracy: float) -> None:
    entry = Epoch(1, loss, validation_loss, accuracy)
    assert decode(encode(entry), Epoch, HERE, "the entry") == entry


def test_the_same_run_writes_the_same_bytes_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = encode(receipt())
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert encode(receipt()) == first


def test_every_key_is_one_that_the_run_decides() -> None:
    run_keys = [
        *("dataset", "data_dir", "files", "image_height", "image_width", "class_names", "features"),
        *("settings", "rows", "versions"),
    ]
    result_keys = ["format", "array_sha256", "loss", "train_accuracy", "validation_accuracy", "history"]
    assert list(json.loads(encode(run()))) == run_keys
    assert sorted(facts()) == sorted(run_keys + result_keys)
    assert list(facts()["settings"]) == [field.name for field in fields(Settings)]
    assert list(facts()["versions"]) == ["machine", "mnist_softmax", "python", "numpy", "blas"]
    assert list(facts()["history"][0]) == ["epoch", "running_loss", "validation_loss", "validation_accuracy"]


@pytest.mark.parametrize(
    "source",
    [
        Source("mnist"),
        Source(None, Path("data")),
        Source(None, Path("../d\N{LATIN SMALL LETTER E WITH ACUTE}")),
        Source(None, Path("a\nb \N{HIRAGANA LETTER WO}")),
        Source(),
    ],
)
def test_the_source_is_recorded_as_it_was_given(source: Source) -> None:
    assert decode(encode(run(source=source)), Run, HERE, "the run").source == source


def test_an_error_names_the_file_the_place_and_the_remedy() -> None:
    wrong = json.dumps(facts(rows="many")).encode()
    with pytest.raises(WeightsError) as caught:
        decode(wrong, Receipt, HERE, "the receipt", "train again")
    assert str(caught.value) == (
        "the receipt is damaged: weights.npy: got Expected `int`, got `str` - at `$.rows`; train again"
    )


def test_the_longest_history_can_be_written_and_read(tmp_path: Path) -> None:
    made = receipt(epochs=100_000)
    weights.save(tmp_path / "w.npy", PARAMETERS, made)
    assert weights.load(tmp_path / "w.npy").receipt == made
    state = initial_state(4, 3, 255.0)
    state.epoch = 99_999
    of_run = run(epochs=100_000)
    save(tmp_path / "w.npy.checkpoint", of_run, Checkpoint(state, history(99_999)))
    assert load(tmp_path / "w.npy.checkpoint", of_run).history == history(99_999)
