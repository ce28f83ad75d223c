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
from conftest import LABEL_NAMES, Program, clean_environment, write_folder

from mnist_softmax import reproduce, run, weights
from mnist_softmax.data import Source, folder_split
from mnist_softmax.errors import WeightsError

SAMPLE = ("--dataset", "mnist-sample")
#: No default among them; the last one has other settings than the defaults for everything.
WAYS = {
    "plain": "--dataset mnist-sample",
    "deskewed": "--dataset mnist-sample --deskew --epochs 3",
    "a folder": "--data-dir FOLDER --lr 0.123456789 --reg 0 --momentum 0 --schedule constant --epochs 3 "
    "--batch-size 7 --seed 12345678901234567890123 --val-size 0 --deskew",
}


@pytest.fixture
def trained(tmp_path: Path, small_folder: Path) -> Path:
    """weights.npy, trained on a small folder."""
    path, source = tmp_path / "weights.npy", Source(data_dir=small_folder)
    run.save_result(path, run.fit(folder_split(small_folder, "train"), source, run.Settings(epochs=3)))
    return path


def change(path: Path, by: float = 0.0, **receipt: Any) -> None:
    """Change a weight, by a fraction of the largest, and entries of the receipt; its hash fits again."""
    array = np.load(path)
    array[0, 0] += np.float32(by * np.abs(array).max())
    np.save(path, array)
    beside = path.with_suffix(".json")
    entry = {**json.loads(beside.read_text()), **receipt}
    entry["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_text(json.dumps(entry))


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
    shell = f'mnist-softmax() {{ "{sys.executable}" -m mnist_softmax "$@"; }}\n{printed.out}'
    # The environment cannot change what the command does: it leaves nothing to a default.
    environment = clean_environment(MNIST_SOFTMAX_TRAIN_LR=9, MNIST_SOFTMAX_TRAIN_DESKEW=way == "plain")
    subprocess.run(["bash", "-c", shell], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "the weights-again.npy").read_bytes() == out.read_bytes()


def test_the_winner_of_a_sweep_is_reproduced(program: Program) -> None:
    assert program("sweep", *SAMPLE, "--lr", "0.1,0.2", "--epochs", 2, "--out", "best.npy").code == 0
    assert json.loads(program("reproduce", "best.npy", "--json").out)["outcome"] == "identical"


def test_json_says_what_was_compared(program: Program, trained: Path, small_folder: Path) -> None:
    facts = json.loads(program("reproduce", "--json").out)
    seconds = facts.pop("seconds")
    assert 0 < seconds < 10
    sha256 = hashlib.sha256(trained.read_bytes()).hexdigest()
    receipt = json.loads(trained.with_suffix(".json").read_text())
    assert facts == {
        "weights": "weights.npy",
        "weights_sha256": sha256,
        "outcome": "identical",
        "again_sha256": sha256,
        "largest_difference": 0,
        "largest_difference_allowed": 0,
        "train_accuracy": receipt["train_accuracy"],
        "train_accuracy_again": receipt["train_accuracy"],
        "figures_allowed": 0.001,
        "versions": {},
        "faults": [],
        "dataset": str(small_folder),
    }


def test_nothing_is_written(program: Program, tmp_path: Path, trained: Path) -> None:
    code = (
        "import os, sys\n"
        "def watch(event, arguments):\n"
        "    if event == 'open':\n"
        "        path, mode, flags = arguments\n"
        "        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and path not in (1, os.devnull)\n"
        "        if writes: sys.__stderr__.write(f'{event} {path}\\n')\n"
        "    elif event in ('os.mkdir', 'os.rename', 'os.remove', 'os.truncate', 'os.utime', 'os.link',\n"
        "                   'os.symlink', 'os.chmod', 'os.rmdir', 'tempfile.mkstemp'):\n"
        "        sys.__stderr__.write(f'{event} {arguments}\\n')\n"
        "sys.addaudithook(watch)\n"
        "from mnist_softmax.cli.main import main\n"
        "main()\n"
    )

    def listing() -> Any:
        return {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}

    def run(*arguments: str) -> Any:
        environment = clean_environment(PYTHONDONTWRITEBYTECODE=1)
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )

    before = listing()
    assert run("reproduce", "weights.npy").stderr == ""
    assert run("reproduce", "weights.npy", "--dry-run").stderr == ""
    assert listing() == before
    # That the watch sees what is written:
    assert "os.rename" in run("train", *SAMPLE, "--epochs", "1").stderr


def test_a_changed_value_is_exit_6_and_with_a_receipt_to_match_exit_7(
    program: Program, trained: Path
) -> None:
    receipt = trained.with_suffix(".json").read_text()
    change(trained, by=1e-6)
    changed = trained.with_suffix(".json").read_text()
    trained.with_suffix(".json").write_text(receipt)
    refused = program("reproduce")
    assert (refused.code, refused.out) == (6, "")
    assert "names other weights" in refused.error
    trained.with_suffix(".json").write_text(changed)
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
    versions = json.loads(trained.with_suffix(".json").read_text())["versions"]
    change(trained, by, versions={**versions, "numpy": "1.0"})
    done = program("reproduce")
    assert done.code == code
    assert f"not the same: numpy 1.0 in the receipt, {np.__version__} here" in done.out
    assert ("equal within the tolerance" in done.out) == (code == 0)


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="names a kernel of x86-64")
def test_weights_of_another_type_of_processor_are_equal_and_the_kernel_is_named(program: Program) -> None:
    # OpenBLAS takes this variable for the processor: other kernels, other bits.
    assert program("train", *SAMPLE, OPENBLAS_CORETYPE="Prescott").code == 0
    facts = json.loads(program("reproduce", "--json").out)
    assert list(facts["versions"]) == ["blas"]
    assert facts["versions"]["blas"]["receipt"].startswith("openblas ")
    assert facts["outcome"] == "equal"
    assert 0 < facts["largest_difference"] < reproduce.WEIGHT_TOLERANCE / 10


@pytest.mark.parametrize("figure", ["loss", "train_accuracy", "validation_accuracy"])
def test_a_receipt_that_claims_another_figure_is_exit_7(program: Program, trained: Path, figure: str) -> None:
    stated = json.loads(trained.with_suffix(".json").read_text())[figure]
    change(trained, **{figure: stated + 0.01})
    done = program("reproduce")
    assert done.code == 7
    assert figure in done.error


def test_weights_of_another_shape_than_the_data_gives_are_exit_7(program: Program, trained: Path) -> None:
    np.save(trained, np.zeros((65, 11), np.float32))
    change(trained, class_names=list("abcdefghijk"))
    done = program("reproduce", "--json")
    assert done.code == 7
    facts = json.loads(done.out)
    assert (facts["outcome"], facts["largest_difference"], facts["train_accuracy"]) == (
        "different",
        None,
        None,
    )
    assert "(65, 11)" in done.error


def test_a_recipe_that_diverges_is_exit_7(program: Program, trained: Path) -> None:
    settings = json.loads(trained.with_suffix(".json").read_text())["settings"]
    change(trained, settings={**settings, "lr": 1e300})
    done = program("reproduce")
    assert (done.code, done.out) == (7, "")
    assert "diverged" in done.error
    assert done.err.count("\n") == 1


def test_other_data_is_exit_6_and_both_hashes_are_named(
    program: Program, trained: Path, small_folder: Path
) -> None:
    labels = small_folder / LABEL_NAMES["train"]
    was = hashlib.sha256(labels.read_bytes()).hexdigest()
    write_folder(small_folder, "train", rows=299)
    done = program("reproduce")
    assert (done.code, done.out) == (6, "")
    assert "train-images-idx3-ubyte" in done.error
    write_folder(small_folder, "train", rows=300)
    assert program("reproduce").code == 0
    data = labels.read_bytes()
    labels.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = program("reproduce")
    assert done.code == 6
    assert was in done.error
    assert hashlib.sha256(labels.read_bytes()).hexdigest() in done.error


def test_the_same_files_may_lie_elsewhere(
    program: Program, trained: Path, tmp_path: Path, small_folder: Path
) -> None:
    small_folder.rename(tmp_path / "moved")
    gone = program("reproduce")
    assert gone.code == 2
    assert str(small_folder) in gone.error
    done = program("reproduce", "--data-dir", "moved")
    assert done.code == 0, done.err
    assert "--data-dir moved " in program("reproduce", "--data-dir", "moved", "--dry-run").out


def test_no_receipt_is_exit_6_and_no_weights_exit_2(program: Program, trained: Path) -> None:
    trained.with_suffix(".json").unlink()
    done = program("reproduce")
    assert (done.code, done.out) == (6, "")
    assert "no receipt: weights.json" in done.error
    trained.unlink()
    assert program("reproduce").code == 2


def test_a_dataset_that_is_not_there_is_exit_3(program: Program, trained: Path) -> None:
    change(trained, dataset="mnist", data_dir=None)
    assert program("reproduce", "--offline").code == 3
    printed = program("reproduce", "--offline", "--cache-dir", "c", "--dry-run").out
    assert printed.endswith(" --cache-dir c --offline\n")


# Hostile receipts ---------------------------------------------------------------------------------------------------

ANYTHING: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "0.1",
    [],
    [1],
    {},
    {"a": 1},
    -1,
    -0.5,
    float("1e999"),
    10**400,
)
HOSTILE = {
    "lr": (*ANYTHING, 0),
    "reg": ANYTHING,
    "momentum": (*ANYTHING, 1, 1.5),
    "schedule": (*ANYTHING, "linear", 0),
    "epochs": (*ANYTHING, 0, 1.0, 4, 10**30),
    "batch_size": (*ANYTHING[:-1], 0, 2.0),
    "seed": (*ANYTHING[:-1], 0.0),
    "val_size": (*ANYTHING[:-1], 0.0),
}


@pytest.mark.parametrize("key", HOSTILE)
def test_a_setting_that_train_would_refuse_is_a_damaged_receipt(trained: Path, key: str) -> None:
    made = weights.load(trained)
    assert made.receipt is not None
    reproduce.recipe(made)
    settings = made.receipt["settings"]
    for value in HOSTILE[key]:
        made.receipt["settings"] = {**settings, key: value}
        with pytest.raises(WeightsError, match=rf"weights\.json: .*{key}|history of") as caught:
            reproduce.recipe(made)
        assert "\n" not in str(caught.value)
    made.receipt["settings"] = {name: value for name, value in settings.items() if name != key}
    with pytest.raises(WeightsError, match=key):
        reproduce.recipe(made)


DAMAGE: dict[str, dict[str, Any]] = {
    "no settings": {"settings": {}},
    "a setting from the future": {"settings": {"dropout": 0.5}},
    "more rows held out than there are": {"settings": {"val_size": 300}},
    "more rows held out than can be counted": {"settings": {"val_size": 10**30}},
    "an empty history": {"history": []},
    "no versions": {"versions": None},
    "a loss that is text": {"loss": "low"},
    "no accuracy": {"train_accuracy": None},
    "deskewed twice": {"preprocessing": ["deskew", "deskew"]},
    "neither dataset nor folder": {"data_dir": None},
    "both": {"dataset": "mnist-sample"},
    "a folder no system can have": {"data_dir": "a\0b"},
    "hashes of no type": {"files": {"train-images-idx3-ubyte": [1]}},
    "no hashes": {"files": {}},
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_a_damaged_receipt_is_refused_in_one_line(trained: Path, small_folder: Path, fault: str) -> None:
    damage = DAMAGE[fault]
    if damage.get("settings"):
        settings = json.loads(trained.with_suffix(".json").read_text())["settings"]
        damage = {"settings": {**settings, **damage["settings"]}}
    split = folder_split(small_folder, "train")

    def check() -> None:
        made = weights.load(trained)
        reproduce.check_data(reproduce.recipe(made), split, trained)

    check()  # as it was
    change(trained, **damage)
    with pytest.raises(WeightsError) as caught:
        check()
    assert "\n" not in str(caught.value)


def test_a_damaged_receipt_is_exit_6_and_one_line(program: Program, trained: Path) -> None:
    change(trained, settings={"lr": [[]]})
    done = program("reproduce")
    assert (done.code, done.out) == (6, "")
    assert done.err.count("\n") == 1
    assert "weights.json" in done.error


# What the versions name ---------------------------------------------------------------------------------------------


def test_the_blas_that_is_named_is_numpys_where_scipy_brought_another() -> None:
    code = (
        "import sys\n"
        "if 'scipy' in sys.argv: import scipy.linalg\n"
        "from mnist_softmax import blas\n"
        "found = blas._controller().lib_controllers\n"
        "print(blas.description(), len(found), sep='\\n')\n"
        "found.reverse()\n"  # threadpoolctl finds them in any order
        "print(blas.description())\n"
    )

    def run(*arguments: str) -> list[str]:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    alone, beside = run(), run("scipy")
    assert [alone[0], alone[0]] == [beside[0], beside[2]]
    assert int(beside[1]) >= int(alone[1])
