"""The cache: keeps datasets on disk, complete and verified.

``<cache>/<dataset>/`` holds the files as served, the four IDX files unpacked from them, and a stamp: size,
times, inode and SHA-256 of all of them when they were last hashed. A zip of several datasets has a folder of
its own. While the stamp agrees, only it is opened, and nothing is locked or written. Everything else happens
under a lock, which saves work but is not needed: a file is verified before it is renamed into place.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from mnist_softmax.data.catalog import DataFile, Dataset, mirror_bases
from mnist_softmax.data.patience import NORMAL, Notify, Patience, Progress, ignore
from mnist_softmax.data.stamp import Entry, hashed, hashed_again, read_stamp, write_stamp
from mnist_softmax.errors import DataError, DownloadError, LocalIOError, MnistSoftmaxError, UsageError
from mnist_softmax.files import lock, remove_stale_temporaries

_LOCK = ".lock"


#: Puts a verified file, as served, at a path; takes the entry of what is there. Returns the source.
_Obtain = Callable[[DataFile, Path, Entry | None], str]


@dataclass(frozen=True)
class CachedFile:
    """One verified file of a dataset.

    Attributes
    ----------
    name : canonical name without ``.gz``.
    packed_path, path : the file as served (of several files the same, if it is a zip), and unpacked.
    bytes, sha256 : size and SHA-256 of the file as served.
    raw_sha256 : SHA-256 of the unpacked file.
    source : the URL or path that it was just fetched from, "cache", or "built in".
    """

    name: str
    packed_path: Path
    path: Path
    bytes: int
    sha256: str
    raw_sha256: str
    source: str


class Fetching(TypedDict, total=False):
    """The arguments of `ensure` that say how to fetch what is missing."""

    mirrors: Sequence[str] | None
    offline: bool
    patience: Patience
    progress: Progress
    notify: Notify


def default_cache_dir() -> Path:
    """The user's cache folder for this program, by the platform's convention."""
    from platformdirs import user_cache_path

    return user_cache_path("mnist-softmax", appauthor=False)


def ensure(
    dataset: Dataset,
    cache_dir: Path,
    *,
    mirrors: Sequence[str] | None = None,
    from_dir: Path | None = None,
    offline: bool = False,
    force: bool = False,
    rehash: bool = False,
    patience: Patience = NORMAL,
    progress: Progress = ignore,
    notify: Notify = ignore,
) -> dict[str, CachedFile]:
    """Make sure that the cache holds the dataset, packed, unpacked and verified.

    Parameters
    ----------
    mirrors : base URLs, in the order to try; None for the dataset's own.
    from_dir : a folder to copy the files as served from, instead of any mirror.
    offline : open no socket; `from_dir` is still used.
    force : fetch all files again.
    rehash : hash all files, whatever the stamp says.

    Returns
    -------
    The files by canonical name, without ``.gz``.

    Raises
    ------
    UsageError : a mirror is not a URL, `from_dir` does not exist, `cache_dir` is not a folder, or `force` and
        `offline` are set without `from_dir`.
    DownloadError : no mirror delivered, or a file is missing and `offline` is set.
    DataError : every mirror delivered wrong bytes, or a file is damaged and `offline` is set.
    LocalIOError : the cache cannot be read or locked in time, or a new file cannot be written.
    """
    if mirrors is not None:
        mirror_bases(mirrors)
    if from_dir is not None and not from_dir.is_dir():
        raise UsageError("no such folder", from_dir)
    if force and offline and from_dir is None:
        raise UsageError("cannot fetch again while offline", dataset.name, remedy="drop --force or --offline")
    folder, shelf = _folders(dataset, cache_dir)
    trusting = not (force or rehash)
    if trusting and (warm := _warm(dataset, folder, shelf)):
        return warm
    from mnist_softmax.data.download import Experience, copy_from, fetch  # here: it takes time to load

    _check_folders(cache_dir, folder, shelf)
    if offline and from_dir is None and not shelf.is_dir():
        raise _unavailable(dataset.files[0], shelf / dataset.files[0].packed_name, None)
    _make_folders(folder, shelf)
    experience = Experience()

    def obtain(file: DataFile, target: Path, found: Entry | None) -> str:
        if offline and from_dir is None:
            raise _unavailable(file, target, found)
        if found is not None:
            notify(f"damaged file in the cache: {target}; fetching it again")
        if from_dir is not None:
            return copy_from(file, from_dir, target)
        return fetch(
            file,
            dataset.mirrors if mirrors is None else mirrors,
            target,
            patience=patience,
            progress=progress,
            notify=notify,
            experience=experience,
        )

    waiting = f"waiting up to {patience.lock_seconds:g} s for another process that is working on {shelf}"
    with lock(shelf / _LOCK, patience.lock_seconds, lambda: notify(waiting)):
        # Another process may have done the work while this one waited.
        if trusting and (warm := _warm(dataset, folder, shelf)):
            return warm
        for place in {folder, shelf}:
            remove_stale_temporaries(place)
        return _repair(dataset, folder, shelf, obtain, force=force, notify=notify)


def _check_folders(*folders: Path) -> None:
    for path in folders:
        if os.path.lexists(path) and not path.is_dir():
            raise UsageError("not a folder", path, remedy="move it away, or choose another --cache-dir")


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError("not a folder", error.filename, remedy="choose another --cache-dir") from error
        except OSError as error:
            raise LocalIOError("cannot create the folder", folder, got=error.strerror) from error


def _unavailable(file: DataFile, path: Path, found: Entry | None) -> MnistSoftmaxError:
    if found is None:
        remedy = "run `mnist-softmax download` while online, or with --from DIR"
        return DownloadError("offline, and not in the cache", path, remedy=remedy)
    return DataError(
        "damaged file in the cache",
        path,
        expected=f"{file.packed_size} with SHA-256 {file.packed_sha256}",
        got=f"{found.size} bytes" + (f" with SHA-256 {found.sha256}" if found.sha256 else ""),
        remedy="run `mnist-softmax download` while online, or with --from DIR",
    )


def _repair(
    dataset: Dataset, folder: Path, shelf: Path, obtain: _Obtain, *, force: bool, notify: Notify
) -> dict[str, CachedFile]:
    """Hash all files, replace what is missing or damaged, and write the stamp."""
    from mnist_softmax.data.unpack import unpack, unpacked_sha256  # here: it needs NumPy

    entries: dict[str, Entry] = {}
    sources: dict[str, str] = {}
    cached = {}
    for file in dataset.files:
        packed, path = shelf / file.packed_name, folder / file.name
        if file.packed_name not in entries:
            size, source = (file.packed_bytes, file.size_is_known), "cache"
            found = None if force else hashed(packed, *size)
            if found is None or found.sha256 != file.packed_sha256:
                source = obtain(file, packed, found)
                found = hashed_again(packed, file.packed_sha256, *size)
            entries[file.packed_name], sources[file.packed_name] = found, source
        found = None if force else hashed(path, file.raw_bytes)
        if found is None or found.sha256 != (file.raw_sha256 or unpacked_sha256(file, packed)):
            if found is not None:
                notify(f"damaged file in the cache: {path}; unpacking it again")
            found = hashed_again(path, unpack(file, packed, path), file.raw_bytes)
        entries[file.name] = found
        as_served = entries[file.packed_name]
        cached[file.name] = _cached(file, packed, path, as_served, found, sources[file.packed_name])
    write_stamp(folder, entries)
    return cached


def _cached(
    file: DataFile, packed_path: Path, path: Path, packed: Entry, raw: Entry, source: str
) -> CachedFile:
    return CachedFile(file.name, packed_path, path, packed.size, packed.sha256, raw.sha256, source)


def _warm(dataset: Dataset, folder: Path, shelf: Path) -> dict[str, CachedFile] | None:
    """The dataset, if no file has changed since it was hashed, else None. Opens nothing but the stamp."""
    stamp, cached = read_stamp(folder), {}
    for file in dataset.files:
        paths = shelf / file.packed_name, folder / file.name
        packed, raw = stamp.get(file.packed_name), stamp.get(file.name)
        if packed is None or raw is None or packed.sha256 != file.packed_sha256:
            return None
        if raw.size != file.raw_bytes or file.raw_sha256 not in (None, raw.sha256):
            return None
        try:
            if any(
                was != Entry.of(os.lstat(path), was.sha256)
                for was, path in zip((packed, raw), paths, strict=True)
            ):
                return None
        except OSError:
            return None
        cached[file.name] = _cached(file, *paths, packed, raw, "cache")
    return cached


def is_complete(dataset: Dataset, cache_dir: Path) -> bool:
    """Whether no file has changed since all were verified; nothing is hashed."""
    return _warm(dataset, *_folders(dataset, cache_dir)) is not None


def _folders(dataset: Dataset, cache_dir: Path) -> tuple[Path, Path]:
    """Where the IDX files are, and where the files as served are."""
    return cache_dir / dataset.name, cache_dir / (dataset.folder or dataset.name)
