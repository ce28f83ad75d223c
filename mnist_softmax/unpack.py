"""From the .gz of a dataset to the IDX file that training maps, in pieces and bounded."""

import gzip
import hashlib
import zlib
from collections.abc import Generator
from contextlib import closing
from io import BytesIO
from math import prod
from pathlib import Path

from mnist_softmax.datasets import DataFile
from mnist_softmax.errors import DataError, LocalIOError
from mnist_softmax.files import atomic_write

_CHUNK = 1 << 20


def _unpacked(file: DataFile, gz_path: Path) -> Generator[bytes, None, None]:
    """The unpacked bytes of a .gz, checked as they pass: IDX header, size, and hash where it is known."""
    from mnist_softmax.idx import read_header

    rank = 3 if "-idx3-" in file.name else 1
    digest, count = hashlib.sha256(), 0
    try:
        with gzip.open(gz_path, "rb") as packed:
            chunk = packed.read(4 + 4 * rank)
            size = len(chunk) + prod(read_header(BytesIO(chunk), rank, gz_path))
            if size != file.raw_bytes:
                raise DataError("wrong IDX header", gz_path, expected=f"{file.raw_bytes} bytes", got=size)
            while chunk:
                digest.update(chunk)
                count += len(chunk)
                yield chunk
                chunk = packed.read(min(_CHUNK, file.raw_bytes - count + 1))
                if count + len(chunk) > file.raw_bytes:
                    raise DataError("bytes after the end of the IDX file", gz_path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError("damaged gzip file", gz_path, got=error) from error
    except OSError as error:
        raise LocalIOError("cannot read", gz_path, got=error.strerror or error) from error
    if count < file.raw_bytes:
        raise DataError("truncated IDX file", gz_path, expected=f"{file.raw_bytes} bytes", got=count)
    if file.raw_sha256 not in (None, digest.hexdigest()):
        raise DataError("wrong content", gz_path, expected=file.raw_sha256, got=digest.hexdigest())


def unpacked_sha256(file: DataFile, gz_path: Path) -> str:
    """SHA-256 of what a .gz holds. Raises as `unpack` does."""
    digest = hashlib.sha256()
    for chunk in _unpacked(file, gz_path):
        digest.update(chunk)
    return digest.hexdigest()


def unpack(file: DataFile, gz_path: Path, path: Path) -> str:
    """Write the IDX file that `gz_path` holds to `path`, and return its SHA-256.

    Raises
    ------
    DataError : not gzip, damaged, not IDX, or not the size or the content that the table gives.
    LocalIOError : `gz_path` cannot be read, or `path` cannot be written.
    """
    digest = hashlib.sha256()
    with closing(_unpacked(file, gz_path)) as chunks, atomic_write(path) as out:
        for chunk in chunks:
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()
