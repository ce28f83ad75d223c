"""``mnist-softmax eval``."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.errors import GateError

if TYPE_CHECKING:
    from mnist_softmax.data.split import Split
    from mnist_softmax.scoring.metrics import Evaluation


#: How many pairs of classes stand in for a matrix.
_MOST_PAIRS = 20


@options.command(
    "eval", "Score weights; fail below a gate.", "mnist-softmax eval weights.npy --min-accuracy 0.92"
)
@options.weights
@options.data("what the receipt names, else mnist")
@options.split
@click.option("--min-accuracy", type=options.FRACTION, help="Exit 7 below this accuracy (from 0 to 1).")
@click.option(
    "--min-class-recall",
    type=options.FRACTION,
    help="Exit 7 if any class's recall is below this (from 0 to 1).",
)
@click.option(
    "--confusion",
    is_flag=True,
    help="Print the confusion matrix, or if it is wider than the screen the most confused pairs of classes.",
)
@options.path("--predictions", metavar="FILE", help="Write a CSV: row, label, predicted, probability.")
@options.as_json
def command(
    weights: Path,
    data: options.Data,
    split: str,
    min_accuracy: float | None,
    min_class_recall: float | None,
    confusion: bool,
    predictions: Path | None,
    json: bool,
) -> None:
    """Score WEIGHTS (default: weights.npy) on the test rows.

    Prints accuracy with its 95 % Wilson interval, log loss, and precision and recall per class.
    """
    from mnist_softmax.runs import score

    model = inputs.load_model(weights)
    source = score.data_for([model], data.source, output.warn)
    inputs.check_outputs(data, source, [predictions], [weights])
    rows = inputs.open_split(data, split, source)
    evaluation = score.evaluate(model, rows)
    if predictions:
        _write_predictions(predictions, evaluation, rows)
    scores = score.scores(model, rows, evaluation)
    if json:
        output.emit_json(scores)
    else:
        print_scores(scores, confusion=confusion)
    _check_gates(scores, min_accuracy, min_class_recall, weights)


def print_scores(scores: dict[str, Any], *, confusion: bool) -> None:
    """Print what `eval` prints without --json."""
    low, high = output.percent(scores["accuracy_low"]), output.percent(scores["accuracy_high"])
    output.emit(
        f"accuracy {output.percent(scores['accuracy'])} (95 % interval {low} to {high}), "
        f"log loss {scores['log_loss']:.4f}, {scores['rows']} {scores['split']} rows of {scores['dataset']}"
    )
    output.emit("")
    classes, percent = scores["classes"], output.percent
    named = any(entry["name"] != str(entry["label"]) for entry in classes)
    output.emit_table(
        ["class", "precision", "recall", "rows", *(["name"] if named else [])],
        [
            [entry["label"], percent(entry["precision"]), percent(entry["recall"]), entry["rows"]]
            + ([entry["name"]] if named else [])
            for entry in classes
        ],
    )
    if confusion:
        output.emit("")
        _print_confusion(classes, scores["confusion"])


def _print_confusion(classes: list[dict[str, Any]], confusion: list[list[int]]) -> None:
    """Print the matrix, or if it is too wide for the screen the most confused pairs."""
    import numpy as np

    from mnist_softmax.scoring.metrics import confused_pairs

    labels = [str(entry["label"]) for entry in classes]
    matrix = output.table(["", *labels], [[a, *b] for a, b in zip(labels, confusion, strict=True)])
    if max(map(len, matrix)) <= shutil.get_terminal_size().columns:
        output.emit("confusion matrix: a row is the true class, a column the predicted one")
        for line in matrix:
            output.emit(line)
        return
    pairs = confused_pairs(np.array(confusion), _MOST_PAIRS)
    if not pairs:
        output.emit("no class was taken for another")
        return
    output.emit("the most confused pairs of classes; the whole matrix is in eval --json")
    output.emit_table(
        ["true", "predicted", "count", "of the true class"],
        [
            [classes[i]["name"], classes[j]["name"], count, output.percent(count / classes[i]["rows"])]
            for i, j, count in pairs
        ],
    )


def _write_predictions(path: Path, evaluation: "Evaluation", split: "Split") -> None:
    from mnist_softmax.files import atomic_write

    with atomic_write(path) as file:
        file.write(b"row,label,predicted,probability\n")
        columns = (split.labels, evaluation.predicted, evaluation.probability)
        for row, (label, predicted, probability) in enumerate(zip(*columns, strict=True)):
            file.write(b"%d,%d,%d,%.6f\n" % (row, label, predicted, probability))


def _check_gates(
    scores: dict[str, Any], min_accuracy: float | None, min_class_recall: float | None, weights: Path
) -> None:
    """Fail if a score is below its gate. A class without rows has no recall and is left out."""
    recalls = [(entry["recall"], entry["name"]) for entry in scores["classes"] if entry["rows"]]
    recall, name = min(recalls)
    gates = (
        ("accuracy", min_accuracy, scores["accuracy"]),
        (f"recall of class {name}", min_class_recall, recall),
    )
    missed = [(what, gate, got) for what, gate, got in gates if gate is not None and got < gate]
    if missed:
        raise GateError(
            "quality gate missed",
            weights,
            expected=" and ".join(f"{what} >= {gate:g}" for what, gate, _ in missed),
            got=" and ".join(f"{got:.6g} (short by {gate - got:.3g})" for _, gate, got in missed),
        )
