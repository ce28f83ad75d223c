"""Read, unpack and write IDX files, the format in which MNIST is distributed.

Format: two zero bytes, one type byte (0x08: unsigned byte, the only one used here), one byte with the number
of dimensions, one big-endian uint32 for each dimension, then the values in C order. Source: the MNIST
database's own page, "File formats for the MNIST database".
"""

import gzip
import hashlib
import io
import math
import mmap
import os
import struct
import sys
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.catalog import DataFile
from mnist_softmax.errors import DataError, LocalIOError
from mnist_softmax.files import atomic_write, open_regular

_UNSIGNED_BYTE = 0x08
_KINDS = {1: "labels", 3: "images"}
#: Deflate expands a byte to at most 1032 bytes (zlib's technical notes): a larger size is impossible.
_LARGEST_GZIP_RATIO = 1032
_CHUNK = 1 << 20


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Writable(Protocol):
    def write(self, data: Any, /) -> object: ...


def _kind(rank: int) -> str:
    return _KINDS.get(rank, f"{rank} dimensions")


def read_header(file: _Readable, rank: int, where: object) -> tuple[int, ...]:
    """Read an IDX header and leave `file` at the first value.

    Parameters
    ----------
    file : at its start.
    rank : the number of dimensions that the file must have: 3 for images, 1 for labels.
    where : the file's name in errors.

    Returns
    -------
    The dimensions; Python integers, so nothing overflows.

    Raises
    ------
    DataError : not an IDX file of unsigned bytes with `rank` dimensions.
    """
    magic = file.read(4)
    if len(magic) < 4:
        raise DataError("not an IDX file", where, expected="a header of 4 bytes", got=f"{len(magic)} bytes")
    if magic[:2] != b"\0\0":
        raise DataError("not an IDX file", where, expected="two zero bytes first", got=magic[:2].hex(" "))
    if magic[2] != _UNSIGNED_BYTE:
        raise DataError(
            "unsupported IDX type", where, expected="0x08 (unsigned bytes)", got=f"{magic[2]:#04x}"
        )
    if magic[3] != rank:
        raise DataError(
            "wrong IDX file",
            where,
            expected=f"{_kind(rank)}, {rank} dimension{'s' * (rank > 1)}",
            got=magic[3],
            remedy="check whether images and labels were swapped" if magic[3] in _KINDS else "",
        )
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(
            "truncated IDX header", where, expected=f"{4 + 4 * rank} bytes", got=f"{4 + len(sizes)}"
        )
    dims = struct.unpack(f">{rank}I", sizes)
    if 0 in dims and math.prod(filter(None, dims)) > sys.maxsize:
        got = " x ".join(map(str, dims))
        raise DataError("wrong IDX header", where, expected="sizes that an array can have", got=got)
    return dims


def _check_size(expected: int, got: int, where: object) -> None:
    if got != expected:
        what = "truncated IDX file" if got < expected else "IDX file with bytes after its end"
        raise DataError(what, where, expected=f"{expected} bytes as its header says", got=got)


def map_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """Map an unpacked IDX file into memory; nothing is read until it is used.

    Returns
    -------
    Read-only uint8 array with the `rank` dimensions of the header.

    Raises
    ------
    DataError : the header is wrong, or the file's size is not what the header says.
    OSError : the file cannot be opened.
    """
    with open_regular(path, DataError) as file:
        dims = read_header(file, rank, path)
        start, count = file.tell(), math.prod(dims)
        _check_size(start + count, os.fstat(file.fileno()).st_size, path)
        if count == 0:
            return np.frombuffer(b"", np.uint8).reshape(dims)
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(view, np.uint8, count, start).reshape(dims)


def unpacked(path: Path, rank: int) -> Iterator[bytes]:
    """The IDX file in a .gz: its header, then pieces of at most 1 MiB, checked as they are read.

    Raises
    ------
    DataError : not gzip, damaged, a wrong header, or not the size that the header says. A header that
        claims more than the .gz can hold is refused before more is read.
    OSError : the file cannot be opened.
    """
    with open_regular(path, DataError) as packed, gzip.GzipFile(fileobj=packed) as file:
        try:
            header = file.read(4 + 4 * rank)
            left = math.prod(read_header(io.BytesIO(header), rank, path))
            expected = len(header) + left
            most = os.fstat(packed.fileno()).st_size * _LARGEST_GZIP_RATIO
            if expected > most:
                raise DataError(
                    "truncated IDX file", path, expected=f"{expected} bytes", got=f"at most {most}"
                )
            yield header
            while left >= 0 and (chunk := file.read(min(_CHUNK, left + 1))):
                left -= len(chunk)
                yield chunk
            _check_size(expected, expected - left, path)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError("damaged gzip file", path, got=error) from error


def _verified(file: DataFile, gz_path: Path) -> Generator[bytes]:
    """The unpacked bytes of a .gz, checked by `unpacked` and against the size and hash of `file`."""
    digest, count = hashlib.sha256(), 0
    try:
        for chunk in unpacked(gz_path, 3 if "-idx3-" in file.name else 1):
            digest.update(chunk)
            count += len(chunk)
            if count > file.raw_bytes:
                break
            yield chunk
    except OSError as error:
        raise LocalIOError("cannot read", gz_path, got=error.strerror or error) from error
    if count != file.raw_bytes:
        raise DataError("wrong IDX file", gz_path, expected=f"{file.raw_bytes} bytes", got=count)
    if file.raw_sha256 not in (None, digest.hexdigest()):
        raise DataError("wrong content", gz_path, expected=file.raw_sha256, got=digest.hexdigest())


def unpacked_sha256(file: DataFile, gz_path: Path) -> str:
    """SHA-256 of the unpacked bytes of a .gz. Raises as `unpack` does."""
    digest = hashlib.sha256()
    for chunk in _verified(file, gz_path):
        digest.update(chunk)
    return digest.hexdigest()


def unpack(file: DataFile, gz_path: Path, path: Path) -> str:
    """Unpack `gz_path` to the IDX file `path`; return the SHA-256 of that file.

    Raises
    ------
    DataError : not gzip, damaged, not IDX, or not of the size or hash of `file`.
    LocalIOError : `gz_path` cannot be read, or `path` cannot be written.
    """
    digest = hashlib.sha256()
    with closing(_verified(file, gz_path)) as chunks, atomic_write(path, follow=False) as out:
        for chunk in chunks:
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def read_idx_gz(path: Path, rank: int) -> NDArray[np.uint8]:
    """Unpack a gzipped IDX file in memory; raises as `unpacked` does.

    Returns
    -------
    Read-only uint8 array with the `rank` dimensions of the header.
    """
    chunks, body = unpacked(path, rank), bytearray()
    shape = read_header(io.BytesIO(next(chunks)), rank, path)
    for chunk in chunks:
        body += chunk
    array = np.frombuffer(body, np.uint8).reshape(shape)
    array.flags.writeable = False
    return array


def pack_header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file of unsigned bytes.

    Raises
    ------
    ValueError : more than 255 dimensions, or one that does not fit 32 bits.
    """
    if len(shape) > 255 or max(shape, default=0) >= 1 << 32:
        raise ValueError(f"IDX cannot hold the shape {shape}")
    return bytes((0, 0, _UNSIGNED_BYTE, len(shape))) + struct.pack(f">{len(shape)}I", *shape)


def write_idx(file: _Writable, array: NDArray[np.uint8]) -> None:
    """Write a uint8 array of any shape as IDX.

    Raises
    ------
    ValueError : `array` is not uint8, or IDX cannot hold its shape.
    """
    if array.dtype != np.uint8:
        raise ValueError(f"IDX here holds uint8, got {array.dtype}")
    file.write(pack_header(array.shape))
    file.write(np.ascontiguousarray(array).data)
