"""Open a Split by the name of a dataset, fetching what is missing, or from a folder."""

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.cache import CachedFile, Fetching, default_cache_dir, ensure
from mnist_softmax.data.catalog import DATASETS, MNIST_SAMPLE, SPLIT_FILES, Dataset
from mnist_softmax.data.idx import map_idx, pack_header, read_idx_gz
from mnist_softmax.data.split import Source, Split, is_unicode
from mnist_softmax.errors import DataError, UsageError, brief
from mnist_softmax.files import open_regular, sha256_of

_SAMPLE_FOLDER = Path(__file__).parent / "sample"
#: In a folder of one's own: the names of its classes, and the most bytes that are read.
CLASSES_FILE, _CLASSES_BYTES = "classes.txt", 1 << 16


def open_split(
    dataset: str | None = None,
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    **fetching: Unpack[Fetching],
) -> Split:
    """Open the images and labels of a known dataset or of a folder.

    Parameters
    ----------
    dataset : a name in `DATASETS`; "mnist" if neither this nor `data_dir` is given.
    split : "train" or "test".
    data_dir : a folder with IDX files, raw or .gz, of images of any size, and perhaps `classes.txt`.
    cache_dir : where datasets are kept; None for the user's cache folder.
    fetching : `offline`, `mirrors`, `patience`, `progress` and `notify`; see `cache.ensure`.

    Returns
    -------
    A Split; its images are mapped, not read, unless the file is a .gz.

    Raises
    ------
    UsageError : no such dataset, split, folder or file, or both `dataset` and `data_dir` are given.
    DownloadError, DataError, LocalIOError, OSError : see `cache.ensure` and `folder_split`.
    """
    if dataset is not None and data_dir is not None:
        raise UsageError("a dataset and a data_dir exclude each other")
    if split not in SPLIT_FILES:
        raise UsageError("no such split", expected="train or test", got=split)
    if data_dir is not None:
        return folder_split(Path(data_dir), split)
    name = "mnist" if dataset is None else dataset
    if name not in DATASETS:
        raise UsageError("no such dataset", expected=f"one of {', '.join(DATASETS)}", got=name)
    known = DATASETS[name]
    if not known.mirrors:
        return _sample_split(known, split)
    files = ensure(known, Path(cache_dir) if cache_dir else default_cache_dir(), **fetching)
    images, labels = (files[file] for file in SPLIT_FILES[split])
    opened = Split.of(
        map_idx(images.path, 3),
        map_idx(labels.path, 1),
        known.class_names,
        source=Source(dataset=name),
        name=split,
        files={file.name: file.raw_sha256 for file in (images, labels)},
    )
    return replace(opened, mapped={file.name: (file.path, file.path.stat()) for file in (images, labels)})


def folder_split(folder: Path, split: str) -> Split:
    """Read a split from a folder of IDX files; nothing is written there.

    Raw files are preferred and mapped, .gz ones unpacked in memory; the name may have ``-`` or ``.`` before
    ``idx``. Images may have any size. ``classes.txt`` (UTF-8), if it is there, names the classes 0, 1, ...,
    one a line; there may be more than the labels need.

    Raises
    ------
    UsageError : the folder or a file does not exist, or its name is not UTF-8.
    DataError : a file is wrong, images and labels differ in number, there are no rows, or names are missing.
    OSError : a file cannot be read.
    """
    if not folder.is_dir():
        raise UsageError("no such folder", folder)
    if not is_unicode(os.fsencode(folder).decode(errors="surrogateescape")):
        raise UsageError("the folder's name is not UTF-8", folder, remedy="rename it, or link to it")
    names = SPLIT_FILES[split]
    paths = [_find(folder, name) for name in names]
    pairs = zip(names, paths, strict=True)
    mapped = {name: (path, path.stat()) for name, path in pairs if path.suffix != ".gz"}
    images, labels = (_read(path, rank) for path, rank in zip(paths, (3, 1), strict=True))
    checked = Split.of(images, labels, source=Source(data_dir=folder), name=split)
    class_names = _class_names(folder / CLASSES_FILE, checked.class_names)
    hashes = map(_raw_sha256, paths, (images, labels))  # last: hashing takes a second per gigabyte
    files = dict(zip(names, hashes, strict=True))
    return replace(checked, class_names=class_names, files=files, mapped=mapped)


def _class_names(path: Path, numbers: tuple[str, ...]) -> tuple[str, ...]:
    """The names in a file, one for each of `numbers` at least; `numbers` if there is no such file."""
    if not os.path.lexists(path):
        return numbers
    with open_regular(path, DataError) as file:
        content = file.read(_CLASSES_BYTES + 1)
    if len(content) > _CLASSES_BYTES:
        raise DataError("too long for class names", path, expected=f"at most {_CLASSES_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"byte {error.object[error.start]:#x} at {error.start}"
        raise DataError("the class names are not UTF-8", path, got=got) from error
    names = tuple(line.strip(" \t\r") for line in text.rstrip(" \t\r\n").split("\n"))
    for line, name in enumerate(names):
        fault = "is blank" if not name else "repeats a name" if name in names[:line] else ""
        if re.search(r"[\0-\x1f\x7f-\x9f]", name):
            fault = "has a control character"
        if fault:
            raise DataError(f"line {line + 1} of the class names {fault}", path, got=brief(name))
    if not len(numbers) <= len(names) <= 256:
        expected = f"{len(numbers)} to 256, as the largest label is {len(numbers) - 1}"
        raise DataError("wrong number of class names", path, expected=expected, got=len(names))
    return names


def check_unchanged(split: Split) -> None:
    """Check that nobody has written to the mapped files of a split since they were opened.

    Raises
    ------
    DataError : one has another content; what was computed from it is worth nothing.
    """
    for name, (path, then) in split.mapped.items():
        with suppress(OSError):  # it is gone or replaced, and what is mapped stays
            now = path.stat()
            written = now.st_ino == then.st_ino and now.st_mtime_ns != then.st_mtime_ns
            if written and sha256_of(path) != split.files[name]:
                raise DataError("the file was changed while it was in use", path, remedy="run it again")


def sample_files() -> list[CachedFile]:
    """The four files of the built-in sample, verified.

    Raises
    ------
    DataError : a file of the installed package was altered.
    """
    for split in SPLIT_FILES:
        _sample_split(MNIST_SAMPLE, split)
    paths = {file: _SAMPLE_FOLDER / file.gz_name for file in MNIST_SAMPLE.files}
    return [
        CachedFile(file.name, path, path, file.gz_bytes, file.gz_sha256, file.raw_sha256 or "", "built in")
        for file, path in paths.items()
    ]


def _sample_split(sample: Dataset, split: str) -> Split:
    """Unpack a split of the built-in sample in memory (8 MB for "train")."""
    names = SPLIT_FILES[split]
    files = [file for file in sample.files if file.name in names]
    for file in files:
        if sha256_of(_SAMPLE_FOLDER / file.gz_name) != file.gz_sha256:
            raise DataError("the built-in sample is damaged", _SAMPLE_FOLDER, remedy="reinstall the package")
    images, labels = (
        read_idx_gz(_SAMPLE_FOLDER / f"{name}.gz", rank) for name, rank in zip(names, (3, 1), strict=True)
    )
    return Split.of(
        images,
        labels,
        sample.class_names,
        source=Source(dataset=sample.name),
        name=split,
        files={file.name: file.raw_sha256 or "" for file in files},
    )


def files_of(source: Source, cache_dir: Path | None) -> list[Path]:
    """Where the files of a source may be; nothing is opened or fetched."""
    folder = source.data_dir or (cache_dir or default_cache_dir()) / str(source.dataset)
    names = [name for pair in SPLIT_FILES.values() for name in pair]
    return [folder / CLASSES_FILE, *(path for name in names for path in _candidates(folder, name))]


def _candidates(folder: Path, name: str) -> list[Path]:
    dotted = name.replace("-idx", ".idx")
    return [folder / candidate for candidate in (name, dotted, f"{name}.gz", f"{dotted}.gz")]


def _find(folder: Path, name: str) -> Path:
    for candidate in _candidates(folder, name):
        if candidate.exists():
            return candidate
    raise UsageError(
        "no such file", folder / name, remedy="--data-dir takes a folder with IDX files, raw or .gz"
    )


def _read(path: Path, rank: int) -> NDArray[np.uint8]:
    return read_idx_gz(path, rank) if path.suffix == ".gz" else map_idx(path, rank)


def _raw_sha256(path: Path, array: NDArray[np.uint8]) -> str:
    if path.suffix != ".gz":
        return sha256_of(path)
    digest = hashlib.sha256(pack_header(array.shape))
    digest.update(array.data)
    return digest.hexdigest()
