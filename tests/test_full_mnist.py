"""The main job on the real MNIST files, through the program's own front door."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Program
from servers import Server, serving

import mnist_softmax
from mnist_softmax.data import folder_split
from mnist_softmax.datasets import DATASETS, MNIST
from mnist_softmax.deskew import deskew

pytestmark = pytest.mark.full

CONFIGS = Path(mnist_softmax.__file__).parent.parent / "configs"
#: The minimum of the loss over all 60,000 training rows at lambda 1e-4 (float64 L-BFGS, |gradient| < 1e-7).
OPTIMUM = 0.2592482953


@pytest.fixture(scope="module")
def cache(mnist_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache filled by ``mnist-softmax download --from``."""
    folder = tmp_path_factory.mktemp("cache")
    command = [
        sys.executable,
        "-m",
        "mnist_softmax",
        "download",
        "--from",
        str(mnist_folder),
        "--cache-dir",
        str(folder),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def run(program: Program, cache: Path, *arguments: Any, **environment: Any) -> Any:
    done = program(*arguments, MNIST_SOFTMAX_CACHE_DIR=cache, MNIST_SOFTMAX_OFFLINE=1, **environment)
    assert done.code == 0, done.err
    return done


def accuracy(program: Program, cache: Path, *arguments: Any) -> Any:
    return json.loads(run(program, cache, "eval", "--json", *arguments).out)["accuracy"]


def test_download_from_a_mirror_then_train_then_eval_all_on_defaults(
    program: Program, mnist_folder: Path, tmp_path: Path
) -> None:
    names = [file.gz_name for file in MNIST.files]
    contents = {name: (mnist_folder / name).read_bytes() for name in names}
    with Server(serving(contents)) as server:
        done = program("download", "--mirror", server.url, "--json")
        assert done.code == 0, done.err
        files = json.loads(done.out)["files"]
        assert [file["name"] for file in files] == names
        for file, known in zip(files, MNIST.files, strict=True):
            assert (
                hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest()
                == file["sha256"]
                == known.gz_sha256
            )
            assert file["bytes"] == known.gz_bytes
            assert file["source"] == server.url + file["name"]
        asked = len(server.requests)
        again = program("download", "--mirror", server.url)
        assert "nothing was fetched" in again.out
        assert len(server.requests) == asked == 4
    assert program("train").code == 0
    scored = json.loads(program("eval", "--json").out)
    assert scored["rows"] == 10_000
    assert scored["accuracy"] >= 0.922
    missed = program("eval", "--json", "--min-accuracy", "0.99")
    assert missed.code == 7
    assert json.loads(missed.out) == scored


def test_the_optimum_config_reaches_the_minimum_of_the_loss(program: Program, cache: Path) -> None:
    done = run(program, cache, "train", "--config", CONFIGS / "optimum.toml", "--json")
    facts = json.loads(done.out)
    assert facts["epochs"] <= 100
    assert 0 < facts["loss"] - OPTIMUM < 1e-4
    assert abs(accuracy(program, cache) - 0.9263) < 0.002


def test_the_accurate_config_comes_close_to_the_optimum(program: Program, cache: Path) -> None:
    done = run(program, cache, "train", "--config", CONFIGS / "accurate.toml", "--json")
    assert abs(json.loads(done.out)["loss"] - OPTIMUM) < 1.5e-3
    assert accuracy(program, cache) >= 0.925


def test_the_derivation_config_is_plain_gradient_descent_and_good(
    program: Program, cache: Path, tmp_path: Path
) -> None:
    run(program, cache, "train", "--config", CONFIGS / "derivation.toml")
    settings = json.loads((tmp_path / "weights.json").read_text())["settings"]
    assert (settings["momentum"], settings["schedule"]) == (0, "constant")
    assert accuracy(program, cache) >= 0.918


def test_the_deskew_config_goes_beyond_the_published_linear_rows(program: Program, cache: Path) -> None:
    run(program, cache, "train", "--config", CONFIGS / "deskew.toml")
    assert accuracy(program, cache) >= 0.955


def test_all_of_mnist_is_deskewed_in_a_moment(cache: Path) -> None:
    split = folder_split(cache / "mnist", "train")
    images = np.concatenate([split.images, split.images[:10_000]])
    started = time.perf_counter()
    deskew(images, 28, 28)
    assert time.perf_counter() - started < 3  # measured 0.4


def test_weights_are_byte_identical_from_run_to_run_and_under_any_threads(
    program: Program, cache: Path, tmp_path: Path
) -> None:
    kept = set()
    for threads in (None, None, 1, 2):
        run(program, cache, "train", "--epochs", 3, **({"OPENBLAS_NUM_THREADS": threads} if threads else {}))
        kept.add(hashlib.sha256((tmp_path / "weights.npy").read_bytes()).hexdigest())
    assert len(kept) == 1


def test_a_second_download_rehashes_in_a_moment_and_finds_a_hidden_change(
    program: Program, cache: Path
) -> None:
    started = time.perf_counter()
    assert "nothing was fetched" in run(program, cache, "download").out
    assert time.perf_counter() - started < 2  # measured 0.2
    path = cache / "mnist" / MNIST.files[3].name
    kept, stat = path.read_bytes(), path.stat()
    with open(path, "r+b") as file:  # same size, time and inode: only a hash finds it
        file.seek(5000)
        file.write(bytes([kept[5000] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run(program, cache, "download")
    assert path.read_bytes() == kept


def test_the_raw_hashes_of_the_table_are_those_of_the_files(mnist_folder: Path) -> None:
    for file in DATASETS["mnist"].files:
        raw = gzip.decompress((mnist_folder / file.gz_name).read_bytes())
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (file.raw_bytes, file.raw_sha256)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("deskew", ["--no-deskew", "--deskew"])
def test_training_stays_under_150_megabytes(
    program: Program, cache: Path, tmp_path: Path, deskew: str
) -> None:
    code = (
        "import sys; sys.argv[0] = 'mnist-softmax'\n"
        "from mnist_softmax.cli.main import main\n"
        "try: main()\n"
        "finally: print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train", deskew, "--cache-dir", cache, "--out", tmp_path / "w.npy"],
        capture_output=True,
        text=True,
        check=True,
    )
    peak_kilobytes = int(done.stderr.split()[-2])
    assert peak_kilobytes < 150_000


def test_an_epoch_is_far_from_neither_its_floor_nor_its_lead_over_the_textbook_loop(cache: Path) -> None:
    """A short form of `make bench`, to catch a gross regression only: the bars are twice those of the bench."""
    sys.path.insert(0, str(CONFIGS.parent / "benchmarks"))
    try:
        from interleave import Peer, interleaved, ratios
    finally:
        sys.path.pop(0)
    with Peer("ours.py", cache / "mnist") as ours, Peer("textbook.py", cache / "mnist") as textbook:
        peers = {"epoch": (ours, "epoch"), "floor": (ours, "floor"), "textbook": (textbook, "epoch")}
        times = interleaved(peers, 7)
    assert ratios(times["epoch"], times["textbook"])[1] < 0.84
    assert ratios(times["epoch"], times["floor"])[1] < 3.0
