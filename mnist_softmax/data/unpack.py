"""Unpack what a mirror served into IDX files as MNIST's are: images upright, labels from 0.

EMNIST's images are transposed, and the labels of its letters begin at 1. QMNIST's labels have eight columns.
All of it streams: an archive may be larger than memory.
"""

import hashlib
import io
import math
import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.catalog import DataFile
from mnist_softmax.data.idx import first_column, pack_header, read_header, unpacked
from mnist_softmax.data.zips import zip_member
from mnist_softmax.errors import DataError, LocalIOError
from mnist_softmax.files import atomic_write, open_regular


def unpacked_sha256(file: DataFile, packed_path: Path) -> str:
    """SHA-256 of the IDX file that `unpack` would write. Raises as it does."""
    digest = hashlib.sha256()
    for chunk in _verified(file, packed_path):
        digest.update(chunk)
    return digest.hexdigest()


def unpack(file: DataFile, packed_path: Path, path: Path) -> str:
    """Unpack a file as served to the IDX file `path`; return the SHA-256 of that file.

    Raises
    ------
    DataError : not gzip, damaged, not IDX, or not of the shape, the labels or the hash of `file`.
    LocalIOError : `packed_path` cannot be read, or `path` cannot be written.
    """
    digest = hashlib.sha256()
    with closing(_verified(file, packed_path)) as chunks, atomic_write(path, follow=False) as out:
        for chunk in chunks:
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def _verified(file: DataFile, packed_path: Path) -> Generator[bytes]:
    """The bytes of the IDX file, checked against what is known of it."""
    digest = hashlib.sha256()
    where = f"{packed_path}, {file.member}" if file.member else packed_path
    try:
        with _opened(file, packed_path, where) as (packed, size):
            for chunk in _canonical(file, unpacked(packed, size, len(file.shape), where), where):
                digest.update(chunk)
                yield chunk
    except OSError as error:
        raise LocalIOError("cannot read", packed_path, got=error.strerror or error) from error
    if file.raw_sha256 not in (None, digest.hexdigest()):
        raise DataError("wrong content", where, expected=file.raw_sha256, got=digest.hexdigest())


@contextmanager
def _opened(file: DataFile, packed_path: Path, where: object) -> Iterator[tuple[Any, int]]:
    """The .gz of `file` and its size; if it is a member of a zip with a known hash, that is checked first."""
    with open_regular(packed_path, DataError) as packed:
        if not file.member:
            yield packed, os.fstat(packed.fileno()).st_size
            return
        if file.member_sha256:
            with zip_member(packed, file.member, packed_path) as (member, _):
                digest = hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]
            if digest != file.member_sha256:
                raise DataError("wrong bytes", where, expected=f"SHA-256 {file.member_sha256}", got=digest)
        with zip_member(packed, file.member, packed_path) as opened:
            yield opened


def _canonical(file: DataFile, chunks: Iterator[bytes], where: object) -> Iterator[bytes]:
    """The IDX file as MNIST's are, from the pieces of the one in the .gz."""
    rows, *sides = file.shape
    dims, dtype = read_header(io.BytesIO(next(chunks)), len(file.shape), where)
    expected = (rows, *(reversed(sides) if file.transposed else sides))
    if dims[: len(expected)] != expected or 0 in dims:
        shapes = (" x ".join(map(str, shape)) for shape in (expected, dims))
        raise DataError("wrong IDX file", where, expected=next(shapes), got=next(shapes))
    yield pack_header(file.shape)
    if sides and not file.transposed:
        yield from chunks
        return
    for values in _rows(chunks, dims[1:], dtype):
        if sides:
            yield values.transpose(0, 2, 1).tobytes()
        else:
            yield _from_zero(first_column(values, where), file.labels, where).tobytes()


def _rows(chunks: Iterator[bytes], row: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Whole rows, each of the shape `row`, from pieces of any length."""
    size, rest = math.prod(row) * dtype.itemsize, b""
    for chunk in chunks:
        rest += chunk
        whole = len(rest) - len(rest) % size
        yield np.frombuffer(rest[:whole], dtype).reshape(-1, *row)
        rest = rest[whole:]


def _from_zero(labels: NDArray[np.uint8], known: range, where: object) -> NDArray[np.uint8]:
    if len(labels) and (labels.min() not in known or labels.max() not in known):
        expected = f"{known[0]} to {known[-1]}"
        raise DataError("wrong labels", where, expected=expected, got=f"{labels.min()} to {labels.max()}")
    return labels - np.uint8(known.start)
