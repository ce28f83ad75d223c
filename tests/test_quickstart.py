"""``mnist-softmax quickstart``: full MNIST where it can be had, the sample, aloud, where it cannot."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Program, clean_environment

from mnist_softmax.datasets import MNIST

#: Replaces the resolver of the process before the program starts; what it does is the test's parameter.
RESOLVER = """
import socket, sys, time
kind = sys.argv.pop(1)
def getaddrinfo(*arguments, **options):
    if kind == "never answers":
        time.sleep(3600)
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
socket.getaddrinfo = getaddrinfo
sys.argv = ["mnist-softmax", "quickstart"]
from mnist_softmax.cli.main import main
main()
"""


@pytest.mark.parametrize("resolver", ["refuses", "never answers"])
def test_without_a_mirror_the_sample_is_taken_aloud_and_in_time(tmp_path: Path, resolver: Any) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", RESOLVER, resolver],
        cwd=tmp_path,
        env=clean_environment(MNIST_SOFTMAX_CACHE_DIR=tmp_path / "cache", no_proxy="*"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 25  # the promise is 15 seconds, on a machine of its own
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "no mirror delivered" in warnings[-2]
    assert "mnist-sample" in warnings[-1]
    accuracy = next(line for line in done.stdout.splitlines() if line.startswith("accuracy"))
    assert float(accuracy.split()[1]) >= 88
    assert "2000 test rows of mnist-sample" in accuracy
    for words in ("confusion matrix", "weights: ", "receipt: ", "next: "):
        assert words in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "quickstart.json",
        "quickstart.npy",
    ]


def test_offline_takes_the_sample_at_once_and_weights_are_left_alone(
    program: Program, tmp_path: Path
) -> None:
    (tmp_path / "weights.npy").write_bytes(b"mine")
    done = program("quickstart", "--offline")
    assert done.code == 0
    assert (tmp_path / "weights.npy").read_bytes() == b"mine"


@pytest.mark.full
def test_with_a_mirror_it_is_full_mnist(program: Program, mnist_folder: Path, tmp_path: Path) -> None:
    from servers import Server, serving

    contents = {file.gz_name: (mnist_folder / file.gz_name).read_bytes() for file in MNIST.files}
    with Server(serving(contents)) as server:
        done = program("quickstart", MNIST_SOFTMAX_MIRROR=f"http://127.0.0.1:9/ {server.url}")
    assert done.code == 0, done.err
    assert "10000 test rows of mnist\n" in done.out
    assert str(tmp_path / "cache" / "mnist") in done.out
    assert program("eval", "quickstart.npy", "--offline", "--min-accuracy", "0.92").code == 0
