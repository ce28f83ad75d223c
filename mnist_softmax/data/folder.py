"""A folder of somebody's own: IDX files under their usual names, or arrays in .npz files, and classes.txt."""

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.catalog import SPLIT_FILES
from mnist_softmax.data.idx import first_column, map_idx, pack_header, read_idx_gz
from mnist_softmax.data.npz import npz_files, read_npz
from mnist_softmax.data.patience import Notify, ignore
from mnist_softmax.data.split import Source, Split, is_unicode
from mnist_softmax.errors import DataError, UsageError, brief
from mnist_softmax.files import open_regular, sha256_of

#: The names of the classes, and the most bytes of them that are read.
CLASSES_FILE, _CLASSES_BYTES = "classes.txt", 1 << 16
#: What may precede "train-images-idx3-ubyte", such as "emnist-letters-"; what begins with a dot is hidden.
_PREFIX = re.compile(
    r"((?!\.).*-)(?:train|t10k|test)-(?:images[-.]idx3-ubyte|labels[-.]idx(?:1-ubyte|2-int))(?:\.gz)?"
)
_FORMS = {"images": ("idx3-ubyte",), "labels": ("idx1-ubyte", "idx2-int")}
_ROWS = {"train": ("train",), "test": ("t10k", "test")}


def folder_split(folder: Path, split: str, notify: Notify = ignore) -> Split:
    """Read a split from a folder; nothing is written there.

    Of IDX files raw ones are preferred and mapped; what is packed is unpacked in memory. The names may begin
    with a word, as EMNIST's and QMNIST's do, and have ``-`` or ``.`` before ``idx``; "test" may stand for
    "t10k". A folder without them may have one .npz, which may also be named in place of the folder, or K49's
    four. Images may have any size. ``classes.txt`` (UTF-8), if it is there, names the classes 0, 1, ..., one
    a line; there may be more than the labels need.

    Raises
    ------
    UsageError : the folder or a file does not exist, its name is not UTF-8, or the folder holds several data
        sets.
    DataError : a file is wrong, images and labels differ in number, there are no rows, or names are missing.
    OSError : a file cannot be read.
    """
    single = folder.suffix == ".npz" and folder.is_file()
    if not single and not folder.is_dir():
        raise UsageError("no such file" if folder.suffix == ".npz" else "no such folder", folder)
    if not is_unicode(os.fsencode(folder).decode(errors="surrogateescape")):
        raise UsageError("the folder's name is not UTF-8", folder, remedy="rename it, or link to it")
    names = SPLIT_FILES[split]
    if paths := () if single else _idx_files(folder, split):
        images, labels, mapped = _read_idx(paths, names)
    else:
        images, labels = read_npz((folder,) if single else _npz_files(folder, split), split, notify)
        mapped = {}
    checked = Split.of(images, labels, source=Source(data_dir=folder), name=split)
    class_names = _class_names((folder.parent if single else folder) / CLASSES_FILE, checked.class_names)
    arrays = checked.images.reshape(-1, checked.height, checked.width), checked.labels
    hashes = {  # last: hashing takes a second per gigabyte
        name: sha256_of(mapped[name][0]) if name in mapped else _idx_sha256(array)
        for name, array in zip(names, arrays, strict=True)
    }
    return replace(checked, class_names=class_names, files=hashes, mapped=mapped)


def _read_idx(
    paths: tuple[Path, ...], names: tuple[str, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], dict[str, tuple[Path, os.stat_result]]]:
    """Images and labels from their files, and which are mapped, as `Split.mapped` has them."""
    statuses = [path.stat() for path in paths]
    images, labels = (read_idx(path, rank) for path, rank in zip(paths, (3, 1), strict=True))
    usable = first_column(labels, paths[1])
    files = zip(names, paths, statuses, (True, usable is labels), strict=True)
    mapped = {name: (path, status) for name, path, status, as_is in files if as_is and path.suffix != ".gz"}
    return images, usable, mapped


def read_idx(path: Path, rank: int) -> NDArray[Any]:
    """Map an IDX file, or unpack it in memory if its name ends in ``.gz``; see `idx.map_idx`.

    Raises
    ------
    DataError : it is not right.
    OSError : it cannot be read.
    """
    with open_regular(path, DataError) as file:
        return (read_idx_gz if path.suffix == ".gz" else map_idx)(file, rank, path)


def files_in(folder: Path) -> list[Path]:
    """Where the data of a folder, or of the .npz in its place, may be."""
    there: list[Path] = []
    with suppress(OSError):
        there = [path for path in folder.iterdir() if path.suffix == ".npz" or _PREFIX.fullmatch(path.name)]
    return [folder, folder / CLASSES_FILE, folder.parent / CLASSES_FILE, *_usual(folder), *there]


def _usual(folder: Path) -> list[Path]:
    """Where files with MNIST's names may be."""
    return [path for split in _ROWS for what in _FORMS for path in _candidates(folder, "", split, what)]


def _candidates(folder: Path, prefix: str, split: str, what: str) -> list[Path]:
    """Where the images or labels of a split may be, the preferred place first."""
    return [
        folder / f"{prefix}{rows}-{what}{separator}{form}{packed}"
        for rows in (_ROWS[split][::-1] if prefix else _ROWS[split])
        for form in _FORMS[what]
        for packed in ("", ".gz")
        for separator in "-."
    ]


def _idx_files(folder: Path, split: str) -> tuple[Path, ...]:
    """The files of images and of labels; () if the folder has no IDX file of any split."""
    prefix = _prefix(folder)
    return () if prefix is None else tuple(_find(_candidates(folder, prefix, split, w)) for w in _FORMS)


def _prefix(folder: Path) -> str | None:
    """What the names begin with: "" where MNIST's own are there; None where there are none."""
    if any(path.exists() for path in _usual(folder)):
        return ""
    found = {match[1] for path in folder.iterdir() if (match := _PREFIX.fullmatch(path.name))}
    if len(found) > 1:
        got = ", ".join(sorted(prefix.rstrip("-") for prefix in found))
        remedy = "link or copy the files of one of them into a folder of its own"
        raise UsageError("several data sets in one folder", folder, got=got, remedy=remedy)
    return next(iter(found), None)


def _find(candidates: list[Path]) -> Path:
    for path in candidates:
        if path.exists():
            return path
    remedy = "--data-dir takes a folder with IDX files, raw or .gz, or a .npz file"
    raise UsageError("no such file", candidates[0], remedy=remedy)


def _npz_files(folder: Path, split: str) -> tuple[Path, ...]:
    return npz_files(folder, split) or (_find(_candidates(folder, "", split, "images")),)


def _idx_sha256(array: NDArray[np.uint8]) -> str:
    """The hash of the raw IDX file that would hold an array."""
    digest = hashlib.sha256(pack_header(array.shape))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


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
