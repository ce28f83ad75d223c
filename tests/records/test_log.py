"""The log: whole lines, whatever happens."""

import errno
import os
from pathlib import Path

import pytest

from mnist_softmax.errors import LocalIOError, UsageError
from mnist_softmax.records.log import LineLog


def test_a_log_begins_anew_and_holds_a_line_for_each_write(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"of an earlier run\nof an earlier run\n")
    with LineLog(tmp_path / "log") as log:
        assert (tmp_path / "log").read_bytes() == b""
        log.write(b"first")
        assert (tmp_path / "log").read_bytes() == b"first\n", "at once: somebody may be reading along"
        log.write("zweite Übung".encode())
    assert (tmp_path / "log").read_text(encoding="utf-8") == "first\nzweite Übung\n"
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(log._fd)


def test_a_log_holds_whole_lines_only_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) < 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data[:4])

    with LineLog(tmp_path / "log") as log:
        log.write(b"first")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(LocalIOError, match="No space left"):
                log.write(b"second")
        assert (tmp_path / "log").read_bytes() == b"first\n"
        log.write(b"third")
    assert (tmp_path / "log").read_bytes() == b"first\nthird\n"


def test_a_log_that_does_not_reach_the_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def write_and_close() -> None:
        with log:
            log.write(b"first")
            monkeypatch.setattr(os, "fsync", refuse)

    log = LineLog(tmp_path / "log")
    with pytest.raises(LocalIOError, match=r"cannot write the log: .*log"):
        write_and_close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(log._fd)


def test_a_log_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"not a regular file: .*pipe"):
        LineLog(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"no such folder: .*missing"):
        LineLog(tmp_path / "missing" / "log")


def test_two_logs_cannot_be_written_to_one_file_at_once(tmp_path: Path) -> None:
    with LineLog(tmp_path / "log") as log:
        log.write(b"first")
        with pytest.raises(LocalIOError, match="another process is writing"):
            LineLog(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == b"first\n"
    LineLog(tmp_path / "log").close()
