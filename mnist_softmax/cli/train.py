"""``mnist-softmax train``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.config import config_option
from mnist_softmax.cli.inputs import check_apart, open_split
from mnist_softmax.cli.options import (
    LR,
    MOMENTUM,
    REG,
    SEED,
    chosen_source,
    deskew_option,
    json_option,
    path_option,
    preprocessing_steps,
    schedule_options,
    source_options,
)

if TYPE_CHECKING:
    from mnist_softmax.data import Source, Split
    from mnist_softmax.run import Result, Settings


@click.command(
    "train",
    short_help="Train, and save weights and receipt.",
    epilog="\b\nExample:\n  mnist-softmax train --lr 0.2 --reg 1e-4 --out weights.npy",
)
@config_option
@source_options("mnist")
@click.option("--lr", type=LR, default=0.2, show_default=True, help="Learning rate.")
@click.option("--reg", type=REG, default=1e-4, show_default=True, help="lambda of the L2 penalty.")
@click.option(
    "--momentum", type=MOMENTUM, default=0.9, show_default=True, help="0 is plain gradient descent."
)
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Draws the validation rows and shuffles.",
)
@schedule_options
@deskew_option
@path_option(
    "--out", default="weights.npy", show_default=True, help="Where the weights go; .json is the receipt."
)
@path_option("--log", help="Write one JSON object per epoch to this file.")
@click.option(
    "--resume", is_flag=True, help="Go on from the checkpoint of an interrupted run, if there is one."
)
@json_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train softmax regression by minibatch gradient descent.

    Every option can also be set in a config file or by environment, such as MNIST_SOFTMAX_TRAIN_LR=0.1; the
    command line wins over the environment, and that over the file.
    """
    from mnist_softmax import files, weights
    from mnist_softmax.data import Source
    from mnist_softmax.run import Settings

    out: Path = options["out"]
    for target in (out, weights.receipt_path(out)):
        files.check_writable_target(target)
    if options["log"]:
        check_apart(options["log"], out)
    source = chosen_source(ctx, options["dataset"], options["data_dir"]) or Source(dataset="mnist")
    split = open_split(
        source,
        "train",
        options["cache_dir"],
        offline=options["offline"],
        preprocessing=preprocessing_steps(options),
    )
    settings = Settings(**{name: options[name] for name in Settings.__dataclass_fields__})
    result, sha256 = train_and_save(
        split, source, settings, out, log=options["log"], resume=options["resume"]
    )
    report(result, sha256, out, source, as_json=options["json"])


def train_and_save(
    split: "Split",
    source: "Source",
    settings: "Settings",
    out: Path,
    *,
    log: Path | None = None,
    resume: bool = False,
) -> "tuple[Result, str]":
    """Run the training with a bar and a line per epoch; save it; return it with the weights' SHA-256."""
    from mnist_softmax import run

    def show(entry: dict[str, Any]) -> None:
        text = f"epoch {entry['epoch']}/{settings.epochs}: loss {entry['running_loss']:.4f}"
        if entry["validation_loss"] is not None:
            accuracy = output.percent(entry["validation_accuracy"])
            text += f", validation loss {entry['validation_loss']:.4f}, accuracy {accuracy}"
        output.note(text)

    settings = settings.for_rows(len(split.labels))
    total = settings.epochs * (len(split.labels) - (settings.val_size or 0))
    with output.progress_bar(total, "training", "row") as advance:
        result = run.fit(
            split,
            source,
            settings,
            out=out,
            log=log,
            resume=resume,
            on_epoch=show,
            on_rows=advance,
            notify=output.warn,
        )
    return result, run.save_result(out, result)


def report(result: "Result", sha256: str, out: Path, source: "Source", *, as_json: bool) -> None:
    """Print what a finished run reached."""
    receipt = result.receipt
    summary = {
        "weights": str(out),
        "weights_sha256": sha256,
        "loss": receipt["loss"],
        "train_accuracy": receipt["train_accuracy"],
        "validation_accuracy": receipt["validation_accuracy"],
        "epochs": receipt["settings"]["epochs"],
        "seconds": round(result.seconds, 3),
        "dataset": source.label,
    }
    if as_json:
        output.emit_json(summary)
        return
    validation = receipt["validation_accuracy"]
    epochs = "1 epoch" if summary["epochs"] == 1 else f"{summary['epochs']} epochs"
    held_out = "" if validation is None else f", validation {output.percent(validation)}"
    output.emit(
        f"{out}: loss {receipt['loss']:.4f}, accuracy on the {receipt['rows']} rows trained on "
        f"{output.percent(receipt['train_accuracy'])}{held_out}; "
        f"{epochs} of {source.label} in {result.seconds:.2f} s"
    )
