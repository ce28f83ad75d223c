"""One self-contained page about weights: what they score, what they learned, where they fail, and a canvas.

`page.html.j2` is the page, `style.css` its style, `normalize.js` the preparation and the model, `page.js` the
interaction. All go into one file that needs no network. Jinja2 and Pillow come with the extra ``report``.
"""

import base64
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.split import Split
from mnist_softmax.errors import WeightsError, require
from mnist_softmax.features import steps
from mnist_softmax.features.prepare import prepare
from mnist_softmax.records.receipt import train_arguments
from mnist_softmax.runs import score
from mnist_softmax.runs.model import Model
from mnist_softmax.scoring import calibration, metrics
from mnist_softmax.scoring.metrics import Evaluation
from mnist_softmax.version import __version__
from mnist_softmax.views.pictures import places, templates
from mnist_softmax.views.report import charts
from mnist_softmax.views.report.png import png_address, signed_colours

_FOLDER = Path(__file__).parent
#: The feature steps that normalize.js knows.
PORTED_STEPS = frozenset({"deskew", "directions"})
#: Pixels along a cell of directions.
CELL = 12
#: The most pixels of the digits behind the confusion matrix: about half a megabyte in the page.
_MOST_PIXELS = 1_000_000
#: The most digits of one cell, and the most mistakes, that are shown.
_MOST_OF_A_CELL, _MOST_MISTAKES = 60, 24


def check_installed() -> None:
    """Raise UsageError if Jinja2 or Pillow is not installed."""
    require("jinja2", "Jinja2", "report")
    require("PIL", "Pillow", "report")


def render(model: Model, split: Split) -> tuple[str, dict[str, Any]]:
    """Score a model on a split and make the page about it.

    Returns
    -------
    HTML; and the figures in it: those that `eval --json` prints, but of a folder only its name.

    Raises
    ------
    UsageError : Jinja2 or Pillow is not installed.
    WeightsError : the model does not fit the rows, or needs a feature step that the page's script lacks.
    """
    check_installed()
    import jinja2

    unknown = [step for step in model.features if step not in PORTED_STEPS]
    if unknown:
        raise WeightsError("the page does not know the weights' features", model.path, got=unknown[0])
    evaluation = score.evaluate(model, split)
    facts = {**score.scores(model, split, evaluation), "dataset": split.source.public.label}
    parameters, names = model.parameters_for(split), score.class_names(model, split.source)
    shape = steps.shape(split.height, split.width, model.features)
    of_picture = places(shape, CELL)
    edges = len(shape) > 2  # not pixels of an image
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, count="{:,}".format)
    bins, calibration_error = calibration.reliability(evaluation, split.labels)
    history = model.receipt.history if model.receipt else []
    html = environment.get_template("page.html.j2").render(
        version=__version__,
        facts=facts,
        names=names,
        mistakes=_mistakes(model, split, evaluation),
        wrong=evaluation.rows - evaluation.correct,
        templates=_templates(parameters, of_picture),
        picture=of_picture.shape,
        shape=shape,
        edges=edges,
        parameters=parameters.size,
        height=split.height,
        width=split.width,
        receipt=model.receipt,
        source=model.source and model.source.public,
        features=model.features,
        train_command=repeat_command(model),
        history=charts.thinned(history),
        loss_chart=charts.curves(
            history,
            [("running_loss", "first", "training loss"), ("validation_loss", "second", "validation loss")],
            "Loss by epoch",
            "{:.3f}",
        ),
        accuracy_chart=charts.curves(
            history,
            [("validation_accuracy", "second", "validation accuracy")],
            "Accuracy by epoch",
            "{:.1%}",
        ),
        bins=bins,
        calibration_error=calibration_error,
        reliability_chart=charts.reliability_chart(bins),
        cells=_cells(evaluation.confusion),
        facts_json=_script_json(facts),
        data_json=_script_json(
            _data(model, split, evaluation, parameters, names, of_picture if edges else None)
        ),
        style=(_FOLDER / "style.css").read_text(encoding="utf-8"),
        scripts=[(_FOLDER / name).read_text(encoding="utf-8") for name in ("normalize.js", "page.js")],
    )
    return html, facts


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.2f} %"  # noqa: RUF001


def _script_json(value: object) -> str:
    """JSON that is safe in a script element: nothing in it can end the element or begin a comment."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def repeat_command(model: Model) -> list[str]:
    """The command that trains the same weights again, in parts that stay on one line; [] if unknown."""
    if model.receipt is None or model.source is None or model.path is None:
        return []
    parts = [["mnist-softmax"]]
    for word in train_arguments(model.receipt, model.source.public, Path(model.path.name)):
        if word.startswith("--"):
            parts.append([])
        parts[-1].append(word)
    return [shlex.join(words) for words in parts]


def _templates(parameters: NDArray[np.float32], of_picture: NDArray[np.intp]) -> list[str]:
    """A picture of each class's weights, as `data:` addresses."""
    pictures, scale = templates(parameters, of_picture)
    return [png_address(signed_colours(picture, scale)) for picture in pictures]


def _seen(model: Model, split: Split, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Rows after the steps that make images, (R, height, width)."""
    chain = steps.of_images(model.features)
    return prepare(split.images[rows], split.height, split.width, chain).reshape(
        -1, split.height, split.width
    )


def _mistakes(model: Model, split: Split, evaluation: Evaluation) -> list[dict[str, Any]]:
    """The most confident mistakes, each with its picture."""
    rows = metrics.most_confident_mistakes(evaluation, split.labels, _MOST_MISTAKES)
    return [
        {
            "row": row,
            "label": int(split.labels[row]),
            "predicted": int(evaluation.predicted[row]),
            "probability": float(evaluation.probability[row]),
            "picture": png_address(image),
        }
        for row, image in zip(rows.tolist(), _seen(model, split, rows), strict=True)
    ]


def _cells(confusion: NDArray[np.int64]) -> list[list[dict[str, Any]]]:
    """The confusion matrix, with the strength of each cell's colour, 0 to 1.

    It is the cell's share of the true class; for mistakes, which are rare, the root of share / largest share.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    mistaken = shares[~np.eye(len(shares), dtype=bool)]
    largest = float(mistaken.max(initial=0.0)) or 1.0
    strengths = np.where(np.eye(len(shares), dtype=bool), shares, np.sqrt(shares / largest))
    return [
        [
            {"count": int(count), "strength": round(float(strength), 3)}
            for count, strength in zip(*row, strict=True)
        ]
        for row in zip(confusion, strengths, strict=True)
    ]


def _data(
    model: Model,
    split: Split,
    evaluation: Evaluation,
    parameters: NDArray[np.float32],
    class_names: list[str],
    of_picture: NDArray[np.intp] | None,
) -> dict[str, Any]:
    """The data of the page's script."""
    rows = digits_shown(evaluation, split.labels, _MOST_PIXELS // (split.height * split.width))
    pairs = zip(split.labels[rows].tolist(), evaluation.predicted[rows].tolist(), strict=True)
    cells: dict[str, list[int]] = {}
    for tile, (label, predicted) in enumerate(pairs):
        cells.setdefault(f"{label},{predicted}", []).append(tile)
    return {
        "height": split.height,
        "width": split.width,
        "names": class_names,
        "features": list(model.features),
        "picture": None if of_picture is None else of_picture.tolist(),
        "weights": base64.b64encode(parameters.astype("<f4").tobytes()).decode(),
        "sheet": _sheet(_seen(model, split, rows)),
        "rows": rows.tolist(),
        "probabilities": [round(float(value), 4) for value in evaluation.probability[rows]],
        "cells": cells,
    }


def digits_shown(evaluation: Evaluation, labels: NDArray[np.uint8], most: int) -> NDArray[np.int64]:
    """Row numbers of at most `most` digits, spread over the cells of the confusion matrix, sorted by cell.

    In a cell of mistakes the most confident come first, in a cell of right answers the least confident.
    """
    wrong = evaluation.predicted != labels
    sureness = np.where(wrong, -evaluation.probability, evaluation.probability)
    cell = labels.astype(np.int64) * len(evaluation.confusion) + evaluation.predicted
    order = np.lexsort((sureness, cell))
    _, first, counts = np.unique(cell[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, counts)
    # The first of every cell, then the second of every cell, and so on.
    chosen = np.argsort(rank, kind="stable")[:most]
    rows: NDArray[np.int64] = order[np.sort(chosen[rank[chosen] < _MOST_OF_A_CELL])]
    return rows


def _sheet(pictures: NDArray[np.uint8]) -> dict[str, Any]:
    """One picture of many digits, (R, height, width): a single PNG is smaller than one for each."""
    count, height, width = pictures.shape
    columns = max(1, int(np.ceil(np.sqrt(count))))
    lines = max(1, -(-count // columns))
    tiles = np.zeros((lines * columns, height, width), np.uint8)
    tiles[:count] = pictures
    grid = tiles.reshape(lines, columns, height, width).swapaxes(1, 2)
    return {"columns": columns, "picture": png_address(grid.reshape(lines * height, columns * width))}
