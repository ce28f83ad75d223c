"""BLAS: one thread inside a block and as before outside, and the name of the one that NumPy uses."""

import subprocess
import sys
from pathlib import Path

import pytest
import threadpoolctl

from mnist_softmax import blas


def threads() -> set[int]:
    pools = threadpoolctl.ThreadpoolController().select(user_api="blas").info()
    return {pool["num_threads"] for pool in pools}


def test_a_block_runs_with_one_thread_and_the_others_are_put_back() -> None:
    with threadpoolctl.threadpool_limits(2, "blas"):
        assert threads() == {2}
        with blas.one_thread(), blas.one_thread():
            assert threads() == {1}
        assert threads() == {2}
        with pytest.raises(ZeroDivisionError), blas.one_thread():
            _ = 1 / 0
        assert threads() == {2}


def test_the_blas_that_is_named_is_numpys_where_scipy_brought_another() -> None:
    """In a process of its own: here SciPy may have been imported already."""
    pytest.importorskip("scipy")
    code = (
        "from mnist_softmax import blas\n"
        "print(blas.description())\n"
        "import scipy.linalg\n"
        "blas._controller.cache_clear()\n"
        "found = blas._controller().lib_controllers\n"
        "print(blas.description())\n"
        "found.reverse()\n"  # threadpoolctl finds them in any order
        "print(blas.description())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    alone, *beside = done.stdout.splitlines()
    assert alone != "unknown"
    assert beside == [alone, alone]


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on addresses, and /proc")
@pytest.mark.parametrize("command", ["train --features=deskew --epochs 1", "gradcheck --rows 8"])
def test_openblas_has_its_buffer_before_there_is_anything_large(command: str, tmp_path: Path) -> None:
    """OpenBLAS ends a process that it cannot give one: here nothing is left once the rows are open."""
    code = """
import resource, sys
from mnist_softmax.cli import inputs, main

open_split = inputs.open_split

def open_and_limit(*arguments, **named):
    split = open_split(*arguments, **named)
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + (24 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return split

inputs.open_split = open_and_limit
main.main()
"""
    arguments = [*command.split(), "--dataset", "mnist-sample"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 5}, done.stderr
    assert "OpenBLAS" not in done.stderr
