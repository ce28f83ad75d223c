"""``mnist-softmax quickstart``: full MNIST where it can be had, the sample, aloud, where it cannot."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import Program, clean_environment
from servers import Server, serving

from mnist_softmax.data.catalog import MNIST
from mnist_softmax.data.patience import QUICK

NAMES = ["quickstart-pixels.npy", "quickstart.npy"]
#: Replaces the resolver of the process before the program starts, and shortens the program's patience.
RESOLVER = """
import dataclasses, socket, sys, time
from mnist_softmax.data import patience
kind = sys.argv.pop(1)
def getaddrinfo(*arguments, **options):
    if kind == "never answers":
        time.sleep(3600)
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
socket.getaddrinfo = getaddrinfo
patience.QUICK = dataclasses.replace(patience.QUICK, answer_seconds=0.2)
sys.argv = ["mnist-softmax", "quickstart"]
from mnist_softmax.cli.main import main
main()
"""


@pytest.mark.parametrize("resolver", ["refuses", "never answers"])
def test_without_a_mirror_the_sample_is_taken_aloud(tmp_path: Path, resolver: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESOLVER, resolver],
        cwd=tmp_path,
        env=clean_environment(MNIST_SOFTMAX_CACHE_DIR=tmp_path / "cache", no_proxy="*"),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "no mirror delivered" in warnings[-2]
    assert "mnist-sample" in warnings[-1]
    accuracy = next(line for line in done.stdout.splitlines() if line.startswith("accuracy"))
    assert float(accuracy.split()[1]) >= 98.3
    mistakes = re.findall(r"(\d+) mistakes \((\S+) %\)", done.stdout)
    assert [int(count) for count, _ in mistakes] == [
        round(2000 * (1 - float(percent) / 100)) for _, percent in mistakes
    ]
    assert [accuracy.split()[1]] == [percent for _, percent in mistakes[1:]]
    assert int(mistakes[0][0]) > 6 * int(mistakes[1][0])
    for words in ("confusion matrix", f"weights: {tmp_path / 'quickstart.npy'}\n", "next:\n"):
        assert words in done.stdout
    assert [path.name for path in sorted(tmp_path.iterdir()) if path.is_file()] == NAMES


def test_mirrors_that_never_answer_cost_less_than_fifteen_seconds() -> None:
    assert len(MNIST.mirrors) * QUICK.tries * QUICK.answer_seconds <= 12


def test_offline_takes_the_sample_and_leaves_other_weights_alone(program: Program, tmp_path: Path) -> None:
    (tmp_path / "weights.npy").write_bytes(b"mine")
    done = program("quickstart", "--offline")
    assert done.code == 0
    assert (tmp_path / "weights.npy").read_bytes() == b"mine"


def test_what_it_names_as_next_works_as_typed_where_the_program_is_not_on_the_path(tmp_path: Path) -> None:
    """The program is called as make does, by the path of a virtual environment."""
    own = Path(sys.executable).parent
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(own)
    environment = clean_environment(PATH="/usr/bin:/bin", HOME=tmp_path)
    ran = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    done = ran([".venv/bin/mnist-softmax", "quickstart", "--offline"])
    assert done.returncode == 0, done.stderr
    lines = [line[2:] for line in done.stdout.partition("next:\n")[2].splitlines()]
    assert lines[0] == ". .venv/bin/activate"
    assert len(lines) == 4
    # What `activate` does; the one here belongs to another folder.
    script = "\n".join(["test -f .venv/bin/activate", 'PATH="$PWD/.venv/bin:$PATH"', *lines[1:]])
    typed = ran(["bash", "-ec", script])
    assert typed.returncode == 0, typed.stderr
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", [*NAMES, *(f"{name}.checkpoint" for name in NAMES)])
def test_a_link_to_a_file_of_the_cache_is_not_written_through(
    name: str, program: Program, tmp_path: Path
) -> None:
    (tmp_path / "mnist").mkdir()
    cached = tmp_path / "mnist" / MNIST.files[0].name
    cached.write_bytes(b"pixels")
    (tmp_path / name).symlink_to(cached)
    done = program("quickstart", "--offline", "--cache-dir", ".")
    assert (done.code, cached.read_bytes()) == (2, b"pixels")
    assert f"the command already uses this file: {name}" in done.error


@pytest.mark.full
def test_with_a_mirror_it_is_full_mnist(program: Program, mnist_folder: Path, tmp_path: Path) -> None:
    contents = {file.packed_name: (mnist_folder / file.packed_name).read_bytes() for file in MNIST.files}
    with Server(serving(contents)) as server:
        done = program("quickstart", MNIST_SOFTMAX_MIRROR=f"http://127.0.0.1:9/ {server.url}")
    assert done.code == 0, done.err
    assert "10000 test rows of mnist\n" in done.out
    line = "downloading what is not in the cache, beginning with train-images-idx3-ubyte.gz (9912422 bytes)\n"
    assert done.err.count("downloading") == done.err.count(line) == 1
    assert str(tmp_path / "cache" / "mnist") in done.out
    assert program("eval", "quickstart.npy", "--offline", "--min-accuracy", "0.991").code == 0
    assert program("eval", "quickstart-pixels.npy", "--offline", "--min-accuracy", "0.925").code == 0
