"""``mnist-softmax reproduce``: the same bytes again, other hardware, other data, hostile receipts."""

import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import change, change_json, json_of, receipt_of
from conftest import LABEL_NAMES, Program, clean_environment, write_folder

from mnist_softmax.errors import WeightsError
from mnist_softmax.records import npy, weights
from mnist_softmax.runs import reproduce
from mnist_softmax.runs.model import load

SAMPLE = ("--dataset", "mnist-sample")
#: The last one has other settings than the defaults for everything.
WAYS = {
    "plain": "--dataset mnist-sample",
    "deskewed": "--dataset mnist-sample --features=deskew --epochs 3",
    "a folder": "--data-dir FOLDER --lr 0.123456789 --reg 0 --momentum 0 --schedule constant --epochs 3 "
    "--batch-size 7 --seed 9223372036854775807 --val-size 0 --features=deskew",
}


@pytest.mark.parametrize("way", WAYS)
def test_the_bytes_come_out_again_and_so_do_those_of_the_printed_command(
    program: Program, tmp_path: Path, small_folder: Path, way: str
) -> None:
    folder = small_folder.rename(tmp_path / "it's a $folder")
    arguments = [str(folder) if word == "FOLDER" else word for word in WAYS[way].split()]
    out = tmp_path / "the weights.npy"
    assert program("train", *arguments, "--out", out.name).code == 0
    done = program("reproduce", out.name)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("the weights.npy: byte-identical")
    assert done.out.count("\n") == 1
    printed = program("reproduce", out.name, "--dry-run")
    assert (printed.code, printed.err) == (0, "")
    facts = json.loads(program("reproduce", out.name, "--dry-run", "--json").out)
    assert facts["command"] + "\n" == printed.out
    shell = f"mnist-softmax() {{ printf '%s\\0' \"$@\"; }}\n{printed.out}"
    read = subprocess.run(["bash", "-c", shell], check=True, capture_output=True, text=True).stdout
    assert read.split("\0")[:-1] == facts["arguments"]
    # The environment cannot change what the command does: it leaves nothing to a default.
    environment: Any = {
        "MNIST_SOFTMAX_TRAIN_LR": 9,
        "MNIST_SOFTMAX_TRAIN_FEATURES": "none" if way == "deskewed" else "deskew",
    }
    assert program(*facts["arguments"], **environment).code == 0
    assert (tmp_path / "the weights-again.npy").read_bytes() == out.read_bytes()


def test_names_that_begin_with_a_dash_are_no_options(
    program: Program, tmp_path: Path, small_folder: Path
) -> None:
    small_folder.rename(tmp_path / "-d")
    assert program("train", "--data-dir", "./-d", "--epochs", 1, "--out", "./-w.npy").code == 0
    command = json.loads(program("reproduce", "./-w.npy", "--dry-run", "--json").out)["arguments"]
    assert program(*command).code == 0
    assert (tmp_path / "-w-again.npy").read_bytes() == (tmp_path / "-w.npy").read_bytes()


def test_the_winner_of_a_sweep_is_reproduced(program: Program) -> None:
    assert program("sweep", *SAMPLE, "--lr", "0.1,0.2", "--epochs", 2, "--out", "best.npy").code == 0
    assert json.loads(program("reproduce", "best.npy", "--json").out)["outcome"] == "identical"


def test_json_says_what_was_compared(program: Program, trained: Path) -> None:
    facts = json.loads(program("reproduce", "--json").out)
    assert facts.pop("seconds") > 0
    sha256 = hashlib.sha256(np.load(trained).tobytes()).hexdigest()
    accuracy = receipt_of(trained).train_accuracy
    assert facts == {
        "weights": "weights.npy",
        "weights_sha256": hashlib.sha256(trained.read_bytes()).hexdigest(),
        "outcome": "identical",
        "array_sha256": sha256,
        "array_sha256_again": sha256,
        "largest_difference": 0,
        "largest_difference_allowed": 0,
        "train_accuracy": accuracy,
        "train_accuracy_again": accuracy,
        "figures_allowed": 0,
        "versions": {},
        "faults": [],
        "dataset": "small",
    }


#: Runs several commands in one process and says of each what it wrote.
WATCH = """
import os, sys
def watch(event, arguments):
    if event == 'open':
        path, mode, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and path not in (1, os.devnull)
        if writes: sys.__stderr__.write(f'{event} {path}\\n')
    elif event in ('os.mkdir', 'os.rename', 'os.remove', 'os.truncate', 'os.utime', 'os.link',
                   'os.symlink', 'os.chmod', 'os.rmdir', 'tempfile.mkstemp'):
        sys.__stderr__.write(f'{event} {arguments}\\n')
sys.addaudithook(watch)
from mnist_softmax.cli import main, output
output.prepare_streams = lambda: None
for command in sys.argv[1:]:
    sys.argv = ['mnist-softmax', *command.split()]
    assert main._run() == 0
    sys.__stderr__.write('done\\n')
"""


def test_nothing_is_written(tmp_path: Path, trained: Path) -> None:
    commands = "reproduce weights.npy", "reproduce --dry-run", "train --data-dir small --epochs 1 --out w.npy"
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *commands],
        cwd=tmp_path,
        env=clean_environment(PYTHONDONTWRITEBYTECODE=1),
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, third, _ = done.stderr.split("done\n")
    assert (first, second) == ("", "")
    assert "os.rename" in third, "the watch sees what train writes"


def test_a_changed_value_with_a_receipt_to_match_is_exit_7(program: Program, trained: Path) -> None:
    change(trained, by=1e-6)
    done = program("reproduce")
    assert done.code == 7
    assert done.out.startswith("weights.npy: different")
    assert "expected the same bytes, got weights that differ by up to 1e-06 of the largest" in done.error
    assert done.err.count("\n") == 1
    assert json.loads(program("reproduce", "--json").out)["outcome"] == "different"


@pytest.mark.parametrize(("by", "code"), [(1e-5, 0), (1e-3, 7)])
def test_other_versions_are_named_and_allow_a_small_difference(
    program: Program, trained: Path, by: float, code: int
) -> None:
    change(trained, by, versions={**receipt_of(trained).versions, "numpy": "1.0"})
    done = program("reproduce")
    assert done.code == code
    assert f"different numpy: 1.0 in the receipt, {np.__version__} here" in done.out
    assert ("equal within the tolerance" in done.out) == (code == 0)


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="names a kernel of x86-64")
def test_weights_of_another_type_of_processor_are_equal_and_the_kernel_is_named(
    program: Program, process: Program
) -> None:
    # OpenBLAS takes this variable for the processor: other kernels, other bits.
    assert process("train", *SAMPLE, OPENBLAS_CORETYPE="Prescott").code == 0
    facts = json.loads(program("reproduce", "--json").out)
    assert list(facts["versions"]) == ["blas"]
    assert facts["versions"]["blas"]["receipt"].startswith("openblas ")
    assert facts["outcome"] == "equal"
    assert 0 < facts["largest_difference"] < reproduce.WEIGHT_TOLERANCE / 10


@pytest.mark.parametrize("figure", ["loss", "train_accuracy", "validation_accuracy"])
def test_a_receipt_that_claims_another_figure_is_exit_7(program: Program, trained: Path, figure: str) -> None:
    stated = getattr(receipt_of(trained), figure)
    change_json(trained, **{figure: stated + 0.01 if figure == "loss" else stated - 0.01})
    done = program("reproduce")
    assert done.code == 7
    assert figure in done.error


def test_weights_of_another_shape_than_the_data_gives_are_exit_7(program: Program, trained: Path) -> None:
    array = np.zeros((65, 11), np.float32)
    entry = json.loads(json_of(trained))
    entry |= {"class_names": list("abcdefghijk"), "array_sha256": weights.array_sha256(array)}
    trained.write_bytes(npy.pack(array, json.dumps(entry).encode()))
    done = program("reproduce", "--json")
    assert done.code == 7
    facts = json.loads(done.out)
    assert (facts["outcome"], facts["largest_difference"]) == ("different", None)
    assert "(65, 11)" in done.error


def test_a_recipe_that_diverges_is_exit_7(program: Program, trained: Path) -> None:
    change(trained, settings={**receipt_of(trained).settings, "lr": 1e300})
    done = program("reproduce")
    assert (done.code, done.out) == (7, "")
    assert "diverged" in done.error
    assert done.err.count("\n") == 1


def test_other_data_is_exit_6_and_both_hashes_are_named(program: Program, trained: Path) -> None:
    folder = trained.parent / "small"
    labels = folder / LABEL_NAMES["train"]
    was = hashlib.sha256(labels.read_bytes()).hexdigest()
    write_folder(folder, "train", rows=299)
    done = program("reproduce")
    assert (done.code, done.out) == (6, "")
    assert "train-images-idx3-ubyte" in done.error
    write_folder(folder, "train", rows=300)
    assert program("reproduce").code == 0
    data = labels.read_bytes()
    labels.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = program("reproduce")
    assert done.code == 6
    assert was in done.error
    assert hashlib.sha256(labels.read_bytes()).hexdigest() in done.error


def test_the_same_files_may_lie_elsewhere(program: Program, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "small").rename(tmp_path / "moved")
    gone = program("reproduce")
    assert gone.code == 2
    assert "no such folder: small" in gone.error
    done = program("reproduce", "--data-dir", "moved")
    assert done.code == 0, done.err
    assert "--data-dir moved " in program("reproduce", "--data-dir", "moved", "--dry-run").out


def test_no_weights_are_exit_2(program: Program) -> None:
    done = program("reproduce")
    assert (done.code, done.out) == (2, "")
    assert "no such file: weights.npy" in done.error


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_a_receipt_that_names_no_data_is_exit_6(program: Program, trained: Path, flags: list[str]) -> None:
    change(trained, data_dir=None)
    done = program("reproduce", *flags)
    assert (done.code, done.out) == (6, "")
    assert "names no data" in done.error


def test_a_dataset_that_is_not_there_is_exit_3(program: Program, trained: Path) -> None:
    change(trained, dataset="mnist", data_dir=None)
    assert program("reproduce", "--offline").code == 3
    printed = program("reproduce", "--offline", "--cache-dir", "c", "--dry-run").out
    assert printed.endswith(" --cache-dir c --offline\n")


# Hostile receipts ---------------------------------------------------------------------------------------------------

ANYTHING: tuple[Any, ...] = (None, True, False, "", "0.1", [], [1], {}, {"a": 1}, -1, -0.5)
#: Beyond what a float or a 64-bit integer holds: no place is named.
TOO_LARGE = (float("1e999"), 10**400)
HOSTILE = {
    "lr": (*ANYTHING, 0),
    "reg": ANYTHING,
    "momentum": (*ANYTHING, 1, 1.5),
    "schedule": (*ANYTHING, "linear", 0),
    "epochs": (*ANYTHING, 0, 1.0, 4, 100_001, 10**18),
    "batch_size": (*ANYTHING, 0, 2.0),
    "seed": (*ANYTHING, 0.0, 2**63),
    "val_size": (*ANYTHING, 0.0),
}


@pytest.mark.parametrize("key", HOSTILE)
def test_a_setting_that_train_would_refuse_is_a_damaged_receipt(trained: Path, key: str) -> None:
    settings = receipt_of(trained).settings

    def refused(changed: dict[str, Any], place: str) -> None:
        change_json(trained, settings=changed)
        with pytest.raises(
            WeightsError, match=rf"the receipt is damaged: .*weights\.npy: .*{place}"
        ) as caught:
            load(trained)
        assert "\n" not in str(caught.value)

    for value in HOSTILE[key]:
        refused({**settings, key: value}, f"{key}|a history of")
    for value in TOO_LARGE:
        refused({**settings, key: value}, "")
    refused({name: value for name, value in settings.items() if name != key}, "settings")


@pytest.mark.parametrize(
    "changes",
    [{"settings": {"val_size": 300}}, {"settings": {"val_size": 2**62}}, {"files": {}}],
    ids=["no rows left", "more rows held out than can be counted", "no hashes"],
)
def test_a_receipt_that_its_data_belies_is_exit_6(
    program: Program, trained: Path, changes: dict[str, Any]
) -> None:
    if "settings" in changes:
        changes = {"settings": {**receipt_of(trained).settings, **changes["settings"]}}
    change_json(trained, **changes)
    done = program("reproduce")
    assert (done.code, done.out, done.err.count("\n")) == (6, "", 1)
