"""``mnist-softmax info``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_softmax.cli import inputs, options, output

if TYPE_CHECKING:
    from mnist_softmax.records.receipt import Receipt


@options.command("info", "Print the receipt of weights.", "mnist-softmax info weights.npy")
@click.argument("weights", type=options.PATH)
@options.as_json
def command(weights: Path, json: bool) -> None:
    """Print the receipt of WEIGHTS: data, features, settings, loss, history and versions.

    With --json the receipt is printed as it is in the file.
    """
    from mnist_softmax.records.receipt import encode

    model, receipt = inputs.load_with_receipt(weights)
    if json:
        output.emit_json(encode(receipt))
        return
    rows, classes = model.array.shape
    output.emit(f"{weights}: {rows} x {classes} float32, SHA-256 of the file {model.sha256}")
    for name, value in _facts(receipt):
        output.emit(f"{name:<24}{value}")
    for entry in receipt.history:
        output.emit(
            f"{f'epoch {entry.epoch}':<24}loss {entry.running_loss:.4f}"
            + ("" if entry.validation_loss is None else f", validation loss {entry.validation_loss:.4f}")
            + f", validation accuracy {output.percent(entry.validation_accuracy)}"
        )


def _facts(receipt: "Receipt") -> Iterator[tuple[str, str]]:
    """Name and value of each line."""
    yield "trained on", f"{receipt.rows} rows of {receipt.source.label}"
    yield "images", f"{receipt.image_height} x {receipt.image_width} pixels"
    yield "classes", ", ".join(receipt.class_names)
    yield "features", ", ".join(receipt.features) or "the pixels themselves"
    yield from ((name, str(value)) for name, value in receipt.settings.items())
    yield "loss, with the penalty", f"{receipt.loss:.6f}"
    yield "accuracy on those rows", output.percent(receipt.train_accuracy)
    yield "validation accuracy", output.percent(receipt.validation_accuracy)
    yield from receipt.versions.items()
    yield from receipt.files.items()
    yield "SHA-256 of the array", receipt.array_sha256
