"""``mnist-softmax reproduce``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mnist_softmax.cli import output
from mnist_softmax.cli.inputs import open_split
from mnist_softmax.cli.options import cache_options, json_option, path_option
from mnist_softmax.errors import GateError

if TYPE_CHECKING:
    from mnist_softmax.data import Source
    from mnist_softmax.reproduce import Comparison, Recipe
    from mnist_softmax.weights import Weights


@click.command(
    "reproduce",
    short_help="Train again as a receipt says, and compare.",
    epilog="\b\nExample:\n  mnist-softmax reproduce weights.npy",
)
@click.argument("weights", type=click.Path(path_type=Path), default="weights.npy")
@path_option(
    "--data-dir", metavar="DIR", help="Where the same files are now, if not where the receipt has them."
)
@cache_options
@click.option("--dry-run", is_flag=True, help="Print the train command that does the same, and stop.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train WEIGHTS (default: weights.npy) again as their receipt says, and compare.

    Nothing is written. With the same versions on the same type of processor the bytes must be the same. With
    others, which are named, no weight may be off by more than 1e-4 of the largest one, and neither loss nor
    accuracies by more than 0.001. Otherwise the exit code is 7.
    """
    from mnist_softmax import reproduce, run
    from mnist_softmax import weights as weights_module
    from mnist_softmax.data import Source

    made = weights_module.load(options["weights"])
    how = reproduce.recipe(made)
    source = Source(data_dir=options["data_dir"]) if options["data_dir"] else how.source
    if options["dry_run"]:
        _print_command(ctx, how, source, options)
        return
    split = open_split(
        source,
        "train",
        options["cache_dir"],
        offline=options["offline"],
        preprocessing=how.preprocessing,
    )
    reproduce.check_data(how, split, made.path)
    total = how.settings.epochs * (len(split.labels) - (how.settings.val_size or 0))
    with output.progress_bar(total, "training again", "row") as advance:
        again = run.fit(split, source, how.settings, on_rows=advance)
    comparison = reproduce.compare(made, how, again, split)
    if options["json"]:
        output.emit_json(_summary(made, comparison, source, again.seconds))
    else:
        _print_summary(made, comparison, again.seconds)
    if comparison.faults:
        raise GateError(
            "not reproduced",
            made.path,
            expected="weights and figures within the tolerance" if comparison.versions else "the same bytes",
            got=" and ".join(comparison.faults),
        )


def _print_command(ctx: click.Context, how: "Recipe", source: "Source", options: dict[str, Any]) -> None:
    """Print the command, as a shell takes it. It writes beside the weights, never over them."""
    from mnist_softmax.reproduce import train_arguments

    weights: Path = options["weights"]
    arguments = train_arguments(how, source, weights.with_name(f"{weights.stem}-again{weights.suffix}"))
    if ctx.get_parameter_source("cache_dir") is ParameterSource.COMMANDLINE:
        arguments += ["--cache-dir", str(options["cache_dir"])]
    if ctx.get_parameter_source("offline") is ParameterSource.COMMANDLINE:
        arguments.append("--offline")
    line = shlex.join([output.PROGRAM, *arguments])
    if options["json"]:
        output.emit_json({"command": line, "arguments": arguments})
    else:
        output.emit(line)


def _summary(made: "Weights", comparison: "Comparison", source: "Source", seconds: float) -> dict[str, Any]:
    """The JSON object that `reproduce` prints."""
    from mnist_softmax.reproduce import FIGURE_TOLERANCE, WEIGHT_TOLERANCE

    return {
        "weights": str(made.path),
        "weights_sha256": made.sha256,
        "outcome": comparison.outcome,
        "again_sha256": comparison.sha256,
        "largest_difference": comparison.largest_difference,
        "largest_difference_allowed": WEIGHT_TOLERANCE if comparison.versions else 0,
        "train_accuracy": comparison.accuracies and comparison.accuracies[0],
        "train_accuracy_again": comparison.accuracies and comparison.accuracies[1],
        "figures_allowed": FIGURE_TOLERANCE,
        "versions": {
            name: {"receipt": there, "here": here} for name, (there, here) in comparison.versions.items()
        },
        "faults": comparison.faults,
        "dataset": source.label,
        "seconds": round(seconds, 3),
    }


def _print_summary(made: "Weights", comparison: "Comparison", seconds: float) -> None:
    words = {"identical": "byte-identical", "equal": "equal within the tolerance", "different": "different"}
    text = f"{made.path}: {words[comparison.outcome]}, trained again in {seconds:.2f} s"
    if comparison.largest_difference and comparison.accuracies:
        was, now = map(output.percent, comparison.accuracies)
        text += f"; largest difference {comparison.largest_difference:.1e} of the largest weight"
        text += f", accuracy on the rows trained on {was}, again {now}"
    output.emit(text)
    for name, (there, here) in comparison.versions.items():
        output.emit(f"not the same: {name} {there or 'unknown'} in the receipt, {here or 'unknown'} here")
