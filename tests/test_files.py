"""Atomic writes, left-over temporaries and the lock."""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mnist_softmax.errors import LocalIOError, UsageError
from mnist_softmax.files import (
    atomic_write,
    check_writable_target,
    lock,
    open_regular,
    remove_stale_temporaries,
    sha256_of,
)

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


def aged(path: Path, seconds: float) -> None:
    """Make a file look as old as this."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_temporary_is_kept_while_its_writer_lives_and_removed_once_it_is_dead(tmp_path: Path) -> None:
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
        (temporary,) = (tmp_path / name for name in temporaries(tmp_path))
        aged(temporary, 1e6)
        remove_stale_temporaries(tmp_path)
        assert temporary.exists(), "its writer lives, whatever its clock says"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert target.read_bytes() == b"old"
    with atomic_write(tmp_path / "other") as out:
        out.write(b"")
    assert temporaries(tmp_path) == []


def test_an_unlocked_temporary_is_stale_after_ten_seconds_and_nothing_else_is(tmp_path: Path) -> None:
    young, old = (tmp_path / f".tmp-mnist-softmax-{name}" for name in ("young", "old"))
    for path in (young, old):
        path.touch()
    aged(young, 5)
    aged(old, 11)
    os.mkfifo(tmp_path / ".tmp-mnist-softmax-pipe")
    (tmp_path / ".tmp-mnist-softmax-folder").mkdir()
    (tmp_path / "somebody's").touch()
    aged(tmp_path / "somebody's", 1e6)
    (tmp_path / ".tmp-mnist-softmax-link").symlink_to("somebody's")
    remove_stale_temporaries(tmp_path)
    assert not old.exists()
    assert young.exists()
    assert (tmp_path / "somebody's").exists()
    assert len(temporaries(tmp_path)) == 4


def test_without_locks_a_temporary_is_stale_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for name, age in (("young", 3500), ("old", 3700)):
        (tmp_path / f".tmp-mnist-softmax-{name}").touch()
        aged(tmp_path / f".tmp-mnist-softmax-{name}", age)
    with atomic_write(tmp_path / "f") as out:
        out.write(b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert temporaries(tmp_path) == [".tmp-mnist-softmax-young"]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o664])
def test_a_replaced_file_keeps_its_permissions_from_the_first_byte_on(mode: int, tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    target.chmod(mode)
    with atomic_write(target) as out:
        (temporary,) = (tmp_path / name for name in temporaries(tmp_path))
        assert stat.S_IMODE(temporary.stat().st_mode) == mode
        out.write(b"new")
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert target.read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    os.chown(target, 65534, 65534)
    with atomic_write(target) as out:
        out.write(b"new")
    assert (target.stat().st_uid, target.stat().st_gid) == (65534, 65534)


def test_a_file_that_cannot_be_replaced_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    with monkeypatch.context() as patch:  # as for a file with the attribute "immutable"

        def refuse(*_: object) -> int:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        patch.setattr(os, "open", refuse)
        with pytest.raises(LocalIOError, match=r"cannot replace: .*f: got Operation not permitted"):
            check_writable_target(target)
    with monkeypatch.context() as patch:  # as for somebody else's file in /tmp
        tmp_path.chmod(0o1777)
        patch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(LocalIOError, match=r"cannot replace: .*f: got Operation not permitted"):
            check_writable_target(target)
    check_writable_target(target)


def test_a_folder_that_may_not_be_listed_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse_folders(path: Any, *arguments: Any) -> int:
        if Path(path) == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", refuse_folders)
    with atomic_write(tmp_path / "f") as out:
        out.write(b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_link_that_is_not_to_be_followed_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"old")
    for name, there in (("link", "victim"), ("dangling", "missing"), ("to-a-folder", ".")):
        (tmp_path / name).symlink_to(there)
        with atomic_write(tmp_path / name, follow=False) as out:
            out.write(b"new")
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b"new"
    assert (tmp_path / "victim").read_bytes() == b"old"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "link"])
def test_only_a_regular_file_is_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(path))
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        (tmp_path / "there").touch()
        path.symlink_to("there")
        open_regular(path).close()
    with pytest.raises(LocalIOError, match="not a regular file"):
        open_regular(path, LocalIOError, follow=False)


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
