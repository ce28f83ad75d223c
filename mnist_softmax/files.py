"""Atomic writes, folder syncs and locks, all in one place.

A file gets its final name only when it is complete and on disk: temporary name in the same folder, fsync,
rename, fsync of the folder. A writer holds a lock on its temporary as long as it lives, so a killed process
leaves at most an unlocked one, which the next writer in that folder removes.
"""

import errno
import hashlib
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from mnist_softmax.errors import LocalIOError, MnistSoftmaxError, UsageError

try:
    import fcntl
except ImportError:  # Windows, where nobody can remove a file that its writer has open
    fcntl = None  # type: ignore[assignment]

_TEMPORARY_PREFIX = ".tmp-mnist-softmax-"
#: An unlocked temporary of this age has no writer; a younger one may be about to be locked.
_STALE_AFTER_SECONDS = 10.0
#: The same where the file system has no locks: a writer touches its temporary every few seconds.
_STALE_WITHOUT_LOCKS_SECONDS = 3600.0
#: Errors of fsync on a folder where the file system does not support it.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


def remove_stale_temporaries(folder: Path) -> None:
    """Remove the temporaries that killed processes left in `folder`.

    The host and the number of a process say nothing: containers share folders. A folder that cannot be listed
    or a file that cannot be opened or removed is left alone.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_TEMPORARY_PREFIX):
                with suppress(OSError, UsageError), open_regular(Path(entry.path), follow=False) as file:
                    limit = _STALE_AFTER_SECONDS
                    try:
                        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    except AttributeError:  # Windows
                        pass
                    except OSError:
                        limit = _STALE_WITHOUT_LOCKS_SECONDS
                    if time.time() - os.fstat(file.fileno()).st_mtime > limit:
                        os.unlink(entry.path)


def open_regular(
    path: Path, error: type[MnistSoftmaxError] = UsageError, *, follow: bool = True
) -> BufferedReader:
    """Open a regular file for reading; a pipe is not waited for, and a device is not read.

    Parameters
    ----------
    error : the exception for anything that is not a regular file.
    follow : whether `path` may be a symbolic link.

    Raises
    ------
    error : `path` is a folder, a device, a pipe, or a link where none is followed.
    OSError : it cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115
    except OSError as refused:
        unfollowed = refused.errno == errno.ELOOP and not follow
        if unfollowed or refused.errno == errno.ENXIO or path.is_dir():  # ENXIO: a socket
            raise error("not a regular file", path) from refused
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise error("not a regular file", path)
    return file


def hold(fd: int, *, wait: bool = True) -> bool:
    """Lock an open file until it is closed; False if another process holds it and `wait` is False.

    True where the file system, or Windows, has no such locks.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (OSError, AttributeError):
        pass
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable. Does nothing where folders cannot be synced (Windows)."""
    if os.name != "posix":
        return
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # it may be written to, but not listed
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


def check_writable_target(path: Path, *, follow: bool = True) -> Path:
    """Refuse a path that cannot become a regular file, before any work is done for it.

    Parameters
    ----------
    follow : if `path` is a symbolic link, the file that it names is to be replaced, not the link.

    Returns
    -------
    The path to replace.

    Raises
    ------
    UsageError : the folder does not exist, or `path` is a folder, a device or a pipe.
    LocalIOError : the folder is not writable, the file in it cannot be replaced, or `path` is a loop of
        symbolic links.
    """
    try:
        old: os.stat_result | None = path.stat(follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError):  # still to be written
        old = None
    except OSError as error:
        raise LocalIOError("cannot write", path, got=error.strerror) from error
    target = Path(os.path.realpath(path)) if follow else Path(os.path.realpath(path.parent), path.name)
    if not target.parent.is_dir():
        missing = target.parent if path.is_symlink() else path.parent
        raise UsageError("no such folder", missing, remedy="create it first")
    if old and not (stat.S_ISREG(old.st_mode) or stat.S_ISLNK(old.st_mode)):
        raise UsageError("not a regular file", path, remedy="name a file to write")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        refused = errno.EROFS if _is_read_only(target.parent) else errno.EACCES
        raise LocalIOError("cannot write to the folder", target.parent, got=os.strerror(refused))
    if old and (refused := _replacement_refused(target, old)):
        raise LocalIOError("cannot replace", path, got=os.strerror(refused))
    return target


def _is_read_only(folder: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _replacement_refused(target: Path, old: os.stat_result) -> int:
    """The errno with which a rename over an existing file in a writable folder would fail, or 0."""
    if os.name != "posix":
        return 0
    folder = target.parent.stat()
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in {0, old.st_uid, folder.st_uid}:
        return errno.EPERM
    try:  # a file that is immutable or append-only says so only when it is opened
        os.close(os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW))
    except OSError as error:
        # Neither its mode nor that it is a link or a program under way matters: it is not written to. Another
        # writer may have removed it since, as a checkpoint.
        harmless = {errno.EACCES, errno.ELOOP, errno.ETXTBSY, errno.ENOENT}
        return 0 if error.errno in harmless else error.errno or 0
    return 0


@contextmanager
def atomic_write(path: Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """Write `path` atomically: whatever happens, it holds either its old or its complete new content.

    Yields a binary file. If the block ends without an exception, the file is synced and renamed to `path`,
    and the folder is synced. Any exception, KeyboardInterrupt included, removes the temporary and leaves
    `path` as it was. A replaced file keeps its permissions and, where the system allows it, its owner.

    Parameters
    ----------
    follow : see `check_writable_target`.

    Raises
    ------
    UsageError : see `check_writable_target`.
    LocalIOError : the system refused to open, write, sync or rename.
    """
    target = check_writable_target(path, follow=follow)
    remove_stale_temporaries(target.parent)
    temporary = target.parent / f"{_TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    try:
        with open(temporary, "xb") as file:
            hold(file.fileno())
            _keep_permissions(target, file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name != "posix":  # Windows renames no open file; elsewhere it stays locked until then
                file.close()
            os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise LocalIOError("cannot write", path, got=error.strerror or error) from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _keep_permissions(target: Path, fd: int) -> None:
    """Give a file the owner and the permissions of the regular file that it will replace, if there is one."""
    with suppress(OSError, AttributeError):  # AttributeError: Windows has no owners
        old = os.lstat(target)
        if stat.S_ISREG(old.st_mode):
            with suppress(OSError):
                os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)


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


def mapped_scratch(blocks: Iterable[memoryview], folder: Path | None = None) -> mmap.mmap:
    """A map, to be read only, of a new file without a name that holds `blocks`; it goes with the map.

    Blocks are written, not stored through the map: on a full disk that would end in SIGBUS. `folder` is that
    of the file; None for the system's folder of temporary files.

    Raises
    ------
    LocalIOError : the file cannot be written.
    """
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for block in blocks:
                file.write(block)
            file.flush()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        where = folder or "the system's folder of temporary files"
        raise LocalIOError("cannot write a temporary file", where, got=error.strerror) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises
    ------
    OSError : the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
