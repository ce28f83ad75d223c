"""Open a Split by the name of a dataset, fetching what is missing, or from a folder."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from mnist_softmax.data.cache import CachedFile, Fetching, default_cache_dir, ensure
from mnist_softmax.data.catalog import DATASETS, MNIST_SAMPLE, SPLIT_FILES, Dataset
from mnist_softmax.data.folder import files_in, folder_split, read_idx
from mnist_softmax.data.patience import ignore
from mnist_softmax.data.split import Source, Split
from mnist_softmax.errors import DataError, UsageError
from mnist_softmax.files import sha256_of

_SAMPLE_FOLDER = Path(__file__).parent / "sample"


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
    data_dir : a folder with IDX files, raw or .gz, or a .npz, of images of any size; see `folder_split`.
    cache_dir : where datasets are kept; None for the user's cache folder.
    fetching : `offline`, `mirrors`, `patience`, `progress` and `notify`; see `cache.ensure`.

    Returns
    -------
    A Split; its images are mapped, not read, unless the file is a .gz.

    Raises
    ------
    UsageError : no such dataset, split, folder or file, or both `dataset` and `data_dir` are given.
    DownloadError, DataError, LocalIOError, OSError : see `cache.ensure` and `folder.folder_split`.
    """
    if dataset is not None and data_dir is not None:
        raise UsageError("a dataset and a data_dir exclude each other")
    if split not in SPLIT_FILES:
        raise UsageError("no such split", expected="train or test", got=split)
    if data_dir is not None:
        return folder_split(Path(data_dir), split, fetching.get("notify", ignore))
    name = "mnist" if dataset is None else dataset
    if name not in DATASETS:
        raise UsageError("no such dataset", expected=f"one of {', '.join(DATASETS)}", got=name)
    known = DATASETS[name]
    if not known.mirrors:
        return _sample_split(known, split)
    files = ensure(known, Path(cache_dir) if cache_dir else default_cache_dir(), **fetching)
    images, labels = (files[file] for file in SPLIT_FILES[split])
    opened = Split.of(
        read_idx(images.path, 3),
        read_idx(labels.path, 1),
        known.class_names,
        source=Source(dataset=name),
        name=split,
        files={file.name: file.raw_sha256 for file in (images, labels)},
    )
    return replace(opened, mapped={file.name: (file.path, file.path.stat()) for file in (images, labels)})


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
    paths = {file: _SAMPLE_FOLDER / file.packed_name for file in MNIST_SAMPLE.files}
    return [
        CachedFile(
            file.name, path, path, file.packed_bytes, file.packed_sha256, file.raw_sha256 or "", "built in"
        )
        for file, path in paths.items()
    ]


def _sample_split(sample: Dataset, split: str) -> Split:
    """Unpack a split of the built-in sample in memory (8 MB for "train")."""
    names = SPLIT_FILES[split]
    files = [file for file in sample.files if file.name in names]
    for file in files:
        if sha256_of(_SAMPLE_FOLDER / file.packed_name) != file.packed_sha256:
            raise DataError("the built-in sample is damaged", _SAMPLE_FOLDER, remedy="reinstall the package")
    images, labels = (
        read_idx(_SAMPLE_FOLDER / f"{name}.gz", rank) for name, rank in zip(names, (3, 1), strict=True)
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
    if source.data_dir:
        return files_in(source.data_dir)
    known, cache = DATASETS[source.dataset or "mnist"], cache_dir or default_cache_dir()
    shelf = cache / (known.folder or known.name)
    return [path for f in known.files for path in (cache / known.name / f.name, shelf / f.packed_name)]
