"""Scoring: which rows weights are scored on, whether they fit, and the resulting figures."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.catalog import DATASETS
from mnist_softmax.data.split import Source, Split
from mnist_softmax.features import steps
from mnist_softmax.features.prepare import prepare
from mnist_softmax.runs.model import Model
from mnist_softmax.scoring import metrics
from mnist_softmax.scoring.mcnemar import Comparison, compare
from mnist_softmax.scoring.metrics import Evaluation


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
    shared = ("accuracy", "accuracy_low", "accuracy_high", "weights_sha256")
    facts: dict[str, Any] = {}
    for key, model, evaluation in zip("ab", models, evaluations, strict=True):
        figures = scores(model, split, evaluation)
        facts[key] = {"weights": str(model.path), **{name: figures[name] for name in shared}}
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
