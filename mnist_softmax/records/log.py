"""The log of a run: JSON Lines, whole lines only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from mnist_softmax.errors import LocalIOError
from mnist_softmax.files import check_writable_target, hold


class LineLog:
    """A new text file that holds whole lines only, whatever stops the writer. A context manager.

    Raises
    ------
    UsageError : see `files.check_writable_target`.
    LocalIOError : the system refused; the file then ends with the last whole line.
    """

    def __init__(self, path: Path) -> None:
        check_writable_target(path)
        self.path = path
        self._bytes_written = 0
        with self._refused():
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            if not hold(self._fd, wait=False):
                os.close(self._fd)
                raise LocalIOError("cannot write the log", path, got="a log that another process is writing")
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
            with self._refused():
                os.fsync(self._fd)
        finally:
            os.close(self._fd)
