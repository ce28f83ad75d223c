"""``mnist-softmax train``."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.cli.config import config_option, effective_config
from mnist_softmax.settings import Settings

if TYPE_CHECKING:
    from mnist_softmax.data.split import Split
    from mnist_softmax.records.receipt import Epoch
    from mnist_softmax.runs.model import Model


@options.command(
    "train",
    "Train, and save the weights with their receipt.",
    "mnist-softmax train --lr 0.2 --reg 1e-4 --out weights.npy",
)
@config_option
@options.data("mnist")
@options.settings
@options.path(
    "-o", "--out", suffix=".npy", default="weights.npy", show_default=True, help="Where to save the weights."
)
@options.path("--log", help="Write one JSON object per epoch to this file.")
@click.option(
    "--resume", is_flag=True, help="Continue from the checkpoint of an interrupted run, if there is one."
)
@click.option("--print-config", is_flag=True, help="Print the settings as a config file, and exit.")
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    data: options.Data,
    settings: Settings,
    features: tuple[str, ...],
    out: Path,
    log: Path | None,
    resume: bool,
    print_config: bool,
    json: bool,
) -> None:
    """Train softmax regression by minibatch gradient descent, or with --solver lbfgs by L-BFGS.

    L-BFGS lowers the loss over all rows at once and ends early if rounding hides the next step; --lr,
    --momentum, --schedule and --batch-size do not go with it.

    The receipt in the weights file records the features, and every command that reads the weights applies
    them. On a terminal the run ends with sparklines of loss and accuracy; show --history draws them again.

    Every option can also be set in a config file or by an environment variable, such as
    MNIST_SOFTMAX_TRAIN_LR=0.1. The command line wins over the environment, and that over the file.
    """
    from mnist_softmax.records.weights import checkpoint_path

    if print_config:
        dataset = data.source.dataset if data.source else "mnist"
        folder = data.source.data_dir if data.source else None
        for line in effective_config(ctx, settings, dataset, folder):
            output.emit(line)
        return
    inputs.check_outputs(data, None, [out, checkpoint_path(out), log])
    split = inputs.open_split(data, "train")
    train_and_report(split, settings, features, out, log=log, resume=resume, as_json=json)


def train_and_report(
    split: "Split",
    settings: Settings,
    features: tuple[str, ...],
    out: Path,
    *,
    log: Path | None = None,
    resume: bool = False,
    as_json: bool = False,
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
