"""From a source to its rows: fetches what is missing, with a bar on a terminal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_softmax.cli import output
from mnist_softmax.cli.options import mirrors_from_environment
from mnist_softmax.datasets import DATASETS
from mnist_softmax.errors import UsageError

if TYPE_CHECKING:
    from mnist_softmax.cache import CachedFile
    from mnist_softmax.data import Source, Split
    from mnist_softmax.download import Progress


def check_apart(target: Path, *weights: Path) -> None:
    """Refuse to write `target` where it would take the place of weights, their receipt or their checkpoint.

    Raises
    ------
    UsageError : it would; or see `files.check_writable_target`.
    """
    from mnist_softmax.checkpoint import checkpoint_path
    from mnist_softmax.files import check_writable_target
    from mnist_softmax.weights import receipt_path

    check_writable_target(target)
    for path in weights:
        for taken in (path, receipt_path(path), checkpoint_path(path)):
            if target.resolve() == taken.resolve():
                raise UsageError("this file is part of the weights", target, remedy="name another one")


@contextmanager
def _download_bar() -> Iterator["Progress"]:
    """Turn `download`'s reports into one bar at a time."""
    from contextlib import ExitStack

    shown: dict[str, Any] = {"name": None, "done": 0, "update": None}
    with ExitStack() as stack:

        def report(name: str, done: int, total: int) -> None:
            if name != shown["name"] or done < shown["done"]:
                stack.close()
                shown.update(
                    name=name, done=0, update=stack.enter_context(output.progress_bar(total, name, "B"))
                )
            shown["update"](done - shown["done"])
            shown["done"] = done

        yield report


def fetch(dataset: str, cache_dir: Path | None, **options: Any) -> "dict[str, CachedFile]":
    """Make sure that a dataset is in the cache and right; see `cache.ensure` for `options`."""
    from mnist_softmax import cache

    options.setdefault("mirrors", mirrors_from_environment())
    with _download_bar() as progress:
        return cache.ensure(
            DATASETS[dataset],
            cache_dir or cache.default_cache_dir(),
            progress=progress,
            notify=output.warn,
            **options,
        )


def open_split(
    source: "Source",
    split: str,
    cache_dir: Path | None,
    *,
    offline: bool,
    preprocessing: Sequence[str],
    **options: Any,
) -> "Split":
    """Open and prepare a split of a source, fetching its dataset where that is needed and allowed.

    `preprocessing` names steps of `preprocess`: those of the weights that the rows are for.

    Raises
    ------
    MnistSoftmaxError : see `data.folder_split`, `data.sample_split`, `cache.ensure`, `data.cached_split`.
    """
    from dataclasses import replace

    from mnist_softmax import data
    from mnist_softmax.preprocess import prepared

    name = source.dataset or ""
    if source.data_dir:
        rows = data.folder_split(source.data_dir, split)
    elif not DATASETS[name].mirrors:
        rows = data.sample_split(split)
    else:
        rows = data.cached_split(fetch(name, cache_dir, offline=offline, **options), split)
    if name:
        rows = replace(rows, known_classes=len(DATASETS[name].class_names))
    return prepared(rows, preprocessing)
