"""``mnist-softmax eval``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.inputs import check_apart, open_split
from mnist_softmax.cli.options import FiniteFloat, chosen_source, json_option, path_option, source_options
from mnist_softmax.errors import GateError, WeightsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnist_softmax.data import Source, Split
    from mnist_softmax.metrics import Evaluation
    from mnist_softmax.weights import Weights

FRACTION = FiniteFloat(0, 1)


@click.command(
    "eval",
    short_help="Score weights; fail below a gate.",
    epilog="\b\nExample:\n  mnist-softmax eval weights.npy --min-accuracy 0.92",
)
@click.argument("weights", type=click.Path(path_type=Path), default="weights.npy")
@source_options("what the receipt names, else mnist")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
@click.option("--min-accuracy", type=FRACTION, help="Exit 7 below this accuracy, a fraction from 0 to 1.")
@click.option("--min-class-recall", type=FRACTION, help="Exit 7 if any class's recall is below this.")
@click.option("--confusion", is_flag=True, help="Print the confusion matrix; its rows are the true class.")
@path_option("--predictions", metavar="FILE", help="Write a CSV: row, label, predicted, probability.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Score WEIGHTS (default: weights.npy) on the test rows.

    Prints accuracy with its 95 % Wilson interval, log loss, and precision and recall per class.
    """
    from mnist_softmax import weights as weights_module

    if options["predictions"]:
        check_apart(options["predictions"], options["weights"])
    weights = weights_module.load(options["weights"])
    source = source_for(weights, chosen_source(ctx, options["dataset"], options["data_dir"]))
    split = open_split(
        source,
        options["split"],
        options["cache_dir"],
        offline=options["offline"],
        preprocessing=weights.preprocessing,
    )
    evaluation = score(weights, split)
    names = class_names(weights, source)
    if options["predictions"]:
        _write_predictions(options["predictions"], evaluation, split)
    facts = summary(evaluation, names, source, options["split"], weights.sha256)
    if options["json"]:
        output.emit_json(facts)
    else:
        print_summary(facts, confusion=options["confusion"])
    _check_gates(evaluation, names, options, options["weights"])


def trained_on(weights: "Weights") -> "Source | None":
    """What the receipt says that weights were trained on; None where nothing says it."""
    from mnist_softmax.data import Source

    receipt = weights.receipt or {}
    folder = receipt.get("data_dir")
    if receipt.get("dataset") or folder:
        return Source(dataset=receipt.get("dataset"), data_dir=Path(folder) if folder else None)
    return None


def source_for(weights: "Weights", chosen: "Source | None") -> "Source":
    """What weights are scored on: the choice, else what their receipt names, else mnist."""
    from mnist_softmax.data import Source

    known = trained_on(weights)
    if chosen is None:
        return known or Source(dataset="mnist")
    same = known is None or (
        chosen.dataset == known.dataset and (chosen.data_dir and chosen.data_dir.resolve()) == known.data_dir
    )
    if not same and known:
        output.warn(f"the weights were trained on {known.label}, not on {chosen.label}: {weights.path}")
    return chosen


def class_names(weights: "Weights", source: "Source") -> list[str]:
    """Names of the classes: the receipt's, else the dataset's, else their numbers."""
    from mnist_softmax.datasets import DATASETS

    classes = weights.array.shape[1]
    if weights.receipt:
        return list(weights.receipt["class_names"])
    names = DATASETS[source.dataset].class_names if source.dataset else ()
    return list(names) if len(names) == classes else [str(label) for label in range(classes)]


def fitting_parameters(weights: "Weights", split: "Split") -> "NDArray[np.float32]":
    """The parameters (N + 1, L) of weights for a split.

    Raises
    ------
    WeightsError : they do not fit its pixels or classes.
    """
    parameters = weights.parameters(split.images.shape[1])
    classes = split.known_classes or max(split.classes, parameters.shape[1])
    if classes != parameters.shape[1]:
        raise WeightsError(
            "the weights do not fit the labels",
            weights.path,
            expected=f"{classes} classes",
            got=parameters.shape[1],
        )
    return parameters


def score(weights: "Weights", split: "Split") -> "Evaluation":
    """Score weights on a split.

    Raises
    ------
    WeightsError : they do not fit its pixels or classes.
    """
    from mnist_softmax import metrics

    return metrics.evaluate(fitting_parameters(weights, split), split.images, split.labels)


def summary(
    evaluation: "Evaluation", names: list[str], source: "Source", split: str, sha256: str
) -> dict[str, Any]:
    """The JSON object that `eval` prints."""
    from mnist_softmax.metrics import wilson_interval

    low, high = wilson_interval(evaluation.correct, evaluation.rows)
    rows_of_class = evaluation.confusion.sum(axis=1)
    return {
        "accuracy": evaluation.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "log_loss": evaluation.log_loss,
        "rows": evaluation.rows,
        "dataset": source.label,
        "split": split,
        "weights_sha256": sha256,
        "classes": [
            {"label": label, "name": name, "precision": precision, "recall": recall, "rows": int(rows)}
            for label, (name, precision, recall, rows) in enumerate(
                zip(names, evaluation.precision, evaluation.recall, rows_of_class, strict=True)
            )
        ],
        "confusion": evaluation.confusion.tolist(),
    }


def print_summary(facts: dict[str, Any], *, confusion: bool) -> None:
    """Print what `eval` prints without --json."""
    low, high = output.percent(facts["accuracy_low"]), output.percent(facts["accuracy_high"])
    output.emit(
        f"accuracy {output.percent(facts['accuracy'])} (95 % interval {low} to {high}), "
        f"log loss {facts['log_loss']:.4f}, {facts['rows']} {facts['split']} rows of {facts['dataset']}"
    )
    output.emit("")
    classes = facts["classes"]
    named = any(entry["name"] != str(entry["label"]) for entry in classes)
    output.emit(f"{'class':>5}  {'precision':>9}  {'recall':>9}  {'rows':>6}" + ("  name" if named else ""))
    for entry in classes:
        line = f"{entry['label']:>5}  {output.percent(entry['precision']):>9}"
        line += f"  {output.percent(entry['recall']):>9}  {entry['rows']:>6}"
        output.emit(line + (f"  {entry['name']}" if named else ""))
    if confusion:
        output.emit("")
        output.emit("confusion matrix: a row is the true class, a column the predicted one")
        width = max(len(str(count)) for row in facts["confusion"] for count in row) + 1
        width = max(width, len(str(len(classes) - 1)) + 1)
        output.emit(" " * 5 + "".join(f"{entry['label']:>{width}}" for entry in classes))
        for entry, row in zip(classes, facts["confusion"], strict=True):
            output.emit(f"{entry['label']:>5}" + "".join(f"{count:>{width}}" for count in row))


def _write_predictions(path: Path, evaluation: "Evaluation", split: "Split") -> None:
    from mnist_softmax.files import atomic_write

    with atomic_write(path) as file:
        file.write(b"row,label,predicted,probability\n")
        columns = (split.labels, evaluation.predicted, evaluation.probability)
        for row, (label, predicted, probability) in enumerate(zip(*columns, strict=True)):
            file.write(b"%d,%d,%d,%.6f\n" % (row, label, predicted, probability))


def _check_gates(evaluation: "Evaluation", names: list[str], options: dict[str, Any], weights: Path) -> None:
    """Fail if a gate was missed; a gate passes at equality. A class with no rows has no recall to miss."""
    gates: list[tuple[str, float | None, float]] = [
        ("accuracy", options["min_accuracy"], evaluation.accuracy)
    ]
    recalls = [(r, n) for r, n in zip(evaluation.recall, names, strict=True) if r is not None]
    recall, name = min(recalls)
    gates.append((f"recall of class {name}", options["min_class_recall"], recall))
    missed = [(what, gate, got) for what, gate, got in gates if gate is not None and got < gate]
    if missed:
        raise GateError(
            "quality gate missed",
            weights,
            expected=" and ".join(f"{what} >= {gate:g}" for what, gate, _ in missed),
            got=" and ".join(f"{got:.6g} (short by {gate - got:.3g})" for _, gate, got in missed),
        )
