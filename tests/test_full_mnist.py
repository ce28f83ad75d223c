"""The main job on the real MNIST files, through the program's own front door."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished, Program, clean_environment
from servers import Server, serving

from mnist_softmax.data.catalog import DATASETS, MNIST

pytestmark = pytest.mark.full


def run(program: Program, cache: Path, *arguments: Any, **environment: Any) -> Finished:
    done = program(*arguments, MNIST_SOFTMAX_CACHE_DIR=cache, MNIST_SOFTMAX_OFFLINE=1, **environment)
    assert done.code == 0, done.err
    return done


def test_download_from_a_mirror_then_train_then_eval_all_on_defaults(
    program: Program, mnist_folder: Path
) -> None:
    names = [file.packed_name for file in MNIST.files]
    contents = {name: (mnist_folder / name).read_bytes() for name in names}
    with Server(serving(contents)) as server:
        done = program("download", "--mirror", server.url, "--json")
        assert done.code == 0, done.err
        files = json.loads(done.out)["files"]
        assert [file["name"] for file in files] == names
        for file, known in zip(files, MNIST.files, strict=True):
            found = hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest()
            assert found == file["sha256"] == known.packed_sha256
            assert file["bytes"] == known.packed_bytes
            assert file["source"] == server.url + file["name"]
        again = program("download", "--mirror", server.url)
        assert "nothing was fetched" in again.out
        assert len(server.requests) == 4
    assert program("train").code == 0
    scored = json.loads(program("eval", "--json").out)
    assert scored["rows"] == 10_000
    assert scored["accuracy"] >= 0.922
    missed = program("eval", "--json", "--min-accuracy", "0.99")
    assert missed.code == 7
    assert json.loads(missed.out) == scored


def test_files_are_byte_identical_from_run_to_run_and_under_any_threads(
    program: Program, process: Program, cache: Path, tmp_path: Path
) -> None:
    kept = set()
    for threads in (None, 1, 2):
        environment: Any = {"OPENBLAS_NUM_THREADS": threads} if threads else {}
        run(process if threads else program, cache, "train", "--epochs", 2, **environment)
        kept.add(hashlib.sha256((tmp_path / "weights.npy").read_bytes()).hexdigest())
    assert len(kept) == 1


@pytest.mark.parametrize("mirror", ["", "http://127.0.0.1:1/"])
def test_on_a_warm_cache_nothing_of_the_network_is_loaded(cache: Path, tmp_path: Path, mirror: str) -> None:
    code = """
import sys
from mnist_softmax.cli import main
for line in ("train --epochs 1", "eval --json"):
    sys.argv = ["mnist-softmax", *line.split()]
    assert main._run() == 0
print({"requests", "urllib3", "http.client", "ssl", "socket", "email", "filelock", "tqdm"} & set(sys.modules))
"""
    environment = clean_environment(MNIST_SOFTMAX_CACHE_DIR=cache)
    if mirror:
        environment["MNIST_SOFTMAX_MIRROR"] = mirror
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_second_download_rehashes_and_finds_a_hidden_change(program: Program, cache: Path) -> None:
    assert "nothing was fetched" in run(program, cache, "download").out
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
        raw = gzip.decompress((mnist_folder / file.packed_name).read_bytes())
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (file.raw_bytes, file.raw_sha256)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("option", "megabytes"),
    [("--features=none", 150), ("--features=deskew", 160), ("--batch-size=60000", 150)],
)
def test_training_takes_no_more_memory_than_is_promised(
    cache: Path, tmp_path: Path, option: str, megabytes: int
) -> None:
    code = (
        "import sys; sys.argv[0] = 'mnist-softmax'\n"
        "from mnist_softmax.cli.main import main\n"
        "try: main()\n"
        "finally: print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train", option, "--cache-dir", cache, "--out", tmp_path / "w.npy"],
        capture_output=True,
        text=True,
        check=True,
    )
    peak_kilobytes = int(done.stderr.split()[-2])
    assert peak_kilobytes < 1000 * megabytes


def test_lbfgs_reaches_the_optimum_within_1e4_in_70_passes_and_after_a_kill(
    program: Program, cache: Path, tmp_path: Path
) -> None:
    command = ["train", "--solver", "lbfgs", "--val-size", 0, "--epochs", 70, "--json"]
    made = json.loads(run(program, cache, *command, "--log", "log").out)
    assert made["loss"] == pytest.approx(0.2592482953, abs=1e-4)
    whole = (tmp_path / "weights.npy").read_bytes(), (tmp_path / "log").read_bytes()
    assert json.loads(run(program, cache, "eval", "--json").out)["accuracy"] == pytest.approx(
        0.9263, abs=1e-3
    )
    (tmp_path / "weights.npy").unlink()
    environment = clean_environment(MNIST_SOFTMAX_CACHE_DIR=cache, OPENBLAS_NUM_THREADS=2)
    words = [sys.executable, "-m", "mnist_softmax", *map(str, command), "--log", "log", "--resume"]
    checkpoint = tmp_path / "weights.npy.checkpoint"
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while not checkpoint.exists() and process.stderr.readline():
            pass
        process.kill()
        process.communicate()
    assert checkpoint.exists()
    run(program, cache, *command, "--log", "log", "--resume")
    assert ((tmp_path / "weights.npy").read_bytes(), (tmp_path / "log").read_bytes()) == whole
