"""``mnist-softmax eval``."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import inputs, options, output, types
from mnist_softmax.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mnist_softmax.data.split import Split
    from mnist_softmax.runs.model import Model
    from mnist_softmax.scoring.metrics import Evaluation
    from mnist_softmax.views.markdown import Part


#: How many pairs of classes stand in for a matrix.
_MOST_PAIRS = 20


@options.command(
    "eval", "Score weights; fail below a gate.", "mnist-softmax eval weights.npy --min-accuracy 0.92"
)
@options.weights
@options.data("what the receipt names, else mnist")
@click.option(
    "--split",
    type=click.Choice(["test", "train", "validation"]),
    default="test",
    show_default=True,
    help="Rows to use; validation: those of the training file that the receipt held out.",
)
@click.option("--min-accuracy", type=types.FRACTION, help="Exit 7 below this accuracy (from 0 to 1).")
@click.option(
    "--min-class-recall",
    type=types.FRACTION,
    help="Exit 7 if any class's recall is below this (from 0 to 1).",
)
@click.option(
    "--confusion",
    is_flag=True,
    help="Print the confusion matrix, or if it is wider than the screen the most confused pairs of classes.",
)
@options.path(
    "--predictions",
    metavar="FILE",
    help="Write a CSV: row (its number in the file of images), label, predicted, probability.",
)
@options.path(
    "--probabilities",
    metavar="FILE",
    help="Write the probability of each class as .npy: float64, a row for each row of --predictions.",
)
@options.as_report
def command(
    weights: Path,
    data: options.Data,
    split: str,
    min_accuracy: float | None,
    min_class_recall: float | None,
    confusion: bool,
    predictions: Path | None,
    probabilities: Path | None,
    form: str,
) -> None:
    """Score WEIGHTS (default: weights.npy) on the test rows.

    Prints accuracy with its 95 % Wilson interval, log loss, and precision and recall per class. On the
    validation rows the accuracy is that of the receipt; they must be of the data that the receipt names.
    """
    from mnist_softmax.runs import score

    outputs = [predictions, probabilities]
    numbers: Iterable[int]
    if split == "validation":
        model, receipt = inputs.load_with_receipt(weights)
        score.check_holds_out(receipt, weights)
        source = score.data_for([model], data.source)  # other data is an error
        inputs.check_outputs(data, source, outputs, [weights])
        rows, numbers = score.held_out(receipt, inputs.open_split(data, "train", source), weights)
    else:
        model = inputs.load_model(weights)
        source = score.data_for([model], data.source, output.warn)
        inputs.check_outputs(data, source, outputs, [weights])
        rows = inputs.open_split(data, split, source)
        numbers = range(len(rows.labels))
    evaluation = score.evaluate(model, rows)
    if predictions:
        _write_predictions(predictions, evaluation, rows, numbers)
    if probabilities:
        _write_probabilities(probabilities, model, rows)
    scores = score.scores(model, rows, evaluation)
    missed = _missed(scores, min_accuracy, min_class_recall, weights)
    if form == "json":
        output.emit_json(scores)
    elif form == "markdown":
        report = report_of(scores, confusion=confusion)
        output.emit_report([str(missed or ""), *report], f"mnist-softmax eval {weights}")
    else:
        output.emit_report(report_of(scores, confusion=confusion))
    if missed:
        raise missed


def report_of(scores: dict[str, Any], *, confusion: bool) -> "Iterator[Part]":
    """What `eval` prints without --json."""
    low, high = output.percent(scores["accuracy_low"]), output.percent(scores["accuracy_high"])
    yield (
        f"accuracy {output.percent(scores['accuracy'])} (95 % interval {low} to {high}), "
        f"log loss {scores['log_loss']:.4f}, {scores['rows']} {scores['split']} rows of {scores['dataset']}"
    )
    yield ""
    classes, percent = scores["classes"], output.percent
    named = any(entry["name"] != str(entry["label"]) for entry in classes)
    yield (
        ["class", "precision", "recall", "rows", *(["name"] if named else [])],
        [
            [entry["label"], percent(entry["precision"]), percent(entry["recall"]), entry["rows"]]
            + ([entry["name"]] if named else [])
            for entry in classes
        ],
    )
    if confusion:
        yield ""
        yield from _confusion(classes, scores["confusion"])


def _confusion(classes: list[dict[str, Any]], confusion: list[list[int]]) -> "Iterator[Part]":
    """The matrix, or if it is too wide for the screen the most confused pairs."""
    import numpy as np

    from mnist_softmax.scoring.metrics import confused_pairs

    labels = [str(entry["label"]) for entry in classes]
    matrix = (["", *labels], [[a, *b] for a, b in zip(labels, confusion, strict=True)])
    if max(map(len, output.table(*matrix))) <= shutil.get_terminal_size().columns:
        yield "confusion matrix: a row is the true class, a column the predicted one"
        yield matrix
        return
    pairs = confused_pairs(np.array(confusion), _MOST_PAIRS)
    if not pairs:
        yield "no class was taken for another"
        return
    yield "the most confused pairs of classes; the whole matrix is in eval --json"
    yield (
        ["true", "predicted", "count", "of the true class"],
        [
            [classes[i]["name"], classes[j]["name"], count, output.percent(count / classes[i]["rows"])]
            for i, j, count in pairs
        ],
    )


def _write_predictions(
    path: Path, evaluation: "Evaluation", split: "Split", numbers: "Iterable[int]"
) -> None:
    from mnist_softmax.files import atomic_write

    with atomic_write(path) as file:
        file.write(b"row,label,predicted,probability\n")
        columns = (numbers, split.labels, evaluation.predicted, evaluation.probability)
        for row in zip(*columns, strict=True):
            file.write(b"%d,%d,%d,%.6f\n" % row)


def _write_probabilities(path: Path, model: "Model", split: "Split") -> None:
    """Write the array (M, L) of `Model.predict_proba`, a block of rows at a time."""
    import numpy as np

    from mnist_softmax.files import atomic_write
    from mnist_softmax.scoring.metrics import blocks_of_log_probabilities

    parameters = model.parameters_for(split)
    shape = (len(split.labels), parameters.shape[1])
    with atomic_write(path) as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for log_S in blocks_of_log_probabilities(parameters, model.features_of(split)):
            file.write(np.exp(log_S).astype("<f8").tobytes())


def _missed(
    scores: dict[str, Any], min_accuracy: float | None, min_class_recall: float | None, weights: Path
) -> GateError | None:
    """The error if a score is below its gate. A class without rows has no recall and is left out."""
    recalls = [(entry["recall"], entry["name"]) for entry in scores["classes"] if entry["rows"]]
    recall, name = min(recalls)
    gates = (
        ("accuracy", min_accuracy, scores["accuracy"]),
        (f"recall of class {name}", min_class_recall, recall),
    )
    missed = [(what, gate, got) for what, gate, got in gates if gate is not None and got < gate]
    if not missed:
        return None
    return GateError(
        "quality gate missed",
        weights,
        expected=" and ".join(f"{what} >= {gate:g}" for what, gate, _ in missed),
        got=" and ".join(f"{got:.6g} (short by {gate - got:.3g})" for _, gate, got in missed),
    )
