"""Who multiplies matrices? NumPy's BLAS; how many threads it uses and which it is decide the last bits."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from threadpoolctl import ThreadpoolController

#: Bytes that OpenBLAS maps at a thread's first product, rounded up.
_BUFFER = 40 << 20


@cache
def _controller() -> ThreadpoolController:
    import numpy as np  # noqa: F401  # NumPy's BLAS must be loaded before it can be found

    return ThreadpoolController()


def claim_memory() -> None:
    """Let OpenBLAS map its buffer, which it keeps, before anything large is in memory.

    It maps it at a thread's first product, and ends the process where it cannot. Where it has kernels for
    small matrices (AVX-512), only a product of some size counts: they need no buffer.

    Raises
    ------
    OSError : there is not enough memory.
    """
    import numpy as np

    mmap.mmap(-1, _BUFFER).close()
    matrix = np.ones((128, 128), np.float32)
    matrix @ matrix


@contextmanager
def one_thread() -> Iterator[None]:
    """Run a block with one BLAS thread, which gives the same bits on any number of cores."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


def _is_within(file: str, package: Path) -> bool:
    folders = Path(file).resolve().parents
    return package.resolve() in folders or package.with_name(f"{package.name}.libs").resolve() in folders


def description() -> str:
    """Name, version and kernel of NumPy's BLAS, such as ``openblas 0.3.31 Haswell``.

    SciPy and others may load a BLAS of their own, and libraries are found in no fixed order. NumPy's wheels
    keep theirs in their folder or in ``numpy.libs`` beside it; other installations have a single one.
    """
    import numpy as np

    numpy = Path(np.__file__).parent
    libraries = _controller().select(user_api="blas").info()
    own = [library for library in libraries if _is_within(library["filepath"], numpy)]
    for library in own or libraries:
        parts = (library["internal_api"], library["version"], library.get("architecture"))
        return " ".join(str(part) for part in parts if part)
    return "unknown"
