"""Rows in blocks: a sum over all rows is put together from those of blocks, Eq. 26.

Blocks have `BLOCK_ROWS` rows and are added in the order of a fixed binary tree. So the sum has the same bits
wherever its blocks were computed: by one thread or several here, or on other machines (`runs.cluster`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import blas
from mnist_softmax.rows import OnRows, check_stored, cores

#: Rows of a block. A change of it changes the bits of a result.
BLOCK_ROWS = 16_384


class Addable(Protocol):
    """What a block contributes."""

    def plus(self, other: Self, /) -> Self:
        """The contribution of this block and the next."""


Part = TypeVar("Part", bound=Addable)


class Blocks:
    """Rows in blocks, computed by some threads of this process.

    Parameters
    ----------
    stored : (M, N) uint8 or float32.
    labels : (M,) integers.
    rows : ascending row numbers, at least one.
    threads : None for the number of cores. It affects only the speed.

    Raises
    ------
    TypeError : `stored` or `labels` has another dtype.
    """

    def __init__(
        self,
        stored: NDArray[Any],
        labels: NDArray[Any],
        rows: NDArray[np.uint32],
        *,
        threads: int | None = None,
    ) -> None:
        check_stored(stored, labels)
        self.stored, self.labels, self.rows = stored, labels, rows
        self._threads = min(threads or cores(), -(-len(rows) // BLOCK_ROWS))

    def total(self, of_block: Callable[..., Part], *arguments: Any, on_rows: OnRows = lambda _: None) -> Part:
        """The sum over all rows of what each block contributes.

        Parameters
        ----------
        of_block : a function at the top of a module, of `stored`, `labels`, the rows of a block, and
            `arguments`; it is called with one BLAS thread.
        on_rows : called with the number of rows that were just computed.
        """
        with blas.one_thread():
            return folded(self._each(of_block, arguments, on_rows))

    def _each(
        self, of_block: Callable[..., Part], arguments: tuple[Any, ...], on_rows: OnRows
    ) -> Iterator[Part]:
        """What each block contributes, in order; of two for each thread the computation is under way."""
        pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        coming: deque[tuple[int, Callable[[], Part]]] = deque()

        def take() -> Part:
            count, result = coming.popleft()
            contribution = result()
            on_rows(count)
            return contribution

        try:
            for start in range(0, len(self.rows), BLOCK_ROWS):
                block = self.rows[start : start + BLOCK_ROWS]
                compute = partial(quietly, of_block, self.stored, self.labels, block, *arguments)
                coming.append((len(block), pool.submit(compute).result if pool else compute))
                if len(coming) == 2 * self._threads:
                    yield take()
            while coming:
                yield take()
        finally:
            if pool:  # an interruption leaves blocks under way, for which nobody waits
                pool.shutdown(wait=False, cancel_futures=True)


def quietly(of_block: Callable[..., Part], *arguments: Any) -> Part:
    """Compute a block without NumPy's warnings: a loss that is not finite is noticed in the end."""
    with np.errstate(over="ignore", invalid="ignore"):
        return of_block(*arguments)


def folded(parts: Iterable[Part]) -> Part:
    """Add in the order of a binary tree, whose left branches are as large and complete as can be.

    It depends on the number of the parts alone, and folding runs of 2, 4, 8, ... first gives the same.
    """
    waiting: list[tuple[int, Part]] = []
    for part in parts:
        total, size = part, 1
        while waiting and waiting[-1][0] == size:
            total, size = waiting.pop()[1].plus(total), 2 * size
        waiting.append((size, total))
    _, total = waiting.pop()
    while waiting:
        total = waiting.pop()[1].plus(total)
    return total
