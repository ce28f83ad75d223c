"""Who multiplies matrices? NumPy's BLAS; how many threads it uses and which it is decide the last bits."""

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

#: Bytes that OpenBLAS maps at a thread's first product, rounded up.
_BUFFER = 40 << 20
#: The kernels of OpenBLAS that have a path for small matrices, which are not packed first.
_WITH_SMALL_PATH = {"SkylakeX", "Cooperlake", "SapphireRapids"}
#: Products of at most so many multiplications take it (OpenBLAS's interface/gemm.c, "small matrix").
_SMALL = 100**3
#: In more tiles the calls cost more than the small path saves.
_MOST_TILES = 8
#: Numbers of float32 in a cache line.
_LINE = 16
#: What puts the number of threads back, then None for each block of `one_thread` under way.
_blocks: list[Any] = []
_lock = threading.Lock()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def claim_memory() -> None:
    """Let OpenBLAS map its buffer, which it keeps, before anything large is in memory.

    It maps it at a thread's first product, and ends the process where it cannot. Where it has kernels for
    small matrices (AVX-512), only a product of some size counts: they need no buffer.

    Raises
    ------
    OSError : there is not enough memory.
    """
    mmap.mmap(-1, _BUFFER).close()
    matrix = np.ones((128, 128), np.float32)
    matrix @ matrix


@contextmanager
def one_thread() -> Iterator[None]:
    """Run a block with one BLAS thread, which gives the same bits on any number of cores.

    The number is the whole process's: where blocks run in several threads, the first sets it, and the last
    puts it back.
    """
    with _lock:
        if not _blocks:
            _disown()
            _blocks.append(_controller().limit(limits=1, user_api="blas"))
            _disown()
        _blocks.append(None)
    try:
        yield
    finally:
        with _lock:
            _blocks.pop()
            if len(_blocks) == 1:
                _blocks.pop().restore_original_limits()
                _disown()


def _disown() -> None:
    """Let any thread set the number: threadpoolctl 3.8 keeps it to the one that set it last."""
    for library in _controller().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


@cache
def has_small_path() -> bool:
    """The one thing about BLAS that decides the form of a product."""
    return description().split()[-1] in _WITH_SMALL_PATH


def padded(outputs: int) -> int:
    """How many rows a matrix of `outputs` rows is padded to: if matrices are packed, to whole fours."""
    return outputs if has_small_path() else -(-outputs // 4) * 4


def zeros(rows: int, columns: int) -> NDArray[np.float32]:
    """Float32 zeros (rows, columns); with a path for small matrices, rows are padded to whole cache lines."""
    width = -(-columns // _LINE) * _LINE if has_small_path() else columns
    memory = np.zeros(rows * width + _LINE, np.float32)
    skipped = -memory.ctypes.data % (4 * _LINE) // 4
    return memory[skipped : skipped + rows * width].reshape(rows, width)


def tiles(length: int, multiplications: int) -> list[slice]:
    """Slices of an axis, each of whose products takes BLAS's path for small matrices.

    One slice where there is no such path or where it does not pay. All begin with a cache line.

    Parameters
    ----------
    length : of the axis.
    multiplications : for each index of it.
    """
    longest = _SMALL // multiplications // _LINE * _LINE
    count = -(-length // max(longest, 1))
    if length * multiplications <= _SMALL or count > _MOST_TILES or not has_small_path():
        return [slice(0, length)]
    size = -(-length // count // _LINE) * _LINE
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _is_within(file: str, package: Path) -> bool:
    folders = Path(file).resolve().parents
    return package.resolve() in folders or package.with_name(f"{package.name}.libs").resolve() in folders


def description() -> str:
    """Name, version and kernel of NumPy's BLAS, such as ``openblas 0.3.31 Haswell``.

    SciPy and others may load a BLAS of their own, and libraries are found in no fixed order. NumPy's wheels
    keep theirs in their folder or in ``numpy.libs`` beside it; other installations have a single one.
    """
    numpy = Path(np.__file__).parent
    libraries = _controller().select(user_api="blas").info()
    own = [library for library in libraries if _is_within(library["filepath"], numpy)]
    for library in own or libraries:
        parts = (library["internal_api"], library["version"], library.get("architecture"))
        return " ".join(str(part) for part in parts if part)
    return "unknown"
