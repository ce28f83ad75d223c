"""A training run on the command line: a bar, a line for each epoch, and what came out."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_softmax.cli import output
from mnist_softmax.settings import Settings

if TYPE_CHECKING:
    from mnist_softmax.data.split import Split
    from mnist_softmax.records.receipt import Epoch
    from mnist_softmax.runs.fit import Elsewhere
    from mnist_softmax.runs.model import Model


def train_and_report(
    split: "Split",
    settings: Settings,
    features: tuple[str, ...],
    out: Path,
    *,
    log: Path | None = None,
    resume: bool = False,
    as_json: bool = False,
    elsewhere: "Elsewhere | None" = None,
) -> "Model":
    """Train with a bar and a line per epoch, save, and print the result."""
    from mnist_softmax.runs.fit import fit

    def show(entry: "Epoch") -> None:
        text = f"epoch {entry.epoch}/{settings.epochs}: loss {entry.running_loss:.4f}"
        if entry.validation_loss is not None:
            accuracy = output.percent(entry.validation_accuracy)
            text += f", validation loss {entry.validation_loss:.4f}, accuracy {accuracy}"
        output.note(text)

    started = time.perf_counter()
    with output.progress_bar(settings.row_passes(len(split.labels)), "training", "row") as advance:
        model = fit(
            split,
            settings,
            features,
            out=out,
            log=log,
            resume=resume,
            on_epoch=show,
            on_rows=advance,
            notify=output.warn,
            elsewhere=elsewhere,
        )
    if output.is_terminal() and (model.receipt and len(model.receipt.history) > 1):
        _draw_history(model)
    _report(model, split, time.perf_counter() - started, as_json=as_json)
    return model


def _draw_history(model: "Model") -> None:
    from mnist_softmax.views.history import history
    from mnist_softmax.views.screen import Screen

    assert model.receipt is not None
    for line in history(Screen.of(sys.stderr, "never", os.environ), model.receipt):
        output.note(line)


def _report(model: "Model", split: "Split", seconds: float, *, as_json: bool) -> None:
    receipt = model.receipt
    assert receipt is not None
    epochs = len(receipt.history)
    if as_json:
        output.emit_json(
            {
                "weights": str(model.path),
                "weights_sha256": model.sha256,
                "loss": receipt.loss,
                "train_accuracy": receipt.train_accuracy,
                "validation_accuracy": receipt.validation_accuracy,
                "epochs": epochs,
                "seconds": round(seconds, 3),
                "dataset": split.source.label,
            }
        )
        return
    validation = receipt.validation_accuracy
    held_out = "" if validation is None else f", validation {output.percent(validation)}"
    output.emit(
        f"{model.path}: loss {receipt.loss:.4f}, accuracy on the {receipt.rows} rows trained on "
        f"{output.percent(receipt.train_accuracy)}{held_out}; "
        f"{epochs} epoch{'s' * (epochs != 1)} of {split.source.label} in {seconds:.2f} s"
    )
