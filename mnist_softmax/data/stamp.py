"""The stamp of a folder of the cache: what its files were when they were hashed."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from mnist_softmax.errors import LocalIOError, UsageError
from mnist_softmax.files import atomic_write, open_regular

_STAMP = "stamp.json"
_LARGEST_STAMP = 1 << 16


class Entry(msgspec.Struct, frozen=True):
    """A file as it was when it was hashed; `sha256` is "" if its size was already wrong.

    What copies a file over another may set `mtime_ns` back; `ctime_ns` it cannot set.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str

    @classmethod
    def of(cls, status: os.stat_result, sha256: str) -> "Entry":
        """The entry of a file with this status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, sha256)


class _Stamp(msgspec.Struct, frozen=True):
    """The entries of all files, by name."""

    files: dict[str, Entry]
    version: Literal[1] = 1


def read_stamp(folder: Path) -> dict[str, Entry]:
    """Entries of the stamp by file name; empty if the stamp is missing or unreadable."""
    try:
        with open_regular(folder / _STAMP, follow=False) as file:
            return msgspec.json.decode(file.read(_LARGEST_STAMP), type=_Stamp).files
    except (OSError, UsageError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def write_stamp(folder: Path, entries: Mapping[str, Entry]) -> None:
    """Write the stamp, unless it says the same already.

    It only saves time: a cache that cannot be written works without it.
    """
    if entries != read_stamp(folder):
        with suppress(LocalIOError, UsageError), atomic_write(folder / _STAMP, follow=False) as out:
            out.write(msgspec.json.encode(_Stamp(dict(entries))))


def hashed(path: Path, size: int, exact: bool = True) -> Entry | None:
    """Hash a file; None if there is none, or a symbolic link, which is never followed but replaced.

    `size` is what it must have, or, if not `exact`, may have at most. The status is read first, from the open
    file: the entry matches nothing written or moved to `path` later.
    """
    try:
        if path.is_symlink():
            return None
        with open_regular(path, LocalIOError, follow=False) as file:
            status = os.fstat(file.fileno())
            fits = status.st_size == size or (not exact and status.st_size < size)
            return Entry.of(status, hashlib.file_digest(file, "sha256").hexdigest() if fits else "")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalIOError("cannot read", path, got=error.strerror or error) from error


def hashed_again(path: Path, sha256: str, size: int, exact: bool = True) -> Entry:
    """Read back what was just written."""
    found = hashed(path, size, exact)
    if found is None or found.sha256 != sha256:
        raise LocalIOError("the file differs from what was just written", path, remedy="check the disk")
    return found
