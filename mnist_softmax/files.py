"""Atomic writes, folder syncs and locks, all in one place.

A file gets its final name only when it is complete and on disk: temporary name in the same folder, fsync,
rename, fsync of the folder. A killed process leaves at most a temporary file, which the next writer in that
folder removes.
"""

import errno
import hashlib
import os
import secrets
import stat
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from mnist_softmax.errors import LocalIOError, UsageError

_TEMPORARY_PREFIX = ".tmp-mnist-softmax-"
#: A live writer touches its temporary every few seconds, so an hour without a write means that it is gone.
_STALE_AFTER_SECONDS = 3600.0
#: Errors of fsync on a folder where the file system does not support it.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}

_mine: set[str] = set()  # temporaries that this process is writing now


def _host() -> str:
    uname = getattr(os, "uname", None)
    name = uname().nodename if uname else os.environ.get("COMPUTERNAME", "")
    return f"{zlib.crc32(name.encode(errors='replace')):08x}"


def _process_lives(pid: int) -> bool:
    if os.name != "posix":  # os.kill would end the process on Windows
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def remove_stale_temporaries(folder: Path) -> None:
    """Remove the temporaries that killed processes left in `folder`.

    A temporary is stale if its process ran on this host and is dead, or if nobody wrote to it for an hour.
    A folder that cannot be listed or a file that cannot be removed is left alone.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(_TEMPORARY_PREFIX) or entry.name in _mine:
                continue
            with suppress(OSError, ValueError):
                host, pid, _ = entry.name.removeprefix(_TEMPORARY_PREFIX).split("-")
                # Our own PID on a file that is not ours: an earlier process, in another container.
                dead = host == _host() and (int(pid) == os.getpid() or not _process_lives(int(pid)))
                if dead or time.time() - entry.stat().st_mtime > _STALE_AFTER_SECONDS:
                    os.unlink(entry.path)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable. Does nothing where folders cannot be synced (Windows)."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


def check_writable_target(path: Path) -> None:
    """Refuse a path that cannot become a regular file, before any work is done for it.

    Raises
    ------
    UsageError : the folder does not exist, or `path` is a folder, a device or a pipe.
    LocalIOError : the folder is not writable, or `path` is a loop of symbolic links.
    """
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):  # still to be written
        is_regular = True
    except OSError as error:
        raise LocalIOError("cannot write", path, got=error.strerror) from error
    target = path.resolve()
    if not target.parent.is_dir():
        raise UsageError("no such folder", path.parent, remedy="create it first")
    if not is_regular:
        raise UsageError("not a regular file", path, remedy="name a file to write")
    if not os.access(target.parent, os.W_OK):
        raise LocalIOError("cannot write to the folder", target.parent, got=os.strerror(errno.EACCES))


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path]) -> None:
    """Check the outputs of a command before any work is done; None stands for an output not asked for.

    Raises
    ------
    UsageError : an output is the same file as an input or another output, whatever its name.
    UsageError, LocalIOError : see `check_writable_target`.
    """
    taken = list(inputs)
    for path in filter(None, outputs):
        check_writable_target(path)
        if any(_is_same(path, other) for other in taken):
            raise UsageError("the command already uses this file", path, remedy="name another one")
        taken.append(path)


def _is_same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:  # one of them is still to be written
        return a.resolve() == b.resolve()


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Write `path` atomically: whatever happens, it holds either its old or its complete new content.

    Yields a binary file. If the block ends without an exception, the file is synced and renamed to `path` (or
    to the file that a symbolic link names), and the folder is synced. Any exception, KeyboardInterrupt
    included, removes the temporary and leaves `path` as it was.

    Raises
    ------
    UsageError : see `check_writable_target`.
    LocalIOError : the system refused to open, write, sync or rename.
    """
    check_writable_target(path)
    target = path.resolve()
    remove_stale_temporaries(target.parent)
    name = f"{_TEMPORARY_PREFIX}{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.parent / name
    _mine.add(name)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise LocalIOError("cannot write", path, got=error.strerror or error) from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)
        _mine.discard(name)


@contextmanager
def lock(path: Path, timeout: float, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path` (created, never removed).

    Where the file system has no locks or the folder is not writable, the block runs without one: the lock
    only saves work, and the block must be correct without it.

    Parameters
    ----------
    timeout : seconds to wait for another process.
    on_wait : called once, after a second of waiting.

    Raises
    ------
    LocalIOError : another process held the lock for `timeout` seconds.
    """
    from filelock import FileLock, Timeout

    # The soft lock that filelock falls back to prints a warning and outlives a process that is killed.
    held = FileLock(path, fallback_to_soft=False)
    before_notice = min(1.0, timeout)
    try:
        try:
            held.acquire(timeout=before_notice)
        except Timeout:
            on_wait()
            held.acquire(timeout=timeout - before_notice)
    except Timeout as error:
        waited = f"a lock that another process held for {timeout:g} s"
        raise LocalIOError("cannot lock", path, got=waited, remedy="try again later") from error
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        with suppress(OSError):
            held.release()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises
    ------
    OSError : the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class LineLog:
    """A new text file that holds whole lines only, whatever stops the writer. A context manager.

    Raises
    ------
    LocalIOError : the system refused; the file then ends with the last whole line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes_written = 0
        with self._refused():
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
            self._cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LocalIOError("cannot write the log", self.path, got=error.strerror) from error

    def _cut(self) -> None:
        if self._regular:  # a pipe or a terminal takes lines too, but cannot be cut
            os.ftruncate(self._fd, self._bytes_written)
            os.lseek(self._fd, self._bytes_written, os.SEEK_SET)

    def write(self, line: bytes) -> None:
        """Append `line` and a line feed."""
        data = line + b"\n"
        with self._refused():
            try:
                done = 0
                while done < len(data):
                    done += os.write(self._fd, data[done:])
            except OSError:
                with suppress(OSError):
                    self._cut()
                raise
        self._bytes_written += len(data)

    def close(self) -> None:
        """Sync and close the file.

        Raises
        ------
        LocalIOError : the lines did not reach the disk.
        """
        try:
            if self._regular:  # a pipe cannot be synced
                with self._refused():
                    os.fsync(self._fd)
        finally:
            os.close(self._fd)
