"""How many threads BLAS uses, and which BLAS it is: both decide the last bits of a result."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    import numpy as np  # noqa: F401  # NumPy's BLAS must be loaded before it can be found

    return ThreadpoolController()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run a block with `count` BLAS threads. One thread gives the same bits on any number of cores."""
    with _controller().limit(limits=count, user_api="blas"):
        yield


def description() -> str:
    """Name, version and kernel of NumPy's BLAS, such as ``openblas 0.3.31 Haswell``."""
    for library in _controller().select(user_api="blas").info():
        parts = (library["internal_api"], library["version"], library.get("architecture"))
        return " ".join(str(part) for part in parts if part)
    return "unknown"
