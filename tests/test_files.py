"""Atomic writes, left-over temporaries and the lock."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mnist_softmax.errors import LocalIOError, UsageError
from mnist_softmax.files import LineLog, atomic_write, lock, remove_stale_temporaries, sha256_of

ROOT = Path(__file__).parent.parent


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".tmp-mnist-softmax-")]


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "f"
    with atomic_write(target) as out:
        out.write(b"new")
        assert not target.exists()
        assert len(temporaries(tmp_path)) == 1
    assert target.read_bytes() == b"new"
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_content_and_no_temporary(
    error: type[BaseException], tmp_path: Path
) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")

    def write_and_fail() -> None:
        with atomic_write(target) as out:
            out.write(b"new")
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert target.read_bytes() == b"old"
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EACCES])
def test_a_refusal_of_the_system_is_a_local_error_that_says_why(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(LocalIOError, match=os.strerror(code)), atomic_write(target) as out:
        out.write(b"new")
    assert target.read_bytes() == b"old"
    assert temporaries(tmp_path) == []


def test_data_is_on_disk_before_the_rename_and_the_folder_is_synced_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(fd: int) -> None:
        calls.append("sync folder" if Path(f"/proc/self/fd/{fd}").is_dir() else "sync file")
        fsync(fd)

    def noted_replace(*args: Path) -> None:
        calls.append("rename")
        replace(*args)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    with atomic_write(tmp_path / "f") as out:
        out.write(b"new")
    expected = ["sync file", "rename", "sync folder"]
    assert calls == (expected if Path("/proc/self/fd").exists() else ["sync file", "rename", "sync file"])


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as out:
        out.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["missing/f", "folder", "pipe"])
def test_a_target_that_cannot_become_a_file_is_wrong_usage(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=name.partition("/")[0]), atomic_write(tmp_path / name):
        pytest.fail("the block must not run")


def test_the_temporary_of_a_killed_process_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from mnist_softmax.files import atomic_write
with atomic_write(Path(sys.argv[1])) as out:
    out.write(b"half"); out.flush()
    print("writing", flush=True)
    time.sleep(60)
"""
    target = tmp_path / "f"
    target.write_bytes(b"old")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(target)], cwd=ROOT, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        remove_stale_temporaries(tmp_path)
        assert len(temporaries(tmp_path)) == 1  # its writer lives
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert target.read_bytes() == b"old"
    assert len(temporaries(tmp_path)) == 1
    with atomic_write(tmp_path / "other") as out:
        out.write(b"")
    assert temporaries(tmp_path) == []


def test_only_old_temporaries_of_other_hosts_are_removed(tmp_path: Path) -> None:
    young = tmp_path / ".tmp-mnist-softmax-00000000-1-aaaa"
    old = tmp_path / ".tmp-mnist-softmax-00000000-1-bbbb"
    odd = tmp_path / ".tmp-mnist-softmax-odd"
    for path in (young, old, odd):
        path.touch()
    os.utime(old, (1, 1))
    remove_stale_temporaries(tmp_path)
    assert sorted(temporaries(tmp_path)) == sorted([young.name, odd.name])


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "f") == digest


def test_a_lock_is_held_against_other_processes_until_its_holder_dies(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from mnist_softmax.files import lock
with lock(Path(sys.argv[1]), 5):
    print("held", flush=True)
    time.sleep(60)
"""
    path = tmp_path / ".lock"
    waits: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(
                LocalIOError, match=r"cannot lock: .*\.lock: got a lock that another process held for 0\.1 s"
            ),
            lock(path, 0.1, lambda: waits.append("waiting")),
        ):
            pytest.fail("the lock is held elsewhere")
        assert waits == ["waiting"]
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with lock(path, 0.0, lambda: pytest.fail("the lock is free")):
        pass


def test_two_threads_exclude_each_other_too(tmp_path: Path) -> None:
    refused: list[LocalIOError] = []

    def work() -> None:
        try:
            with lock(tmp_path / ".lock", 0.0):
                pass
        except LocalIOError as error:
            refused.append(error)

    with lock(tmp_path / ".lock", 0.0):
        inside = threading.Thread(target=work)
        inside.start()
        inside.join()
    assert len(refused) == 1
    after = threading.Thread(target=work)
    after.start()
    after.join()
    assert len(refused) == 1


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EIO])
def test_a_file_system_without_locks_is_worked_on_without_one_and_in_silence(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    ran = []
    with lock(tmp_path / ".lock", 0.5):  # a warning would be an error in these tests
        ran.append(True)
    assert ran == [True]


def test_a_folder_where_the_lock_file_cannot_be_made_is_worked_on_without_one(tmp_path: Path) -> None:
    ran = []
    with lock(tmp_path / "missing" / ".lock", 0.5):
        ran.append(True)
    (tmp_path / ".lock").mkdir()
    with lock(tmp_path / ".lock", 0.5):
        ran.append(True)
    assert ran == [True, True]


def test_an_error_inside_the_lock_passes_unchanged_and_frees_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), lock(tmp_path / ".lock", 0.5):
        raise OSError("mine")
    with lock(tmp_path / ".lock", 0.0):
        pass


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


def test_a_log_may_be_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with LineLog(tmp_path / "pipe") as log:
        log.write(b"first")
        assert os.read(reader, 100) == b"first\n"
    os.close(reader)


def test_a_log_that_cannot_be_opened_is_a_local_error(tmp_path: Path) -> None:
    with pytest.raises(LocalIOError, match=r"cannot write the log: .*missing"):
        LineLog(tmp_path / "missing" / "log")
