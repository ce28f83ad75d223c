"""``mnist-softmax reproduce``."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.errors import GateError

if TYPE_CHECKING:
    from mnist_softmax.data.split import Source
    from mnist_softmax.runs.model import Model
    from mnist_softmax.runs.replay import Outcome


@options.command(
    "reproduce", "Train again as a receipt says, and compare.", "mnist-softmax reproduce weights.npy"
)
@options.weights
@options.path(
    "--data-dir", metavar="DIR", help="Where the same files are now, if not where the receipt says."
)
@options.cache
@click.option("--dry-run", is_flag=True, help="Print the train command that does the same, and exit.")
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, weights: Path, data: options.Data, dry_run: bool, json: bool) -> None:
    """Train WEIGHTS (default: weights.npy) again as their receipt says, and compare.

    Writes nothing. With the same versions on the same type of processor the array must be identical. With
    others, which are printed, a weight may differ by 1e-4 of the largest one, and loss and accuracies by
    0.001. Exits 7 if a difference is larger.
    """
    from mnist_softmax.runs import reproduce
    from mnist_softmax.runs.model import load

    model = load(weights)
    receipt = reproduce.receipt_of(model)
    source = data.source or receipt.source
    if dry_run:
        _print_command(ctx, model, source, json=json)
        return
    split = inputs.open_split(data, "train", source)
    started = time.perf_counter()
    with output.progress_bar(
        receipt.hyperparameters.epochs * receipt.rows, "training again", "row"
    ) as advance:
        outcome = reproduce.reproduce(model, split, advance)
    seconds = time.perf_counter() - started
    if json:
        output.emit_json(reproduce.facts(model, source, outcome, seconds))
    else:
        _print(weights, outcome, seconds)
    if outcome.faults:
        raise GateError(
            "not reproduced",
            weights,
            expected="weights and figures within the tolerance" if outcome.versions else "the same bytes",
            got=" and ".join(outcome.faults),
        )


def _print_command(ctx: click.Context, model: "Model", source: "Source", *, json: bool) -> None:
    """Print the command, quoted for a shell. It writes to a file beside the weights, never over them."""
    from mnist_softmax.records.receipt import train_arguments
    from mnist_softmax.runs.reproduce import receipt_of

    weights: Path = ctx.params["weights"]
    beside = weights.with_name(f"{weights.stem}-again{weights.suffix}")
    arguments = train_arguments(receipt_of(model), source, beside)
    if ctx.get_parameter_source("cache_dir") is ParameterSource.COMMANDLINE:
        arguments += ["--cache-dir", str(ctx.params["cache_dir"])]
    if ctx.get_parameter_source("offline") is ParameterSource.COMMANDLINE:
        arguments.append("--offline")
    line = shlex.join([output.PROGRAM, *arguments])
    if json:
        output.emit_json({"command": line, "arguments": arguments})
    else:
        output.emit(line)


def _print(weights: Path, outcome: "Outcome", seconds: float) -> None:
    words = {"identical": "byte-identical", "equal": "equal within the tolerance", "different": "different"}
    text = f"{weights}: {words[outcome.word]}, trained again in {seconds:.2f} s"
    if outcome.largest_difference:
        was, now = map(output.percent, outcome.figures["train_accuracy"])
        text += f"; largest difference {outcome.largest_difference:.1e} of the largest weight"
        text += f", accuracy on the rows trained on {was}, again {now}"
    output.emit(text)
    for name, (there, here) in outcome.versions.items():
        output.emit(f"different {name}: {there or 'unknown'} in the receipt, {here or 'unknown'} here")
