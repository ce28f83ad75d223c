"""The page's sections about single images: the confusion matrix, its pairs, mistakes, and rows to take."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.split import Split
from mnist_softmax.runs.model import Model
from mnist_softmax.scoring import metrics
from mnist_softmax.scoring.metrics import Evaluation
from mnist_softmax.views.report.png import png_address

#: The most pixels of the digits behind the confusion matrix, about half a megabyte in the page, and of the
#: rows for the canvas.
_MOST_PIXELS, _MOST_SAMPLE_PIXELS = 1_000_000, 400_000
#: Rows of the split that the page holds for the canvas.
_SAMPLES = 400
#: The most digits of one cell, mistakes, and pairs of classes that are shown, and digits of a pair.
_MOST_OF_A_CELL, _MOST_MISTAKES, _MOST_PAIRS, _MOST_OF_A_PAIR = 60, 24, 6, 8


def section(model: Model, split: Split, evaluation: Evaluation) -> dict[str, Any]:
    """What the templates show of confusions and mistakes."""
    return {
        "matrix": matrix(evaluation.confusion),
        "pairs": pairs(model, split, evaluation),
        "wrong": evaluation.rows - evaluation.correct,
        "mistakes": mistakes(model, split, evaluation),
    }


def data(model: Model, split: Split, evaluation: Evaluation) -> dict[str, Any]:
    """What the page's script needs: rows for the canvas, drawn by the seed, and the digits of the matrix."""
    seed = model.receipt.hyperparameters.seed if model.receipt else 0
    return {"samples": samples(split, evaluation, seed), "digits": digits(model, split, evaluation)}


def samples(split: Split, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """Rows for the canvas, drawn at random: raw, with their labels and with what the model says of them."""
    most = max(1, min(_SAMPLES, _MOST_SAMPLE_PIXELS // (split.height * split.width), len(split.labels)))
    rows = np.sort(np.random.default_rng(seed).choice(len(split.labels), most, replace=False))
    return {
        "rows": rows.tolist(),
        "labels": split.labels[rows].tolist(),
        "predicted": evaluation.predicted[rows].tolist(),
        "sheet": sheet(split.images[rows].reshape(-1, split.height, split.width)),
    }


def mistakes(model: Model, split: Split, evaluation: Evaluation) -> list[dict[str, Any]]:
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
        for row, image in zip(rows.tolist(), model.images_of(split, rows), strict=True)
    ]


def pairs(model: Model, split: Split, evaluation: Evaluation) -> list[dict[str, Any]]:
    """The pairs of classes that are confused most, each with a strip of its surest mistakes."""
    found = []
    for label, predicted, count in metrics.confused_pairs(evaluation.confusion, _MOST_PAIRS):
        rows = np.flatnonzero((split.labels == label) & (evaluation.predicted == predicted))
        surest = rows[np.argsort(-evaluation.probability[rows], kind="stable")][:_MOST_OF_A_PAIR]
        images = model.images_of(split, surest)
        found.append(
            {
                "label": label,
                "predicted": predicted,
                "count": count,
                "of": int(evaluation.confusion[label].sum()),
                "back": int(evaluation.confusion[predicted, label]),
                "shown": len(surest),
                "picture": png_address(np.concatenate(list(images), axis=1)),
            }
        )
    return found


def matrix(confusion: NDArray[np.int64]) -> list[list[dict[str, Any]]]:
    """The confusion matrix, with the strength of each cell's colour, 0 to 1.

    It is the cell's share of the row; for mistakes, which are rare, the root of share / largest share.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    right = np.eye(len(shares), dtype=bool)
    largest = float(shares[~right].max(initial=0.0)) or 1.0
    strengths = np.where(right, shares, np.sqrt(shares / largest))
    return [
        [
            {"count": int(count), "strength": round(float(strength), 3)}
            for count, strength in zip(*row, strict=True)
        ]
        for row in zip(confusion, strengths, strict=True)
    ]


def digits(model: Model, split: Split, evaluation: Evaluation) -> dict[str, Any]:
    """The digits behind the confusion matrix, for the page's script."""
    rows = digits_shown(evaluation, split.labels, _MOST_PIXELS // (split.height * split.width))
    of_rows = zip(split.labels[rows].tolist(), evaluation.predicted[rows].tolist(), strict=True)
    cells: dict[str, list[int]] = {}
    for tile, (label, predicted) in enumerate(of_rows):
        cells.setdefault(f"{label},{predicted}", []).append(tile)
    return {
        "sheet": sheet(model.images_of(split, rows)),
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


def sheet(pictures: NDArray[np.uint8]) -> dict[str, Any]:
    """One picture of many digits, (R, height, width): a single PNG is smaller than one for each."""
    count, height, width = pictures.shape
    columns = max(1, int(np.ceil(np.sqrt(count))))
    lines = max(1, -(-count // columns))
    tiles = np.zeros((lines * columns, height, width), np.uint8)
    tiles[:count] = pictures
    grid = tiles.reshape(lines, columns, height, width).swapaxes(1, 2)
    return {"columns": columns, "picture": png_address(grid.reshape(lines * height, columns * width))}
