"""What a command reads: rows, weights, mirrors; and the check that it overwrites none of it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.options import CONFIG

if TYPE_CHECKING:
    from mnist_softmax.cli.options import Data
    from mnist_softmax.data.split import Source, Split
    from mnist_softmax.data.transfer import Patience
    from mnist_softmax.runs.model import Model


def open_split(
    data: "Data", split: str, source: "Source | None" = None, patience: "Patience | None" = None
) -> "Split":
    """Open a split of `source`, else of the data named, else of mnist; draw a bar while fetching."""
    from mnist_softmax import blas
    from mnist_softmax.data import open as opening
    from mnist_softmax.data.transfer import NORMAL

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


def check_outputs(
    data: "Data",
    source: "Source | None",
    outputs: Sequence[Path | None],
    weights: Sequence[Path] = (),
) -> None:
    """Refuse to overwrite anything that the command reads: config, data, weights, checkpoints.

    Raises
    ------
    UsageError, LocalIOError : see `files.check_outputs`.
    """
    from mnist_softmax import files
    from mnist_softmax.data.open import files_of
    from mnist_softmax.data.split import Source
    from mnist_softmax.records.checkpoint import checkpoint_path

    config = click.get_current_context().meta.get(CONFIG)
    of_data = files_of(source or data.source or Source(dataset="mnist"), data.cache_dir)
    reads = [*weights, *map(checkpoint_path, weights), *of_data, *([config] if config else [])]
    files.check_outputs(outputs, reads)
