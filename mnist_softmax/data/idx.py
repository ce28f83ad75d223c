"""Read and write IDX files, the format in which MNIST is distributed.

Format: two zero bytes, one type byte (0x08: unsigned byte), one byte with the number of dimensions, one
big-endian uint32 for each dimension, then the values in C order. Source: the MNIST database's own page, "File
formats for the MNIST database". QMNIST's labels are big-endian int32 (0x0C) in two dimensions; the first
column is the class.
"""

import gzip
import io
import math
import mmap
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.errors import DataError

_UNSIGNED_BYTE = 0x08
_INTEGER_COLUMNS = b"\x0c\x02"
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


def read_header(file: _Readable, rank: int, where: object) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read an IDX header and leave `file` at the first value.

    Parameters
    ----------
    file : at its start.
    rank : the number of dimensions that the file must have: 3 for images, 1 for labels.
    where : the file's name in errors.

    Returns
    -------
    The dimensions, Python integers, so nothing overflows; and the type of the values: uint8, or, for labels
    in two dimensions, big-endian int32.

    Raises
    ------
    DataError : not an IDX file of unsigned bytes with `rank` dimensions, nor QMNIST's labels.
    """
    magic = file.read(4)
    if len(magic) < 4:
        raise DataError("not an IDX file", where, expected="a header of 4 bytes", got=f"{len(magic)} bytes")
    if magic[:2] != b"\0\0":
        raise DataError("not an IDX file", where, expected="two zero bytes first", got=magic[:2].hex(" "))
    columns = rank == 1 and magic[2:] == _INTEGER_COLUMNS
    if magic[2] != _UNSIGNED_BYTE and not columns:
        raise DataError(
            "unsupported IDX type", where, expected="0x08 (unsigned bytes)", got=f"{magic[2]:#04x}"
        )
    if magic[3] != rank and not columns:
        raise DataError(
            "wrong IDX file",
            where,
            expected=f"{_kind(rank)}, {rank} dimension{'s' * (rank > 1)}",
            got=magic[3],
            remedy="check whether images and labels were swapped" if magic[3] in _KINDS else "",
        )
    rank = magic[3]
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(
            "truncated IDX header", where, expected=f"{4 + 4 * rank} bytes", got=f"{4 + len(sizes)}"
        )
    dims = struct.unpack(f">{rank}I", sizes)
    if 0 in dims and math.prod(filter(None, dims)) > sys.maxsize:
        got = " x ".join(map(str, dims))
        raise DataError("wrong IDX header", where, expected="sizes that an array can have", got=got)
    return dims, np.dtype(">i4" if columns else np.uint8)


def first_column(values: NDArray[Any], where: object) -> NDArray[np.uint8]:
    """Labels (M,) from what an IDX file holds: (M,) uint8, or the first column of (M, columns) int32.

    Raises
    ------
    DataError : no columns, or a label that is not in 0 to 255.
    """
    if values.ndim != 2:
        return values
    if values.shape[1] == 0:
        raise DataError("labels without columns", where)
    labels = values[:, 0]
    if len(labels) and not 0 <= labels.min() <= labels.max() <= 255:
        got = f"{labels.min()} to {labels.max()}"
        raise DataError("wrong labels", where, expected="0 to 255", got=got)
    return labels.astype(np.uint8)


def _check_size(expected: int, got: int, where: object) -> None:
    if got != expected:
        what = "truncated IDX file" if got < expected else "IDX file with bytes after its end"
        raise DataError(what, where, expected=f"{expected} bytes as its header says", got=got)


def map_idx(file: BufferedReader, rank: int, where: object) -> NDArray[Any]:
    """Map an unpacked IDX file into memory; nothing is read until it is used. See `read_header`.

    Returns
    -------
    Read-only array with the dimensions and the type of the header.

    Raises
    ------
    DataError : the header is wrong, or the file's size is not what the header says.
    """
    dims, dtype = read_header(file, rank, where)
    start, count = file.tell(), math.prod(dims)
    _check_size(start + count * dtype.itemsize, os.fstat(file.fileno()).st_size, where)
    if count == 0:
        return np.frombuffer(b"", dtype).reshape(dims)
    view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(view, dtype, count, start).reshape(dims)


def unpacked(packed: IO[bytes], size: int, rank: int, where: object) -> Iterator[bytes]:
    """The IDX file in a .gz: its header, then pieces of at most 1 MiB, checked as they are read.

    Parameters
    ----------
    packed : the .gz, open for reading.
    size : its bytes.
    rank, where : see `read_header`.

    Raises
    ------
    DataError : not gzip, damaged, a wrong header, or not the size that the header says. A header that
        claims more than the .gz can hold is refused before more is read.
    """
    with gzip.GzipFile(fileobj=packed) as file:
        try:
            header = file.read(4)
            header += file.read(4 * header[3] if len(header) == 4 else 0)
            dims, dtype = read_header(io.BytesIO(header), rank, where)
            left = math.prod(dims) * dtype.itemsize
            expected = len(header) + left
            most = size * _LARGEST_GZIP_RATIO
            if expected > most:
                raise DataError(
                    "truncated IDX file", where, expected=f"{expected} bytes", got=f"at most {most}"
                )
            yield header
            while left >= 0 and (chunk := file.read(min(_CHUNK, left + 1))):
                left -= len(chunk)
                yield chunk
            _check_size(expected, expected - left, where)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError("damaged gzip file", where, got=error) from error


def read_idx_gz(file: BufferedReader, rank: int, where: object) -> NDArray[Any]:
    """Unpack a gzipped IDX file in memory.

    Returns
    -------
    Read-only array with the dimensions and the type of the header.

    Raises
    ------
    DataError : see `unpacked`.
    """
    chunks, body = unpacked(file, os.fstat(file.fileno()).st_size, rank, where), bytearray()
    dims, dtype = read_header(io.BytesIO(next(chunks)), rank, where)
    for chunk in chunks:
        body += chunk
    array = np.frombuffer(body, dtype).reshape(dims)
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
