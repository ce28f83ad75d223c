"""Splits, and what several tests of runs ask of a model."""

from typing import Any

import numpy as np
import pytest

from mnist_softmax.data.split import Split
from mnist_softmax.records.receipt import Receipt
from mnist_softmax.runs.model import Model


def make_split(
    rows: int = 300, height: int = 6, width: int = 5, classes: int = 7, seed: int = 0, **attributes: Any
) -> Split:
    """Images whose classes can mostly be told apart: a prototype for each, darkened and with noise."""
    rng = np.random.default_rng(seed)
    prototypes = np.random.default_rng(99).integers(0, 150, (classes, height, width))
    labels = rng.integers(0, classes, rows).astype(np.uint8)
    labels[:classes] = np.arange(classes)
    images = prototypes[labels] * rng.uniform(0.3, 1, (rows, 1, 1)) + rng.integers(
        0, 105, (rows, height, width)
    )
    return Split.of(images.astype(np.uint8), labels, **attributes)


def receipt_of(model: Model) -> Receipt:
    """The receipt of a model that was trained here."""
    assert model.receipt is not None
    return model.receipt


def never(what: object) -> None:
    """A callback that may not be called."""
    pytest.fail(f"called with {what}")
