"""The cache: filled once, noticed when damaged, shared by many processes, readable without being written."""

import errno
import gzip
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers import Server, serving, small_dataset, stall_after

from mnist_softmax.data.cache import CachedFile, default_cache_dir, ensure
from mnist_softmax.data.catalog import TRAIN_IMAGES, TRAIN_LABELS, Dataset
from mnist_softmax.data.patience import Patience
from mnist_softmax.errors import DataError, DownloadError, LocalIOError, MnistSoftmaxError, UsageError

ROOT = Path(__file__).parents[2]
DATASET, CONTENTS = small_dataset()
NAMES = sorted(CONTENTS)
#: In no hurry: nothing but the pauses between tries is short.
PATIENT = Patience(backoff_seconds=0.001, lock_seconds=60)


@pytest.fixture(autouse=True)
def _no_disk_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails in these tests; tests/test_files.py sees that everything is synced."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(serving(CONTENTS)) as running:
        yield running


@pytest.fixture
def offline_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def fill(
    cache_dir: Path, server: Server, dataset: Dataset = DATASET, **options: Any
) -> dict[str, CachedFile]:
    return ensure(dataset, cache_dir, mirrors=[server.url], patience=PATIENT, **options)


def is_right(cache_dir: Path) -> bool:
    folder = cache_dir / DATASET.name
    return all((folder / name).read_bytes() == content for name, content in CONTENTS.items())


def state(cache_dir: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, times and size of everything in a cache but the lock, which filelock may truncate."""
    found = [cache_dir, *(path for path in cache_dir.rglob("*") if path.name != ".lock")]
    statuses = {str(path): path.stat() for path in found}
    return {name: (s.st_ino, s.st_mtime_ns, s.st_size) for name, s in statuses.items()}


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "altered": alter,
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "removed": lambda path: path.unlink(),
    "replaced": lambda path: path.write_text("<html>"),
}


def test_a_cold_cache_is_filled_with_one_get_per_file(tmp_path: Path, server: Server) -> None:
    cached = fill(tmp_path / "a" / "b", server)
    assert is_right(tmp_path / "a" / "b")
    assert sorted(server.requests) == sorted(f"/{file.packed_name}" for file in DATASET.files)
    assert list(cached) == [file.name for file in DATASET.files]
    folder = tmp_path / "a" / "b" / DATASET.name
    for file in DATASET.files:
        raw_sha256 = hashlib.sha256(CONTENTS[file.name]).hexdigest()
        assert cached[file.name] == CachedFile(
            file.name,
            folder / file.packed_name,
            folder / file.name,
            file.packed_bytes,
            file.packed_sha256,
            raw_sha256,
            server.url + file.packed_name,
        )
    assert sorted(path.name for path in folder.iterdir()) == sorted([*NAMES, ".lock", "stamp.json"])


@pytest.mark.usefixtures("offline_sockets")
@pytest.mark.parametrize("raw_hashes", [True, False])
def test_a_warm_cache_is_used_without_opening_writing_or_locking_anything(
    raw_hashes: bool, tmp_path: Path
) -> None:
    dataset, contents = small_dataset(raw_hashes=raw_hashes)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    cold = ensure(dataset, tmp_path / "c", from_dir=tmp_path)
    (tmp_path / "c" / dataset.name / ".lock").unlink()
    before = state(tmp_path / "c")
    opened: list[str] = []
    active = True

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if active and event == "open":
            opened.append(Path(str(args[0])).name)

    sys.addaudithook(watch)
    try:
        warm = ensure(dataset, tmp_path / "c")
    finally:
        active = False
    assert set(opened) == {"stamp.json"}
    assert state(tmp_path / "c") == before
    assert warm == {name: replace(file, source="cache") for name, file in cold.items()}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("name", "raw_hashes"),
    [(TRAIN_IMAGES + ".gz", True), (TRAIN_IMAGES, True), (TRAIN_IMAGES, False), (TRAIN_LABELS, True)],
)
def test_a_damaged_file_is_noticed_and_repaired(
    name: str, damage: str, raw_hashes: bool, tmp_path: Path, server: Server
) -> None:
    dataset = small_dataset(raw_hashes=raw_hashes)[0]
    fill(tmp_path, server, dataset)
    server.requests.clear()
    DAMAGES[damage](tmp_path / dataset.name / name)
    notices: list[str] = []
    cached = fill(tmp_path, server, dataset, notify=notices.append)
    assert is_right(tmp_path)
    fetched = name.endswith(".gz")
    assert server.requests == (["/" + name] if fetched else [])
    assert cached[name.removesuffix(".gz")].source == (server.url + name if fetched else "cache")
    assert len(notices) == (0 if damage == "removed" else 1)
    server.requests.clear()
    assert {file.source for file in fill(tmp_path, server, dataset).values()} == {"cache"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_offline_a_damaged_packed_file_is_reported_and_an_unpacked_one_is_remade(
    damage: str, tmp_path: Path, server: Server, request: pytest.FixtureRequest
) -> None:
    fill(tmp_path, server)
    request.getfixturevalue("offline_sockets")
    DAMAGES[damage](tmp_path / DATASET.name / TRAIN_IMAGES)
    fill(tmp_path, server, offline=True)
    assert is_right(tmp_path)
    packed = tmp_path / DATASET.name / (TRAIN_IMAGES + ".gz")
    DAMAGES[damage](packed)
    expected: type[MnistSoftmaxError] = DownloadError if damage == "removed" else DataError
    with pytest.raises(expected, match=packed.name) as caught:
        fill(tmp_path, server, offline=True)
    assert "mnist-softmax download" in str(caught.value)


@pytest.mark.usefixtures("offline_sockets")
def test_offline_a_missing_dataset_is_a_download_error_and_nothing_is_created(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="offline"):
        ensure(DATASET, tmp_path / "c", offline=True, mirrors=["http://127.0.0.1:1/"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="the time of the last change of a file's status")
def test_a_change_whose_time_was_set_back_is_found(tmp_path: Path, server: Server) -> None:
    fill(tmp_path, server)
    for name in (TRAIN_IMAGES, f"{TRAIN_IMAGES}.gz"):
        path = tmp_path / DATASET.name / name
        status = path.stat()
        alter(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        fill(tmp_path, server)
        assert is_right(tmp_path)


def test_a_change_that_the_system_did_not_see_is_found_by_rehash(tmp_path: Path, server: Server) -> None:
    fill(tmp_path, server)
    path = tmp_path / DATASET.name / TRAIN_IMAGES
    alter(path)
    status = path.stat()
    # Bits that rot on the disk change no time: here the stamp is given those of the altered file.
    times = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
    entry = good_stamp(path.parent)["files"][TRAIN_IMAGES] | times
    (path.parent / "stamp.json").write_bytes(with_entry(path.parent, entry))
    assert {file.source for file in fill(tmp_path, server).values()} == {"cache"}
    assert not is_right(tmp_path)  # what a stamp cannot see
    fill(tmp_path, server, rehash=True)
    assert is_right(tmp_path)


def test_rehash_of_a_right_cache_fetches_nothing_and_keeps_the_stamp(tmp_path: Path, server: Server) -> None:
    fill(tmp_path, server)
    before = state(tmp_path)
    server.requests.clear()
    fill(tmp_path, server, rehash=True)
    assert server.requests == []
    assert state(tmp_path) == before


def test_force_fetches_everything_anew(tmp_path: Path, server: Server) -> None:
    fill(tmp_path, server)
    server.requests.clear()
    cached = fill(tmp_path, server, force=True)
    assert len(server.requests) == 4
    assert all(file.source.startswith(server.url) for file in cached.values())
    with pytest.raises(UsageError, match="offline"):
        fill(tmp_path, server, force=True, offline=True)


def good_stamp(folder: Path) -> Any:
    return json.loads((folder / "stamp.json").read_bytes())


def with_entry(folder: Path, value: object) -> bytes:
    stamp = good_stamp(folder)
    stamp["files"][TRAIN_IMAGES] = value
    return json.dumps(stamp).encode()


def trusting_the_lie(folder: Path) -> bytes:
    """A stamp that blesses an altered file by its own, wrong, hash."""
    path = folder / TRAIN_IMAGES
    alter(path)
    status = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    times = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
    entry = {"size": status.st_size, "inode": status.st_ino} | times
    return with_entry(folder, entry | {"sha256": digest})


@pytest.mark.parametrize(
    "stamp",
    [
        lambda _: b"",
        lambda _: b"\xff\xfe",
        lambda _: b"[" * 50_000,
        lambda _: b"9" * 10_000,
        lambda _: b"null",
        lambda _: b"[]",
        lambda _: b'{"version": 1}',
        lambda _: b'{"version": 1, "files": []}',
        lambda _: b'{"version": 2, "files": {}}',
        lambda folder: json.dumps(good_stamp(folder)).encode()[:-9],
        lambda folder: with_entry(folder, None),
        lambda folder: with_entry(folder, []),
        lambda folder: with_entry(folder, {"size": "1", "sha256": 3}),
        lambda folder: with_entry(folder, {"sha256": "x"}),
        trusting_the_lie,
    ],
)
def test_a_corrupt_or_hostile_stamp_is_as_none(
    stamp: Callable[[Path], bytes], tmp_path: Path, server: Server
) -> None:
    fill(tmp_path, server)
    folder = tmp_path / DATASET.name
    (folder / "stamp.json").write_bytes(stamp(folder))
    server.requests.clear()
    fill(tmp_path, server)
    assert is_right(tmp_path)
    assert server.requests == []
    assert good_stamp(folder)["files"].keys() == set(NAMES)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_stamp_that_is_no_file_is_done_without(
    make: Callable[[Path], None], tmp_path: Path, server: Server
) -> None:
    fill(tmp_path, server)
    path = tmp_path / DATASET.name / "stamp.json"
    path.unlink()
    make(path)
    fill(tmp_path, server)
    assert is_right(tmp_path)


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_IMAGES + ".gz"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_in_place_of_a_file_is_one_clear_error(
    make: Callable[[Path], None], name: str, tmp_path: Path, server: Server
) -> None:
    fill(tmp_path, server)
    path = tmp_path / DATASET.name / name
    path.unlink()
    make(path)
    with pytest.raises(LocalIOError, match=f"not a regular file: .*{name}"):
        fill(tmp_path, server)


def test_a_cache_that_is_a_file_is_wrong_usage(tmp_path: Path, server: Server) -> None:
    (tmp_path / "c").write_bytes(b"")
    for cache_dir in (tmp_path / "c", tmp_path / "c" / "below"):
        with pytest.raises(UsageError, match="not a folder"):
            fill(cache_dir, server)
    (tmp_path / DATASET.name).write_bytes(b"")
    with pytest.raises(UsageError, match="not a folder"):
        fill(tmp_path, server, offline=True)


@pytest.mark.usefixtures("offline_sockets")
def test_a_folder_is_taken_as_the_only_mirror_without_a_socket(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, content in CONTENTS.items():
        if name.endswith(".gz"):
            (source / name).write_bytes(content)
    cached = ensure(DATASET, tmp_path / "c", from_dir=source, offline=True)
    assert is_right(tmp_path / "c")
    assert cached[TRAIN_IMAGES].source == str(source / (TRAIN_IMAGES + ".gz"))
    alter(source / (TRAIN_IMAGES + ".gz"))
    with pytest.raises(DataError):
        ensure(DATASET, tmp_path / "d", from_dir=source)
    with pytest.raises(UsageError, match="no such folder"):
        ensure(DATASET, tmp_path / "c", from_dir=tmp_path / "missing")


def test_a_mirror_that_is_no_url_is_wrong_usage_even_with_a_warm_cache(
    tmp_path: Path, server: Server
) -> None:
    fill(tmp_path, server)
    with pytest.raises(UsageError, match="not a mirror"):
        ensure(DATASET, tmp_path, mirrors=["file:///tmp/"])


def test_a_mirror_that_fails_costs_its_time_once_and_not_once_a_file(tmp_path: Path, server: Server) -> None:
    notices: list[str] = []
    patience = replace(PATIENT, answer_seconds=0.3, tries=1)
    with Server({f"/{file.packed_name}": stall_after(b"") for file in DATASET.files}) as silent:
        mirrors = [silent.url, server.url]
        ensure(DATASET, tmp_path, mirrors=mirrors, patience=patience, notify=notices.append)
        assert len(silent.requests) == 1
    assert is_right(tmp_path)
    assert len(notices) == 1


def repacked(packed: bytes) -> tuple[Dataset, dict[str, bytes]]:
    """A dataset whose first file has pinned hashes, but holds something that is not right."""
    first = replace(
        DATASET.files[0],
        packed_bytes=len(packed),
        packed_sha256=hashlib.sha256(packed).hexdigest(),
        raw_sha256=None,
    )
    return replace(DATASET, files=(first, *DATASET.files[1:])), CONTENTS | {first.packed_name: packed}


RAW = CONTENTS[TRAIN_IMAGES]


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"not gzip", "damaged gzip file"),
        (gzip.compress(RAW)[:-20], "damaged gzip file"),
        (b"", "not an IDX file"),
        (gzip.compress(RAW[:-1]), "truncated IDX file"),
        (gzip.compress(RAW + b"x"), "bytes after its end"),
        (gzip.compress(RAW + bytes(50_000_000)), "bytes after its end"),
        (gzip.compress(b"\0\0\x08\x01" + RAW[4:]), "wrong IDX file"),
        (gzip.compress(RAW[:4] + b"\xff" * 12 + RAW[16:]), "truncated IDX file"),
    ],
)
def test_what_unpacks_to_something_else_than_the_table_says_is_wrong_data(
    packed: bytes, words: str, tmp_path: Path
) -> None:
    dataset, contents = repacked(packed)
    with Server(serving(contents)) as server, pytest.raises(DataError, match=words):
        fill(tmp_path, server, dataset)
    assert not (tmp_path / dataset.name / TRAIN_IMAGES).exists()
    assert not list(tmp_path.rglob(".tmp-*"))


def test_bytes_that_are_changed_while_they_are_hashed_are_not_blessed(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, server)
    folder = tmp_path / DATASET.name
    (folder / "stamp.json").unlink()
    digest = hashlib.file_digest

    def hash_and_be_overtaken(file: Any, name: str) -> Any:
        result = digest(file, name)
        if Path(file.name).name == TRAIN_IMAGES:
            time.sleep(0.02)  # beyond the resolution of the file system's clock
            alter(Path(file.name))
        return result

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", hash_and_be_overtaken)
        fill(tmp_path, server)
    fill(tmp_path, server)
    assert is_right(tmp_path)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


ENSURE = """
import dataclasses, errno, os, sys
sys.path.insert(0, "tests")
from pathlib import Path
from servers import small_dataset
from mnist_softmax import files
from mnist_softmax.data.cache import ensure
from mnist_softmax.data.patience import Patience
from mnist_softmax.errors import MnistSoftmaxError
cache_dir, mirror, locks = sys.argv[1:]
if locks == "none":
    import fcntl
    def refuse(*args): raise OSError(errno.ENOLCK, "No locks available")
    fcntl.flock = refuse
if locks == "a lie":
    import fcntl
    fcntl.flock = lambda *args: None
if locks == "nobody":  # root would be stopped by no mode
    import filelock, numpy, mnist_softmax.data.download, mnist_softmax.data.idx  # what this user may not be able to read later
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
print("ready", flush=True)
sys.stdin.readline()
try:
    files = ensure(small_dataset()[0], Path(cache_dir), mirrors=[mirror], patience=Patience())
except MnistSoftmaxError as error:
    print(error)
    sys.exit(error.exit_code)
for file in files.values():
    assert len(file.path.read_bytes()) > 0
print(",".join(sorted({file.source for file in files.values()})))
"""


def start(cache_dir: Path, mirror: str, locks: str = "real") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", ENSURE, str(cache_dir), mirror, locks],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Let processes that are ready run at the same time; their last lines."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        go(process)
    outcomes = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), out + err
        outcomes.append(out.strip())
    return outcomes


@pytest.mark.parametrize("locks", ["real", "none", "a lie"])
def test_processes_on_a_cold_cache_all_end_right(locks: str, tmp_path: Path, server: Server) -> None:
    outcomes = finish([start(tmp_path, server.url, locks) for _ in range(4)])
    assert is_right(tmp_path)
    assert not list(tmp_path.rglob(".tmp-*"))
    if locks == "real":
        assert sorted(server.requests) == sorted(f"/{file.packed_name}" for file in DATASET.files)
        assert outcomes.count("cache") == 3
    server.requests.clear()
    fill(tmp_path, server)
    assert server.requests == []


def test_processes_with_different_datasets_do_not_block_each_other(tmp_path: Path, server: Server) -> None:
    other, contents = small_dataset("other", seed=50)
    hasty = replace(PATIENT, lock_seconds=0.2)
    with Server({f"/{file.packed_name}": stall_after(b"") for file in DATASET.files}) as silent:
        slow = start(tmp_path, silent.url)
        go(slow)
        wait_until(lambda: bool(silent.requests))
        with Server(serving(contents)) as lively:
            ensure(other, tmp_path, mirrors=[lively.url], patience=hasty)
        notices: list[str] = []
        with pytest.raises(LocalIOError, match=r"cannot lock: .*another process held"):
            ensure(DATASET, tmp_path, mirrors=[server.url], patience=hasty, notify=notices.append)
        assert len(notices) == 1
        assert "waiting up to 0.2 s for another process" in notices[0]
        slow.kill()
        slow.communicate()
    assert fill(tmp_path, server)
    assert is_right(tmp_path)


def test_what_a_killed_process_left_goes_away_by_itself(tmp_path: Path, server: Server) -> None:
    fill(tmp_path, server)
    left = tmp_path / DATASET.name / ".tmp-mnist-softmax-abcd"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    fill(tmp_path, server, rehash=True)
    assert not left.exists()


@pytest.mark.parametrize("there", ["victim", "missing", "."])
def test_a_link_in_the_place_of_a_cache_file_is_neither_followed_nor_written_through(
    there: str, tmp_path: Path, server: Server
) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    folder = tmp_path / DATASET.name
    fill(tmp_path, server)
    for path in list(folder.iterdir()):
        if path.name != ".lock":
            path.unlink()
            path.symlink_to(tmp_path / there)
    fill(tmp_path, server)
    assert is_right(tmp_path)
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "missing").exists()


def test_a_link_to_the_right_file_is_replaced_too(tmp_path: Path, server: Server) -> None:
    fill(tmp_path, server)
    path = tmp_path / DATASET.name / DATASET.files[0].packed_name
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(DownloadError, match="offline, and not in the cache"):
        ensure(DATASET, tmp_path, offline=True)
    fill(tmp_path, server)
    assert not path.is_symlink()
    assert is_right(tmp_path)


def test_a_process_killed_at_any_moment_leaves_a_cache_that_the_next_one_completes(
    tmp_path: Path, server: Server
) -> None:
    for requests in (1, 3, 2):
        server.requests.clear()
        process = start(tmp_path, server.url)
        go(process)
        wait_until(lambda: len(server.requests) >= requests or process.poll() is not None)
        process.kill()
        process.communicate()
        for path in (tmp_path / DATASET.name).glob("*-ubyte*"):
            assert path.read_bytes() == CONTENTS[path.name]
    for left in tmp_path.rglob(".tmp-*"):
        os.utime(left, (1, 1))  # more than ten seconds ago
    fill(tmp_path, server, rehash=True)
    assert is_right(tmp_path)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_cache_that_may_not_be_written_is_used_with_and_without_a_fitting_stamp(server: Server) -> None:
    """As a user who may not write; root, whom no mode stops, becomes "nobody" for this."""
    with tempfile.TemporaryDirectory() as name:
        cache_dir = Path(name)
        fill(cache_dir, server)
        server.requests.clear()
        folder = cache_dir / DATASET.name
        for restored in (False, True):
            if restored:  # as from a CI cache: other times, no lock file
                (folder / ".lock").unlink()
                for file in folder.iterdir():
                    os.utime(file, (1, 1))
            for path in (*folder.iterdir(), folder, cache_dir):
                path.chmod(0o555 if path.is_dir() else 0o444)
            before = state(cache_dir)
            process = start(cache_dir, server.url, "nobody")
            assert finish([process]) == ["cache"]
            assert state(cache_dir) == before
            for path in (cache_dir, folder):
                path.chmod(0o755)
        (folder / TRAIN_IMAGES).unlink()
        folder.chmod(0o555)
        process = start(cache_dir, server.url, "nobody")
        out, err = process.communicate("\n", timeout=30)
        folder.chmod(0o755)
        assert process.returncode == LocalIOError.exit_code, err
        assert "Permission denied" in out
        assert server.requests == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_local_error_and_no_unverified_file_stays(
    code: int, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(LocalIOError, match=os.strerror(code)):
        fill(tmp_path, server)
    assert [path.name for path in (tmp_path / DATASET.name).iterdir()] == [".lock"]


def test_the_default_cache_is_named_after_the_program() -> None:
    assert "mnist-softmax" in default_cache_dir().parts
