"""Scoring: which rows weights are scored on, whether they fit, and the resulting figures."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.catalog import DATASETS
from mnist_softmax.data.split import Source, Split, train_validation_rows
from mnist_softmax.errors import WeightsError
from mnist_softmax.features import steps
from mnist_softmax.features.prepare import prepare
from mnist_softmax.records.receipt import Receipt
from mnist_softmax.runs.model import Model
from mnist_softmax.scoring import metrics
from mnist_softmax.scoring.mcnemar import Comparison, compare, mcnemar
from mnist_softmax.scoring.metrics import Evaluation

#: Figures that a comparison has of each model.
_SHARED = ("accuracy", "accuracy_low", "accuracy_high", "weights_sha256")


def data_for(
    models: Sequence[Model], chosen: Source | None = None, notify: Callable[[str], object] = lambda _: None
) -> Source:
    """The data to score models on: `chosen`, else that of the first receipt that names any, else mnist.

    `notify` is called with a line about each model that was trained on other data.
    """
    known = [model.source for model in models if model.source]
    source = chosen or next(iter(known), Source(dataset="mnist"))
    for model in models:
        if model.source and not model.source.is_same(source):
            notify(f"the weights were trained on {model.source.label}, not on {source.label}: {model.path}")
    return source


def class_names(model: Model, source: Source) -> list[str]:
    """Names of a model's classes: the receipt's, else the dataset's, else their numbers."""
    if model.receipt:
        return list(model.receipt.class_names)
    classes = model.array.shape[1]
    names = DATASETS[source.dataset].class_names if source.dataset else ()
    return list(names) if len(names) == classes else [str(label) for label in range(classes)]


def evaluate(model: Model, split: Split) -> Evaluation:
    """Score a model on every row of a split.

    Raises
    ------
    WeightsError : it does not fit the images or the classes, or a logit overflows.
    """
    parameters = model.parameters_for(split)
    return metrics.evaluate(parameters, model.features_of(split), split.labels, model.path)


def check_data(receipt: Receipt, split: Split, path: Path | None) -> None:
    """Check that a split is of the data that a receipt names; `path` is of its file, for the error.

    Raises
    ------
    WeightsError : it is not, or the receipt holds out more rows than there are.
    """
    for name, sha256 in split.files.items():
        if receipt.files.get(name) != sha256:
            raise WeightsError(
                f"the weights were trained on another {name}",
                path,
                expected=f"SHA-256 {receipt.files.get(name)}",
                got=sha256,
            )
    if (receipt.hyperparameters.val_size or 0) >= len(split.labels):
        raise WeightsError("the receipt is damaged", path, expected=f"val_size below {len(split.labels)}")


def check_holds_out(receipt: Receipt, path: Path | None) -> None:
    """Check, before any data is read, that a receipt holds rows out for validation.

    Raises
    ------
    WeightsError : it holds none out, or it names no files.
    """
    if not receipt.hyperparameters.val_size:
        raise WeightsError("no rows were held out for validation", path, remedy="train with --val-size")
    if not receipt.files:
        raise WeightsError("the receipt names no data", path, remedy="its validation rows are unknown")


def held_out(receipt: Receipt, split: Split, path: Path | None) -> tuple[Split, NDArray[np.uint32]]:
    """The rows of the training file that a receipt held out for validation; and their numbers there.

    Raises
    ------
    WeightsError : see `check_holds_out` and `check_data`.
    """
    check_holds_out(receipt, path)
    check_data(receipt, split, path)
    settings = receipt.hyperparameters
    _, numbers = train_validation_rows(len(split.labels), settings.val_size or 0, settings.seed)
    rows = replace(split, images=split.images[numbers], labels=split.labels[numbers], name="validation")
    return rows, numbers


def answer(model: Model, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """What a model says of one image (height, width), and what it sees of it.

    Returns
    -------
    The probability of each class, (L,); and the image (height, width) after the steps that make images.

    Raises
    ------
    WeightsError : see `Model.predict_proba`.
    """
    height, width = image.shape
    seen = prepare(image.reshape(1, -1), height, width, steps.of_images(model.features))
    return model.predict_proba(image[None])[0], seen.reshape(height, width)


def scores(model: Model, split: Split, evaluation: Evaluation) -> dict[str, Any]:
    """The figures of an evaluation, as `mnist-softmax eval --json` prints them."""
    low, high = metrics.wilson_interval(evaluation.correct, evaluation.rows)
    columns = (
        class_names(model, split.source),
        evaluation.precision,
        evaluation.recall,
        evaluation.confusion.sum(axis=1).tolist(),
    )
    return {
        "accuracy": evaluation.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "log_loss": evaluation.log_loss,
        "rows": evaluation.rows,
        "dataset": split.source.label,
        "split": split.name,
        "weights_sha256": model.sha256,
        "classes": [
            {"label": label, "name": name, "precision": precision, "recall": recall, "rows": rows}
            for label, (name, precision, recall, rows) in enumerate(zip(*columns, strict=True))
        ],
        "confusion": evaluation.confusion.tolist(),
    }


def compare_models(
    models: Sequence[Model], split: Split, evaluations: Sequence[Evaluation]
) -> tuple[Comparison, dict[str, Any]]:
    """Compare two models on the same rows; also return what `mnist-softmax compare --json` prints."""
    names = max((class_names(model, split.source) for model in models), key=len)
    a, b = (evaluation.predicted for evaluation in evaluations)
    comparison = compare(split.labels, a, b, len(names))
    facts: dict[str, Any] = {}
    for key, model, evaluation in zip("ab", models, evaluations, strict=True):
        figures = scores(model, split, evaluation)
        facts[key] = {"weights": str(model.path), **{name: figures[name] for name in _SHARED}}
    facts |= {
        "dataset": split.source.label,
        "split": split.name,
        "rows": comparison.rows,
        "both_right": comparison.both_right,
        "only_a": comparison.only_a,
        "only_b": comparison.only_b,
        "both_wrong": comparison.both_wrong,
        "differing_rows": len(comparison.differing),
        "difference": comparison.difference,
        "p_value": comparison.p_value,
    }
    columns = (comparison.rows_of_class, comparison.right_a, comparison.right_b)
    facts["classes"] = [
        {
            "label": label,
            "name": name,
            "rows": rows,
            "recall_a": in_a / rows if rows else None,
            "recall_b": in_b / rows if rows else None,
            "difference": (in_b - in_a) / rows if rows else None,
        }
        for label, (name, rows, in_a, in_b) in enumerate(
            zip(names, *(c.tolist() for c in columns), strict=True)
        )
    ]
    return comparison, facts


def rank_models(models: Sequence[Model], split: Split) -> dict[str, Any]:
    """Rank models on the same rows: what `mnist-softmax compare --json` prints of more than two.

    The most accurate is first; equal ones keep their order. `p_value` is of McNemar's exact test against the
    first. That one was chosen from the same rows, so the tests are among all pairs of models, and
    `p_value_corrected` is multiplied by their number (Bonferroni): whatever the rows, the probability that
    any of equally good models has one below alpha is at most alpha.

    Raises
    ------
    WeightsError : see `evaluate`.
    """
    figures: dict[int, dict[str, Any]] = {}
    right: dict[int, NDArray[np.bool]] = {}
    # Models with the same features share the prepared rows; of each model stay its figures and a byte a row.
    by_features = sorted(range(len(models)), key=lambda i: models[i].features)
    for _, group in groupby(by_features, key=lambda i: models[i].features):
        stored = None
        for i in group:
            parameters = models[i].parameters_for(split)
            stored = models[i].features_of(split) if stored is None else stored
            evaluation = metrics.evaluate(parameters, stored, split.labels, models[i].path)
            figures[i] = scores(models[i], split, evaluation)
            right[i] = evaluation.predicted == split.labels
    ranked = sorted(range(len(models)), key=lambda i: -figures[i]["accuracy"])
    best, pairs = ranked[0], len(models) * (len(models) - 1) // 2
    entries = []
    for i in ranked:
        lost, won = (int((right[a] & ~right[b]).sum()) for a, b in ((best, i), (i, best)))
        p_value = None if i == best else mcnemar(lost, won)
        entries.append(
            {
                "weights": str(models[i].path),
                **{name: figures[i][name] for name in (*_SHARED, "log_loss")},
                "difference": (won - lost) / len(split.labels),
                "p_value": p_value,
                "p_value_corrected": None if p_value is None else min(1.0, p_value * pairs),
            }
        )
    return {
        "dataset": split.source.label,
        "split": split.name,
        "rows": len(split.labels),
        "models": entries,
    }
