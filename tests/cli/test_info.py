"""``mnist-softmax info``: the receipt as text, as JSON, and where there is none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import change, json_of, receipt_of
from conftest import LABEL_NAMES, Program, run_here, write_folder

ARGUMENTS = [
    "--lr",
    "0.3",
    "--reg",
    "0.001",
    "--epochs",
    "4",
    "--batch-size",
    "50",
    "--momentum",
    "0.5",
    "--schedule",
    "constant",
    "--seed",
    "7",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with w.npy, deskewed.npy and no_validation.npy, trained on the folder d beside them."""
    folder = tmp_path_factory.mktemp("info")
    write_folder(folder / "d", rows=300, height=8, width=6)
    for name, options in (
        ("w", []),
        ("deskewed", ["--features=deskew"]),
        ("no_validation", ["--val-size", 0]),
    ):
        arguments = ["train", "--data-dir", "d", *ARGUMENTS, *options, "--out", f"{name}.npy"]
        assert run_here(arguments, folder).code == 0
    return folder


def test_json_is_the_receipt_in_the_file_byte_for_byte(program: Program, trained: Path) -> None:
    done = program("info", "w.npy", "--json", cwd=trained)
    assert (done.code, done.err) == (0, "")
    assert done.out.encode() == json_of(trained / "w.npy") + b"\n"
    assert json.loads(done.out)["data_dir"] == "d"


def test_text_tells_data_settings_figures_history_and_versions(program: Program, trained: Path) -> None:
    done = program("info", "w.npy", cwd=trained)
    assert (done.code, done.err) == (0, "")
    receipt = receipt_of(trained / "w.npy")
    first, *lines = done.out.splitlines()
    evaluated = json.loads(program("train", "--data-dir", "d", *ARGUMENTS, "--json", cwd=trained).out)
    assert first == f"w.npy: 49 x 10 float32, SHA-256 of the file {evaluated['weights_sha256']}"
    said = {line[:24].rstrip(): line[24:] for line in lines}
    assert len(said) == len(lines), "no name twice"
    assert all(name and value.strip() == value for name, value in said.items())
    assert said["trained on"] == "270 rows of d"
    assert said["images"] == "8 x 6 pixels"
    assert said["classes"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    for name, value in receipt.settings.items():
        assert said[name] == str(value)
    assert said["loss, with the penalty"] == f"{receipt.loss:.6f}"
    assert said["accuracy on those rows"] == f"{100 * receipt.train_accuracy:.2f} %"
    assert said["validation accuracy"] == f"{100 * (receipt.validation_accuracy or 0):.2f} %"
    assert said["numpy"] == np.__version__
    assert said[LABEL_NAMES["train"]] == receipt.files[LABEL_NAMES["train"]]
    assert said["SHA-256 of the array"] == receipt.array_sha256
    for entry in receipt.history:
        loss, validation_loss, accuracy = (
            part.split()[-1] for part in said[f"epoch {entry.epoch}"].removesuffix(" %").split(", ")
        )
        assert (loss, validation_loss) == (f"{entry.running_loss:.4f}", f"{entry.validation_loss:.4f}")
        assert float(accuracy) == pytest.approx(100 * (entry.validation_accuracy or 0), abs=0.01)


@pytest.mark.parametrize(("name", "features"), [("w", "the pixels themselves"), ("deskewed", "deskew")])
def test_text_tells_what_the_model_sees(program: Program, trained: Path, name: str, features: str) -> None:
    assert f"\nfeatures                {features}\n" in program("info", f"{name}.npy", cwd=trained).out


def test_without_validation_rows_there_is_a_dash_or_nothing(program: Program, trained: Path) -> None:
    out = program("info", "no_validation.npy", cwd=trained).out
    assert "\nvalidation accuracy     -\n" in out
    assert "validation loss" not in out
    assert "None" not in out


def test_no_data_is_opened(program: Program, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "w.npy").write_bytes((trained / "w.npy").read_bytes())
    assert program("info", "w.npy").out == program("info", "w.npy", cwd=trained).out


HOSTILE: dict[str, dict[str, Any]] = {
    "values": {
        "class_names": ["\x1b[31mred\n", "caf\u00e9", *"23456789"],
        "data_dir": "d\x1b[2J",
        "files": {"a": "a\rhash"},
        "versions": {"numpy": "\x07"},
    },
    "names": {"files": {"a\x1b[31mname": "hash"}, "versions": {"num\npy": "1"}},
}


@pytest.mark.parametrize("what", ["values", "names"])
def test_control_characters_do_not_reach_the_terminal(
    program: Program, trained: Path, tmp_path: Path, what: str
) -> None:
    (tmp_path / "w.npy").write_bytes((trained / "w.npy").read_bytes())
    change(tmp_path / "w.npy", **HOSTILE[what])
    for flags in ([], ["--json"]):
        done = program("info", "w.npy", *flags)
        assert done.code == 0
        assert all(line.isprintable() for line in done.out.split("\n"))
    if what == "values":
        out = program("info", "w.npy").out
        assert "\\x1b[31mred\\n, caf\u00e9, 2" in out
        assert "270 rows of d\\x1b[2J" in out


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_no_file_is_exit_2_and_what_is_no_weights_file_6(
    program: Program, tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "text.npy").write_text("no weights")
    for name, code in (("missing.npy", 2), ("text.npy", 6)):
        done = program("info", name, *flags)
        assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
        assert name in done.error
