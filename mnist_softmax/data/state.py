"""What the cache holds of a dataset, as far as a look at its folder tells; nothing is hashed or fetched."""

import os
from pathlib import Path
from typing import NamedTuple

from mnist_softmax.data.cache import is_complete
from mnist_softmax.data.catalog import Dataset


class State(NamedTuple):
    """Of a dataset: ``built in``, ``absent``, ``complete``, or what is wrong; and its bytes on disk."""

    state: str
    bytes: int


def bytes_in(folder: Path) -> int:
    """The size of the files of a folder; 0 if there is none.

    Raises
    ------
    OSError : it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except FileNotFoundError:
        return 0


def state_of(dataset: Dataset, cache_dir: Path) -> State:
    """The state of a dataset in a cache."""
    if not dataset.mirrors:
        return State("built in", sum(file.packed_bytes for file in dataset.files))
    try:
        total = bytes_in(cache_dir / dataset.name)
    except OSError as error:
        return State(f"unreadable: {error.strerror}", 0)
    if is_complete(dataset, cache_dir):
        return State("complete", total)
    return State("incomplete or changed" if total else "absent", total)
