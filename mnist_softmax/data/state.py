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


def state_of(dataset: Dataset, cache_dir: Path) -> State:
    """The state of a dataset in a cache."""
    if not dataset.mirrors:
        return State("built in", sum(file.gz_bytes for file in dataset.files))
    try:
        with os.scandir(cache_dir / dataset.name) as entries:
            sizes = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}
    except FileNotFoundError:
        sizes = {}
    except OSError as error:
        return State(f"unreadable: {error.strerror}", 0)
    total = sum(sizes.values())
    if is_complete(dataset, cache_dir):
        return State("complete", total)
    return State("incomplete or changed" if total else "absent", total)
