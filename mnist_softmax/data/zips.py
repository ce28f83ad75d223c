"""Members of zip archives that nobody vouches for. Only their content is used, never their paths."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import IO, TYPE_CHECKING

from mnist_softmax.errors import DataError, brief

if TYPE_CHECKING:
    from zipfile import ZipFile


def open_zip(file: BufferedReader, where: object) -> "ZipFile":
    """Read the directory of a zip archive.

    Raises
    ------
    DataError : it is none.
    """
    from zipfile import ZipFile  # here: it takes time to load

    with _refused(where):
        return ZipFile(file)


@contextmanager
def _refused(where: object) -> Iterator[None]:
    """What zipfile raises on a wrong archive, whatever it happens to meet, as a DataError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is a place before the file
            raise
        raise DataError("not a zip archive, or damaged", where, got=brief(str(error))) from error


@contextmanager
def zip_member(file: BufferedReader, name: str, where: object) -> Iterator[tuple[IO[bytes], int]]:
    """Open a member of the archive in `file` for reading; also yields the bytes that it claims to have.

    Raises
    ------
    DataError : not a zip archive, not one member of this name, or one that is damaged, encrypted, or
        compressed by anything but deflate. Also raised while the block reads.
    """
    import zipfile
    import zlib

    archive = open_zip(file, where)
    members = [info for info in archive.infolist() if info.filename == name]
    if len(members) != 1:
        raise DataError("wrong zip archive", where, expected=f"one member {name}", got=len(members))
    (info,) = members
    if info.flag_bits & 1 or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise DataError(f"{name} is encrypted, or compressed by an unusual method", where)
    with _refused(where):
        member = archive.open(info)
    try:
        with member:
            yield member, info.file_size
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError("damaged zip archive", where, got=brief(str(error))) from error
