"""A Model: weights with their receipt, from a file or fresh from training."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.split import Source, Split, flat_images, image_size
from mnist_softmax.errors import WeightsError
from mnist_softmax.features import steps
from mnist_softmax.features.prepare import prepare
from mnist_softmax.records import weights
from mnist_softmax.records.receipt import Receipt
from mnist_softmax.scoring import metrics


@dataclass(frozen=True, eq=False)
class Model:
    """A trained softmax regression.

    Attributes
    ----------
    array : (N + 1, L) float32; rows 0..N-1 are W, the last is B. Weights of other programs may lack B.
    receipt : how it was trained; None if unknown, and the features are then plain pixels.
    path : of its file; None before it is saved.
    sha256 : of its file; "" before it is saved.
    """

    array: NDArray[np.float32]
    receipt: Receipt | None = None
    path: Path | None = None
    sha256: str = ""

    @property
    def features(self) -> tuple[str, ...]:
        """The chain of feature steps that images go through first."""
        return tuple(self.receipt.features) if self.receipt else ()

    @property
    def source(self) -> Source | None:
        """The data that it was trained on, if that is known."""
        known = self.receipt and (self.receipt.dataset or self.receipt.data_dir)
        return self.receipt.source if self.receipt and known else None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of its images; WeightsError without a receipt, unless they are squares."""
        if self.receipt:
            return self.receipt.image_height, self.receipt.image_width
        rows = len(self.array)
        for pixels in (rows - 1, rows):  # they are never both square numbers
            height, width = image_size(pixels)
            if height == width and height:
                return height, width
        raise WeightsError(
            "the image size is unknown without a receipt",
            self.path,
            expected="a row per pixel of a square image, and one for the bias",
            got=f"{rows} rows",
            remedy="name the data with --dataset or --data-dir, where a command has them",
        )

    def parameters(self, columns: int) -> NDArray[np.float32]:
        """The array as (N + 1, L) for rows of N = `columns` features, with a bias of 0 if it has none.

        Raises
        ------
        WeightsError : it has another number of rows.
        """
        rows, classes = self.array.shape
        if rows == columns + 1:
            return self.array
        if rows == columns and self.receipt is None:
            return np.vstack([self.array, np.zeros((1, classes), np.float32)])
        raise WeightsError(
            "the weights do not fit the images",
            self.path,
            expected=f"{columns + 1} rows ({columns} features and the bias)",
            got=rows,
        )

    def parameters_for(self, split: Split) -> NDArray[np.float32]:
        """The parameters for the rows of a split.

        Raises
        ------
        WeightsError : they do not fit its images or its classes.
        """
        if self.receipt:
            self._check_size((split.height, split.width))
        parameters = self.parameters(steps.count(split.height, split.width, self.features))
        # The labels of a folder may leave classes out; the classes of a dataset are known.
        classes = max(len(split.class_names), 0 if split.source.dataset else parameters.shape[1])
        if classes != parameters.shape[1]:
            raise WeightsError(
                "the weights do not fit the labels",
                self.path,
                expected=f"{classes} classes",
                got=parameters.shape[1],
            )
        return parameters

    def _check_size(self, size: tuple[int, ...]) -> None:
        if size != self.image_size:
            expected, got = (" x ".join(map(str, shape)) for shape in (self.image_size, size))
            what = "the weights do not fit the images"
            raise WeightsError(what, self.path, expected=f"{expected} pixels", got=got)

    def features_of(self, split: Split) -> NDArray[np.uint8]:
        """What the model sees of the images of a split: (M, N) uint8. The split must fit the model."""
        return prepare(split.images, split.height, split.width, self.features)

    def images_of(self, split: Split, rows: Any) -> NDArray[np.uint8]:
        """Rows of a split after the steps that make images, (R, height, width) uint8; `rows` is an index."""
        chain = steps.of_images(self.features)
        images = prepare(split.images[rows], split.height, split.width, chain)
        return images.reshape(-1, split.height, split.width)

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The probability of each class, (M, L) float64; rows sum to 1.

        Parameters
        ----------
        images : (M, N) or (M, height, width) uint8, 0 black to 255 white.

        Raises
        ------
        TypeError : the images have another dtype or number of dimensions.
        WeightsError : they have another size, or the weights are so large that a logit overflows.
        """
        images = np.asarray(images)
        rows = flat_images(images)
        high, wide = self.image_size
        if images.shape[1:] != (high * wide,):
            self._check_size(images.shape[1:])
        features = prepare(rows, high, wide, self.features)
        log_S = metrics.log_probabilities(self.parameters(features.shape[1]), features)
        if not np.isfinite(log_S).all():
            raise WeightsError("the weights are too large", self.path, got="logits that overflow")
        probabilities: NDArray[np.float64] = np.exp(log_S)
        return probabilities

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The most probable class of each image, (M,) uint8; see `predict_proba`."""
        predicted: NDArray[np.uint8] = self.predict_proba(images).argmax(axis=1).astype(np.uint8)
        return predicted

    def save(self, path: str | os.PathLike[str]) -> "Model":
        """Write the weights file; return the model with its path and hash.

        Raises
        ------
        UsageError, LocalIOError : see `files.atomic_write`; an old file is untouched.
        """
        target = Path(path)
        return Model(self.array, self.receipt, target, weights.save(target, self.array, self.receipt))


def load(path: str | os.PathLike[str]) -> Model:
    """Read a weights file.

    Raises
    ------
    UsageError, WeightsError, LocalIOError : see `records.weights.load`.
    """
    array, receipt, sha256 = weights.load(Path(path))
    return Model(array, receipt, Path(path), sha256)
