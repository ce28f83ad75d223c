"""``mnist-softmax info``: the receipt as text, as JSON, and where there is none."""

import json
import os
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import change, json_of, receipt_of
from conftest import LABEL_NAMES, Program, run_here, write_folder

import mnist_softmax
from mnist_softmax import blas
from mnist_softmax.data.catalog import DATASETS, MNIST_SAMPLE
from mnist_softmax.records.receipt import Epoch
from mnist_softmax.settings import SETTINGS

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
    size = (trained / "w.npy").stat().st_size
    assert first == f"w.npy: 49 x 10 float32, {size} bytes with its receipt"
    said = {line[:24].rstrip(): line[24:] for line in lines}
    assert len(said) == len(lines), "no name twice"
    assert all(name and value.strip() == value for name, value in said.items())
    assert said["trained on"] == "270 rows of d"
    assert said["images"] == "8 x 6 pixels"
    assert said["classes"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    for name, value in receipt.settings.items():
        assert said[name] == f"{value!s:<10}  {SETTINGS[name].help}"
    assert said["loss, with the penalty"] == f"{receipt.loss:.6f}"
    assert said["accuracy on those rows"] == f"{100 * receipt.train_accuracy:.2f} %"
    assert said["validation accuracy"] == f"{100 * (receipt.validation_accuracy or 0):.2f} %"
    assert said["numpy"] == np.__version__
    assert said[LABEL_NAMES["train"]] == f"SHA-256 {receipt.files[LABEL_NAMES['train']]}"
    assert said["SHA-256 of the file"] == evaluated["weights_sha256"]
    assert said["SHA-256 of the array"] == receipt.array_sha256
    best = max(receipt.history, key=lambda entry: entry.validation_accuracy or 0)
    assert said[f"epoch {best.epoch}"].endswith(" %, the best")
    for entry in (receipt.history[0], best, receipt.history[-1]):
        line = said[f"epoch {entry.epoch}"].removesuffix(", the best").removesuffix(" %")
        loss, validation_loss, accuracy = (part.split()[-1] for part in line.split(", "))
        assert (loss, validation_loss) == (f"{entry.running_loss:.4f}", f"{entry.validation_loss:.4f}")
        assert float(accuracy) == pytest.approx(100 * (entry.validation_accuracy or 0), abs=0.01)


def test_of_a_long_history_only_its_ends_and_the_best_epoch_are_told(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    shutil.copy(trained / "w.npy", tmp_path)
    history = [Epoch(n, 1 / n, 2 / n, 0.9 if n == 700 else 0.5) for n in range(1, 1001)]
    settings = {**receipt_of(tmp_path / "w.npy").settings, "epochs": 1000}
    change(tmp_path / "w.npy", history=history, settings=settings)
    lines = [line for line in program("info", "w.npy").out.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1", "700", "1000"]
    assert [line.endswith(", the best") for line in lines] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "features"),
    [("w", "the pixels themselves: 48 numbers an image"), ("deskewed", "deskew: 48 numbers an image")],
)
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


# Without weights ----------------------------------------------------------------------------------------------------


def test_without_weights_the_installation_is_told(program: Program, tmp_path: Path) -> None:
    done = program("info")
    assert (done.code, done.err) == (0, "")
    said = {line[:23].rstrip(): line[24:] for line in done.out.splitlines()}
    folder = Path(mnist_softmax.__file__).parent
    assert said["mnist-softmax"] == f"{mnist_softmax.__version__}, in {folder}"
    assert said["NumPy"] == f"{np.__version__}, BLAS {blas.description()}"
    assert int(said["cores"]) >= 1
    assert f"click {metadata.version('click')}, " in said["libraries"]
    assert f"Pillow {metadata.version('Pillow')}" in said["extra images"]
    assert said["cache"] == f"{tmp_path / 'cache'}, 0.0 MB"
    assert [said[name].split(",")[0] for name in DATASETS] == [
        "absent" if dataset.mirrors else "built in" for dataset in DATASETS.values()
    ]
    assert not (tmp_path / "cache").exists()


def test_the_installation_as_json_is_one_object(program: Program, tmp_path: Path) -> None:
    done = program("info", "--json", "--cache-dir", "elsewhere", cwd=tmp_path)
    facts = json.loads(done.out)
    assert facts["numpy"] == facts["libraries"]["numpy"] == np.__version__
    assert facts["extras"]["report"]["Jinja2"] == metadata.version("jinja2")
    assert facts["cache"]["path"] == "elsewhere"
    assert facts["cache"]["datasets"]["mnist"] == {"state": "absent", "bytes": 0}


def test_a_package_that_is_missing_is_said_to_be(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    requires = [
        "click>=1",
        'mnist_softmax_none>=1; extra == "images"',
        "mnist-softmax[images]; extra == 'all'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: requires)
    facts = json.loads(program("info", "--json").out)
    assert facts["extras"] == {"images": {"mnist_softmax_none": None}}
    assert "\nextra images            mnist_softmax_none missing\n" in program("info").out


def test_the_state_of_a_dataset_follows_its_files(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample's files, served as another dataset from a folder."""
    packed = Path(mnist_softmax.__file__).parent / "data" / "sample"
    monkeypatch.setitem(
        DATASETS, "mnist", replace(MNIST_SAMPLE, name="mnist", mirrors=("http://127.0.0.1:9/",))
    )

    def told() -> Any:
        text = program("info").out
        facts = json.loads(program("info", "--json").out)["cache"]["datasets"]["mnist"]
        assert f"\nmnist                   {facts['state']}" in text
        assert ("mnist-softmax download --dataset mnist" in text) == facts["state"].startswith("incomplete")
        return facts

    folder = tmp_path / "cache" / "mnist"
    assert told() == {"state": "absent", "bytes": 0}
    assert program("download", "--from", packed).code == 0
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert told() == {"state": "complete", "bytes": size}
    name = LABEL_NAMES["train"]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + b"\0")
    assert told() == {"state": "incomplete or changed", "bytes": size}
    (folder / name).unlink()
    assert told() == {"state": "incomplete or changed", "bytes": size - len(content)}
    assert program("download", "--from", packed).code == 0
    assert told()["state"] == "complete"
    shutil.rmtree(folder)
    folder.write_text("no folder")
    assert told() == {"state": f"unreadable: {os.strerror(20)}", "bytes": 0}
