"""One self-contained page about weights: what they score, what they learned, where they fail, and a canvas.

`page.html.j2` is the page, `style.css` its looks, `prepare.js` the preparation and the model, `page.js` what
moves. All of it is put into one file that needs no network. Jinja2 is the extra ``report``.
"""

import base64
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import __version__, draw, metrics
from mnist_softmax.data import Split
from mnist_softmax.errors import UsageError, WeightsError
from mnist_softmax.metrics import Evaluation
from mnist_softmax.report import charts
from mnist_softmax.report.png import png_address, signed_colours
from mnist_softmax.weights import Weights

_FOLDER = Path(__file__).parent
#: The steps of `preprocess` that prepare.js knows.
PORTED_STEPS = frozenset({"deskew"})
#: Pixels of the digits that the confusion matrix shows: about half a megabyte in the page.
_MOST_PIXELS = 1_000_000
#: Digits of one cell, and mistakes, that are shown.
_MOST_OF_A_CELL, _MOST_MISTAKES = 60, 24


def check_installed() -> None:
    """Refuse to go on without Jinja2.

    Raises
    ------
    UsageError : says what to install.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "the report needs Jinja2", remedy="install it with: pip install 'mnist-softmax[report]'"
        ) from error


def page(
    weights: Weights, split: Split, evaluation: Evaluation, facts: dict[str, Any], class_names: list[str]
) -> str:
    """The page as HTML.

    Parameters
    ----------
    split : what was scored, prepared as the weights need it.
    evaluation : its outcome.
    facts : the same as the JSON object that `eval` prints; the page shows these figures.

    Raises
    ------
    UsageError : Jinja2 is not installed.
    WeightsError : the weights need a preprocessing that the page's script does not know.
    """
    check_installed()
    import jinja2

    unknown = [step for step in weights.preprocessing if step not in PORTED_STEPS]
    if unknown:
        raise WeightsError("the page does not know the weights' preprocessing", weights.path, got=unknown[0])
    parameters = weights.parameters(split.images.shape[1])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, count="{:,}".format)
    bins, calibration_error = metrics.reliability(evaluation, split.labels)
    history = weights.receipt["history"] if weights.receipt else []
    return environment.get_template("page.html.j2").render(
        version=__version__,
        facts=facts,
        names=class_names,
        mistakes=_mistakes(split, evaluation),
        wrong=evaluation.rows - evaluation.correct,
        templates=_templates(parameters, split.height, split.width),
        parameters=parameters.size,
        height=split.height,
        width=split.width,
        receipt=weights.receipt,
        preprocessing=weights.preprocessing,
        train_command=repeat_command(weights),
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
        data_json=_script_json(_data(weights, split, evaluation, parameters, class_names)),
        style=(_FOLDER / "style.css").read_text(encoding="utf-8"),
        scripts=[(_FOLDER / name).read_text(encoding="utf-8") for name in ("prepare.js", "page.js")],
    )


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.2f} %"  # noqa: RUF001


def _script_json(value: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or begin a comment."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def repeat_command(weights: Weights) -> list[str]:
    """The command that trains the same weights again, in parts to keep together; [] without a receipt."""
    receipt = weights.receipt
    if receipt is None:
        return []
    options: list[list[str]] = [["mnist-softmax", "train"]]
    if receipt["dataset"]:
        options.append(["--dataset", receipt["dataset"]])
    elif receipt["data_dir"]:
        options.append(["--data-dir", receipt["data_dir"]])
    options += [[f"--{step}"] for step in receipt["preprocessing"]]
    for name, value in receipt["settings"].items():
        if value is not None:
            options.append([f"--{name.replace('_', '-')}", str(value)])
    options.append(["--out", weights.path.name])
    return [shlex.join(words) for words in options]


def _templates(parameters: NDArray[np.float32], height: int, width: int) -> list[str]:
    """A picture of each class's weights, as addresses."""
    pictures, scale = draw.templates(parameters, height, width)
    return [png_address(signed_colours(picture, scale)) for picture in pictures]


def _mistakes(split: Split, evaluation: Evaluation) -> list[dict[str, Any]]:
    """The surest mistakes, each with its picture."""
    rows = metrics.most_confident_mistakes(evaluation, split.labels, _MOST_MISTAKES)
    return [
        {
            "row": row,
            "label": int(split.labels[row]),
            "predicted": int(evaluation.predicted[row]),
            "probability": float(evaluation.probability[row]),
            "picture": png_address(split.images[row].reshape(split.height, split.width)),
        }
        for row in rows.tolist()
    ]


def _cells(confusion: NDArray[np.int64]) -> list[list[dict[str, Any]]]:
    """The confusion matrix with how strongly each cell is coloured, 0 to 1.

    By its share of the true class; mistakes, which are rare, relative to the largest share among them.
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
    weights: Weights,
    split: Split,
    evaluation: Evaluation,
    parameters: NDArray[np.float32],
    class_names: list[str],
) -> dict[str, Any]:
    """What the page's script works with."""
    rows = digits_shown(evaluation, split.labels, _MOST_PIXELS // split.images.shape[1])
    pairs = zip(split.labels[rows].tolist(), evaluation.predicted[rows].tolist(), strict=True)
    cells: dict[str, list[int]] = {}
    for tile, (label, predicted) in enumerate(pairs):
        cells.setdefault(f"{label},{predicted}", []).append(tile)
    return {
        "height": split.height,
        "width": split.width,
        "names": class_names,
        "preprocessing": list(weights.preprocessing),
        "weights": base64.b64encode(parameters.astype("<f4").tobytes()).decode(),
        "sheet": _sheet(split, rows),
        "rows": rows.tolist(),
        "probabilities": [round(float(value), 4) for value in evaluation.probability[rows]],
        "cells": cells,
    }


def digits_shown(evaluation: Evaluation, labels: NDArray[np.uint8], most: int) -> NDArray[np.int64]:
    """Rows of at most `most` digits, cell by cell of the confusion matrix, none left out if it fits.

    In a cell of mistakes the surest come first, in a cell of right answers the least sure.
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


def _sheet(split: Split, rows: NDArray[np.int64]) -> dict[str, Any]:
    """One picture of many digits, side by side: a single PNG is smaller than one for each."""
    height, width = split.height, split.width
    columns = max(1, int(np.ceil(np.sqrt(len(rows)))))
    lines = max(1, -(-len(rows) // columns))
    tiles = np.zeros((lines * columns, height, width), np.uint8)
    tiles[: len(rows)] = split.images[rows].reshape(-1, height, width)
    grid = tiles.reshape(lines, columns, height, width).swapaxes(1, 2)
    return {"columns": columns, "picture": png_address(grid.reshape(lines * height, columns * width))}
