"""The page's section "What it learned": templates, average images, and the moments of training again."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.split import Split, one_hot
from mnist_softmax.runs.model import Model
from mnist_softmax.runs.replay import Moment
from mnist_softmax.views.pictures import centred, templates
from mnist_softmax.views.report.png import png_address, signed_colours

#: The most bytes of the moments' weights in the page, before base64: 20 moments of MNIST's pixels fit.
_MOST_BYTES = 200_000
#: Pixels prepared at a time for the average images, so that memory does not grow with the data.
_PIXELS = 1 << 20


def template_addresses(
    parameters: NDArray[np.float32], of_picture: NDArray[np.intp]
) -> tuple[list[str], float]:
    """A picture of each class's weights, as `data:` addresses, and the weight at full strength."""
    pictures, scale = templates(parameters, of_picture)
    return [png_address(signed_colours(picture, scale)) for picture in pictures], scale


def averages(model: Model, split: Split, classes: int) -> list[str]:
    """The average image of each class, as the model sees it, as `data:` addresses; "" where there is none."""
    sums = np.zeros((classes, split.height * split.width))
    counts = np.bincount(split.labels, minlength=classes)
    step = max(1, _PIXELS // sums.shape[1])
    for start in range(0, len(split.labels), step):
        rows = slice(start, start + step)
        images = model.images_of(split, rows).reshape(-1, sums.shape[1])
        sums += one_hot(split.labels[rows], classes).T @ images
    means = np.round(sums / np.maximum(counts, 1)[:, None]).astype(np.uint8)
    return [
        png_address(mean.reshape(split.height, split.width)) if count else ""
        for mean, count in zip(means, counts, strict=True)
    ]


def moments(found: Sequence[Moment], parameters: NDArray[np.float32]) -> dict[str, Any] | None:
    """The moments for the page's script: the centred weights at 8 bits, (moments, N, L), and their figures.

    So that the page stays small, some are left out where the weights are large; the first and the last stay.
    """
    if not found:
        return None
    most = max(2, _MOST_BYTES // parameters[:-1].size)
    chosen = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
    kept = [found[i] for i in chosen]
    weights = np.stack([centred(moment.parameters) for moment in kept])
    largest = float(np.abs(weights).max()) or 1.0
    levels = np.round(weights * (127 / largest)).astype(np.int8)
    return {
        "step": largest / 127,
        "weights": base64.b64encode(levels.tobytes()).decode(),
        "figures": [
            {"rows": moment.rows, "epochs": moment.epochs, "loss": moment.loss, "accuracy": moment.accuracy}
            for moment in kept
        ],
    }
