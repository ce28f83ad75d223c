"""Unpack the .gz of a dataset into the IDX file that training maps, in pieces and up to its known size."""

import hashlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from mnist_softmax.data.catalog import DataFile
from mnist_softmax.errors import DataError, LocalIOError
from mnist_softmax.files import atomic_write


def _unpacked(file: DataFile, gz_path: Path) -> Generator[bytes, None, None]:
    """The unpacked bytes of a .gz, checked by `idx` and against the size and hash of `file`."""
    from mnist_softmax.data import idx

    digest, count = hashlib.sha256(), 0
    try:
        for chunk in idx.unpacked(gz_path, 3 if "-idx3-" in file.name else 1):
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
    for chunk in _unpacked(file, gz_path):
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
    with closing(_unpacked(file, gz_path)) as chunks, atomic_write(path) as out:
        for chunk in chunks:
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()
