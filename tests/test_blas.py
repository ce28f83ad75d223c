"""BLAS: one thread inside a block and as before outside, the name of the one that NumPy uses, the sizes it likes."""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import threadpoolctl
from hypothesis import example, given
from hypothesis import strategies as st

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


def test_blocks_in_several_threads_that_overlap_put_it_back_together() -> None:
    with threadpoolctl.threadpool_limits(2, "blas"):
        first, second = blas.one_thread(), blas.one_thread()
        with ThreadPoolExecutor(1) as other:
            first.__enter__()
            other.submit(second.__enter__).result()
            first.__exit__(None, None, None)
            assert threads() == {1}  # the second is still under way
            other.submit(second.__exit__, None, None, None).result()
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


@pytest.mark.parametrize("columns", [1, 16, 785, 393])
def test_rows_of_a_matrix_fill_cache_lines_of_their_own_unless_they_are_packed(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(blas, "has_small_path", lambda: False)
    assert blas.zeros(3, columns).shape == (3, columns)
    monkeypatch.setattr(blas, "has_small_path", lambda: True)
    matrix = blas.zeros(3, columns)
    assert matrix.dtype == np.float32
    assert columns <= matrix.shape[1] < columns + 16
    assert not matrix.any()
    assert {row.ctypes.data % 64 for row in matrix} == {0}
    assert matrix.flags.c_contiguous


@given(st.integers(0, 5000), st.integers(1, 200_000))
@example(128, 8000)
@example(250, 8000)
@example(800, 1280)
@example(289, 20834)
@example(0, 8000)
def test_tiles_make_up_the_axis_and_take_the_path_for_small_matrices(
    length: int, multiplications: int
) -> None:
    with mock.patch.object(blas, "has_small_path", return_value=True):
        tiles = blas.tiles(length, multiplications)
    assert [index for tile in tiles for index in range(length)[tile]] == list(range(length))
    assert all(tile.start % 16 == 0 for tile in tiles)
    assert len(tiles) <= 8
    if len(tiles) > 1:
        sizes = [tile.stop - tile.start for tile in tiles]
        assert max(sizes) * multiplications <= 100**3
        assert len(set(sizes[:-1])) == 1
    with mock.patch.object(blas, "has_small_path", return_value=False):
        assert blas.tiles(length, multiplications) == [slice(0, length)]


def test_the_sizes_of_mnist_are_cut_where_it_pays_and_padded_where_they_are_packed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blas, "has_small_path", lambda: True)
    assert blas.tiles(128, 10 * 800) == [slice(0, 64), slice(64, 128)]
    assert blas.tiles(800, 10 * 128) == [slice(0, 400), slice(400, 800)]
    assert blas.tiles(128, 160 * 800) == [slice(0, 128)]  # a sweep's
    assert blas.padded(10) == 10
    monkeypatch.setattr(blas, "has_small_path", lambda: False)
    assert [blas.padded(outputs) for outputs in (1, 4, 10, 160)] == [4, 4, 12, 160]


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="names a kernel of x86-64")
def test_the_kernel_decides_the_form_of_the_products() -> None:
    code = "from mnist_softmax import blas; print(blas.description(), blas.has_small_path())"
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Nehalem"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("Nehalem False\n")
    assert blas.has_small_path() == (
        blas.description().split()[-1] in {"SkylakeX", "Cooperlake", "SapphireRapids"}
    )


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
