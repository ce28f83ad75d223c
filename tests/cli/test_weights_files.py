"""A weights file in its user's hands: moved, linked, without a receipt, beside other files, written by two."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import change_json, json_of, strip
from conftest import Program, clean_environment, run_here, write_folder

from mnist_softmax.rows import Gatherer

SAMPLE = ("--dataset", "mnist-sample")
KINDS = {"plain": "--features=none", "deskewed": "--features=deskew"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plain.npy and deskewed.npy, trained on the sample, and a picture."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("weights")
    for kind, flag in KINDS.items():
        assert run_here(["train", *SAMPLE, "--epochs", 3, flag, "--out", f"{kind}.npy"], folder).code == 0
    digit = Image.new("L", (28, 28))
    digit.paste(255, (12, 6, 16, 22))
    digit.save(folder / "digit.png")
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """The same, to change."""
    for path in trained.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


def scores(program: Program, *arguments: object) -> Any:
    done = program("eval", *arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.skipif(os.name != "posix", reason="a shell")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_copied_moved_and_linked_scores_as_before(program: Program, folder: Path, kind: str) -> None:
    before = scores(program, f"{kind}.npy")
    line = f"cp {kind}.npy x.npy; mv x.npy y.bin; ln -s y.bin z.npy"
    subprocess.run(line, shell=True, cwd=folder, check=True)
    done = program("eval", "z.npy", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == before


def test_one_file_is_all_that_training_leaves_and_numpy_reads_its_array(
    program: Program, folder: Path
) -> None:
    assert {path.name for path in folder.iterdir()} == {"plain.npy", "deskewed.npy", "digit.png"}
    array = np.load(folder / "plain.npy")
    assert (array.shape, array.dtype) == ((785, 10), np.float32)
    assert json.loads(json_of(folder / "plain.npy"))["dataset"] == "mnist-sample"


# Without a receipt --------------------------------------------------------------------------------------------------

#: Each reads w.npy, and each but `predict` also data.
READERS = {
    "eval": ("eval", "w.npy", *SAMPLE),
    "predict": ("predict", "--weights", "w.npy", "digit.png"),
    "show": ("show", "w.npy", *SAMPLE),
    "show a row": ("show", "w.npy", *SAMPLE, "--index", "1"),
    "report": ("report", "w.npy", *SAMPLE),
    "compare a": ("compare", "w.npy", "plain.npy"),
    "compare b": ("compare", "plain.npy", "w.npy"),
}


@pytest.mark.parametrize("reader", READERS)
def test_weights_without_a_receipt_are_read_with_one_warning(
    program: Program, folder: Path, reader: str
) -> None:
    (folder / "plain.npy").rename(folder / "w.npy")
    shutil.copy(folder / "w.npy", folder / "plain.npy")
    before = program(*READERS[reader])
    assert (before.code, before.err) == (0, "")
    strip(folder / "w.npy")
    done = program(*READERS[reader])
    assert done.code == 0
    assert done.err == (
        "mnist-softmax: warning: no receipt in the weights, so they are applied to plain pixels: w.npy\n"
    )
    if reader != "report":  # whose page differs, by what the receipt told
        assert done.out == before.out


def test_two_files_without_a_receipt_are_two_warnings(program: Program, folder: Path) -> None:
    for kind in KINDS:
        strip(folder / f"{kind}.npy")
    done = program("compare", "plain.npy", "deskewed.npy", *SAMPLE)
    assert done.code == 0
    assert [line.split(": ")[-1] for line in done.err.splitlines()] == ["plain.npy", "deskewed.npy"]


def test_deskewed_weights_without_their_receipt_score_far_lower_hence_the_warning(
    program: Program, folder: Path
) -> None:
    before = scores(program, "deskewed.npy")["accuracy"]
    assert before > 0.9
    strip(folder / "deskewed.npy")
    assert scores(program, "deskewed.npy", *SAMPLE)["accuracy"] < before - 0.1


@pytest.mark.parametrize("command", ["info", "reproduce"])
def test_what_only_a_receipt_can_tell_is_exit_6_without_one(
    program: Program, folder: Path, command: str
) -> None:
    strip(folder / "plain.npy")
    done = program(command, "plain.npy")
    assert (done.code, done.out) == (6, "")
    assert done.err.startswith("mnist-softmax: error: no receipt: plain.npy")
    assert done.err.count("\n") == 1


# A receipt that is wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["eval", "predict", "show", "report", "compare", "reproduce", "info"])
@pytest.mark.parametrize(
    "changes",
    [
        {"history": [1]},
        {"history": [{}]},
        {"history": [{"epoch": "x", "running_loss": 1.0}]},
        {"history": [{"epoch": 1, "running_loss": 10**400}]},
        {"versions": [1]},
        {"loss": None},
        {"rows": "x"},
        {"train_accuracy": "x"},
        {"a key": "from the future"},
    ],
    ids=str,
)
def test_a_damaged_receipt_is_refused_by_every_command(
    program: Program, folder: Path, changes: dict[str, Any], command: str
) -> None:
    change_json(folder / "plain.npy", **changes)
    arguments = {"predict": ["--weights", "plain.npy", "digit.png"], "compare": ["plain.npy"] * 2}
    done = program(command, *arguments.get(command, ["plain.npy"]))
    assert (done.code, done.out) == (6, "")
    assert done.err.startswith("mnist-softmax: error: the receipt is damaged: plain.npy")
    assert done.err.count("\n") == 1


def test_a_changed_weight_and_bytes_after_the_receipt_are_exit_6(program: Program, folder: Path) -> None:
    path = folder / "plain.npy"
    whole = path.read_bytes()
    for content in (whole[:300] + bytes([whole[300] ^ 1]) + whole[301:], whole + b"x", whole[:-1]):
        path.write_bytes(content)
        done = program("eval", "plain.npy")
        assert (done.code, done.out, done.err.count("\n")) == (6, "", 1)


# Beside other files -------------------------------------------------------------------------------------------------


def test_a_config_json_of_ones_own_is_left_alone(program: Program, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")
    assert program("train", *SAMPLE, "--epochs", 1, "--out", "config.npy").code == 0
    assert (tmp_path / "config.json").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "config.npy"}


@pytest.mark.skipif(os.name != "posix", reason="a shell")
def test_results_may_go_to_a_weights_json(tmp_path: Path, program: Program) -> None:
    line = (
        f'"{sys.executable}" -m mnist_softmax train --dataset mnist-sample --epochs 1 --json > weights.json'
    )
    subprocess.run(line, shell=True, cwd=tmp_path, env=clean_environment(), check=True, capture_output=True)
    facts = json.loads((tmp_path / "weights.json").read_text())
    assert facts["weights"] == "weights.npy"
    assert scores(program)["weights_sha256"] == facts["weights_sha256"]


@pytest.mark.parametrize("target", ["plain.npy", "plain.npy.checkpoint", "link.npy"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("train", *SAMPLE, "--lr", "1e30", "--out", "plain.npy", "--log"),
        ("eval", "plain.npy", "--predictions"),
        ("compare", "deskewed.npy", "plain.npy", "--differences"),
        ("report", "plain.npy", "--out"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_output_takes_the_place_of_the_weights_or_of_their_checkpoint(
    program: Program, folder: Path, target: str, arguments: tuple[str, ...]
) -> None:
    (folder / "link.npy").symlink_to("plain.npy")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = program(*arguments, target)
    assert (done.code, done.out) == (2, "")
    assert f": {target}; name another one" in done.error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--config", "c.toml", "--out", "c.toml"),
        ("train", "--config", "c.toml", "--log", "c.toml"),
        ("train", "--data-dir", "d", "--out", "d/train-images-idx3-ubyte"),
        ("train", "--data-dir", "d", "--log", "d/train-labels-idx1-ubyte"),  # cut while it is mapped: SIGBUS
        ("eval", "w.npy", "--predictions", "d/t10k-labels-idx1-ubyte"),
        ("compare", "w.npy", "w.npy", "--differences", "d/t10k-labels-idx1-ubyte"),
        ("report", "w.npy", "--out", "d/t10k-images-idx3-ubyte"),
    ],
    ids=" ".join,
)
def test_no_output_takes_the_place_of_the_config_or_the_data(
    program: Program, process: Program, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path / "d", split)
    (tmp_path / "c.toml").write_text('data_dir = "d"\nepochs = 1\n')
    assert program("train", "--config", "c.toml", "--out", "w.npy").code == 0
    target = tmp_path / arguments[-1]
    before = target.read_bytes()
    run = process if "--log" in arguments else program
    done = run(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert target.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
def test_links_that_loop_pipes_and_paths_through_files_are_named(program: Program, folder: Path) -> None:
    (folder / "loop.npy").symlink_to("loop.npy")
    os.mkfifo(folder / "pipe.npy")
    for arguments, code in (
        (("train", *SAMPLE, "--out", "loop.npy"), 5),
        (("train", *SAMPLE, "--out", "pipe.npy"), 2),
        (("eval", "loop.npy"), 5),
        (("eval", "pipe.npy"), 2),
        (("eval", "plain.npy/x.npy"), 2),
        (("eval", "."), 2),
    ):
        done = program(*arguments)
        assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), arguments


# The same bytes -----------------------------------------------------------------------------------------------------


def test_two_runs_give_the_same_file_to_the_byte_and_another_seed_another(
    program: Program, trained: Path, tmp_path: Path
) -> None:
    arguments = ("train", *SAMPLE, "--epochs", 3, "--features=deskew")
    assert program(*arguments).code == 0
    again = (tmp_path / "weights.npy").read_bytes()
    assert again == (trained / "deskewed.npy").read_bytes()
    assert program(*arguments, "--seed", 1).code == 0
    assert (tmp_path / "weights.npy").read_bytes() != again


@pytest.mark.parametrize("threads", [1, 4])
def test_the_bytes_are_the_same_under_any_number_of_threads(
    process: Program, trained: Path, tmp_path: Path, threads: int
) -> None:
    assert process("train", *SAMPLE, "--epochs", 3, OPENBLAS_NUM_THREADS=threads).code == 0
    assert (tmp_path / "weights.npy").read_bytes() == (trained / "plain.npy").read_bytes()


@pytest.mark.parametrize("available", [1, 2])
def test_the_bytes_are_the_same_whether_a_second_core_gathers_the_rows_or_none(
    program: Program, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int
) -> None:
    gathering = set()
    gather = Gatherer.gather

    def noted(gatherer: Gatherer, rows: Any) -> Any:
        gathering.add(threading.current_thread())
        return gather(gatherer, rows)

    monkeypatch.setattr(Gatherer, "gather", noted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(available)), raising=False)
    assert program("train", *SAMPLE, "--epochs", 3).code == 0
    assert (threading.main_thread() in gathering) == (available == 1)
    assert (tmp_path / "weights.npy").read_bytes() == (trained / "plain.npy").read_bytes()


#: Trains into the same file whenever a line says so.
WRITER = """
import sys
from mnist_softmax.cli import main, output
output.prepare_streams = lambda: None
for _ in sys.stdin:
    sys.argv = ["mnist-softmax", "train", "--data-dir", "d", "--epochs", EPOCHS, "--out", "same.npy"]
    print(main._run(), flush=True)
"""


def test_of_two_that_write_the_same_file_at_once_one_wins_whole(program: Program, tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path / "d", split)
    alone = []
    for epochs in "14":  # so that the files have different sizes
        assert program("train", "--data-dir", "d", "--epochs", epochs, "--out", "w.npy").code == 0
        alone.append((tmp_path / "w.npy").read_bytes())
    (tmp_path / "w.npy").unlink()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER.replace("EPOCHS", repr(epochs))],
            cwd=tmp_path,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        for epochs in "14"
    ]
    try:
        for _ in range(12):
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("go\n")
            for writer in writers:
                assert writer.stdout is not None
                while (line := writer.stdout.readline()).startswith("same.npy: "):
                    pass
                assert line == "0\n"
            assert (tmp_path / "same.npy").read_bytes() in alone
            assert program("eval", "same.npy").code == 0
    finally:
        for writer in writers:
            writer.communicate(timeout=60)
    assert {path.name for path in tmp_path.iterdir()} == {"d", "same.npy"}
