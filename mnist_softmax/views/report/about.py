"""The page's section "About this model": what it was trained on, what it cannot do, and how it fails."""

from typing import Any

import numpy as np

from mnist_softmax.data.catalog import DATASETS, MNIST, MNIST_SAMPLE, TEST_IMAGES, TRAIN_IMAGES
from mnist_softmax.data.split import Split
from mnist_softmax.features.normalize import normalize
from mnist_softmax.features.prepare import prepare
from mnist_softmax.runs.model import Model
from mnist_softmax.scoring import metrics
from mnist_softmax.scoring.metrics import Evaluation
from mnist_softmax.scoring.styles import accuracy_by_style

#: The images that a drawing is made like, by the SHA-256 of their files.
_MNIST_IMAGES = {
    file.raw_sha256
    for known in (MNIST, MNIST_SAMPLE)
    for file in known.files
    if file.name in (TRAIN_IMAGES, TEST_IMAGES)
}


def drawings_fit(split: Split) -> bool:
    """Whether the images are MNIST's, which the canvas imitates."""
    return not _MNIST_IMAGES.isdisjoint(split.files.values())


def facts(model: Model, split: Split, evaluation: Evaluation) -> dict[str, Any]:
    """Whether drawings fit, the data's licence, what the model says of a straight line, accuracy by style."""
    source = model.source or split.source
    right = evaluation.predicted == split.labels
    styles = accuracy_by_style(split.images, split.labels, split.height, split.width, right)
    line, probability = _straight_line(model, split)
    return {
        "drawings_fit": drawings_fit(split),
        "licence": DATASETS[source.dataset].licence if source.dataset else None,
        "line": line,
        "line_probability": probability,
        "styles": [style._asdict() | {"accuracy": style.right / style.rows} for style in styles],
    }


def _straight_line(model: Model, split: Split) -> tuple[int, float]:
    """The answer to a horizontal stroke, prepared as a drawing is, and its probability."""
    drawing = np.zeros((100, 100), np.uint8)
    drawing[46:54, 15:85] = 255
    image = normalize(drawing, split.height, split.width).image.reshape(1, -1)
    features = prepare(image, split.height, split.width, model.features)
    (log_S,) = metrics.log_probabilities(model.parameters_for(split), features)
    return int(log_S.argmax()), float(np.exp(log_S.max()))
