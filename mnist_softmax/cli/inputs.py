"""What a command reads: rows, weights, mirrors; and the check that it overwrites none of it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.options import CONFIG
from mnist_softmax.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from mnist_softmax.cli.options import Data
    from mnist_softmax.data.patience import Patience
    from mnist_softmax.data.split import Source, Split
    from mnist_softmax.records.receipt import Receipt
    from mnist_softmax.runs.cluster.connection import Connection
    from mnist_softmax.runs.model import Model


def open_split(
    data: "Data", split: str, source: "Source | None" = None, patience: "Patience | None" = None
) -> "Split":
    """Open a split of `source`, else of the data named, else of mnist; draw a bar while fetching."""
    from mnist_softmax import blas
    from mnist_softmax.data import open as opening
    from mnist_softmax.data.patience import NORMAL

    blas.claim_memory()
    wanted = source or data.source
    with output.download_bar() as progress:
        return opening.open_split(
            wanted.dataset if wanted else None,
            split,
            data_dir=wanted.data_dir if wanted else None,
            cache_dir=data.cache_dir,
            offline=data.offline,
            mirrors=mirrors_from_environment(),
            patience=patience or NORMAL,
            progress=progress,
            notify=output.warn,
        )


@contextmanager
def connected(address: str | None, data: "Data") -> "Iterator[Connection | None]":
    """Be connected to a cluster, if there is an address, for the time of a block."""
    if address is None:
        yield None
        return
    from mnist_softmax.runs.cluster import connection

    with connection.connected(address, output.warn, data.cache_dir) as found:
        yield found


def mirrors_from_environment() -> list[str] | None:
    """The mirrors of MNIST_SOFTMAX_MIRROR, separated by white space; None where it names none."""
    return os.environ.get("MNIST_SOFTMAX_MIRROR", "").split() or None


def load_model(path: Path) -> "Model":
    """Read weights; warn if they have no receipt."""
    from mnist_softmax import blas
    from mnist_softmax.runs.model import load

    blas.claim_memory()
    model = load(path)
    if model.receipt is None:
        output.warn(f"no receipt in the weights, so they are applied to plain pixels: {path}")
    return model


def load_with_receipt(path: Path) -> "tuple[Model, Receipt]":
    """Read weights for what their receipt says.

    Raises
    ------
    WeightsError : they have none.
    """
    from mnist_softmax.runs.model import load

    model = load(path)
    if model.receipt is None:
        raise WeightsError("no receipt", path, remedy="how these weights were trained is unknown")
    return model, model.receipt


def check_outputs(
    data: "Data",
    source: "Source | None",
    outputs: Sequence[Path | None],
    weights: Sequence[Path] = (),
) -> None:
    """Check the outputs of a command before any work is done; None stands for an output not asked for.

    Raises
    ------
    UsageError : an output is a file that the command reads (config, data, weights, checkpoint), another
        output, stdout or stderr, whatever its name.
    UsageError, LocalIOError : see `files.check_writable_target`.
    """
    from mnist_softmax.data.open import files_of
    from mnist_softmax.data.split import Source
    from mnist_softmax.files import check_writable_target
    from mnist_softmax.records.weights import checkpoint_path

    config = click.get_current_context().meta.get(CONFIG)
    of_data = files_of(source or data.source or Source(dataset="mnist"), data.cache_dir)
    taken = [*weights, *map(checkpoint_path, weights), *of_data, *([config] if config else []), 1, 2]
    for path in filter(None, outputs):
        check_writable_target(path)
        if any(_is_same(path, other) for other in taken):
            raise UsageError("the command already uses this file", path, remedy="name another one")
        taken.append(path)


def _is_same(path: Path, other: Path | int) -> bool:
    """Whether two paths, or a path and a file descriptor, are of the same file."""
    try:
        return os.path.samefile(path, other)  # noqa: PTH121  (which takes no descriptor)
    except OSError:  # one of them is still to be written
        return isinstance(other, Path) and os.path.realpath(path) == os.path.realpath(other)
