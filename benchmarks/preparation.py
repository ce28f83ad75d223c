"""What each step of the normalization is worth: 1,000 test digits, enlarged, moved, inverted, and read again.

    python benchmarks/preparation.py WEIGHTS FOLDER      FOLDER holds the IDX files of the test split

Needs Pillow. The table of docs/preparation.md is what it prints for full MNIST.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_softmax.data.open import open_split
from mnist_softmax.features.normalize import normalize
from mnist_softmax.runs.model import load

Picture = NDArray[np.uint8]
ROWS = 1_000


def pasted(rng: np.random.Generator, digit: Picture) -> Picture:
    """A digit enlarged 2 to 12 times, at a random place of a larger canvas, in either polarity."""
    side = round(28 * rng.uniform(2, 12))
    big = Image.fromarray(digit).resize((side, side))
    height, width = (int(length) for length in side + rng.integers(1, 300, 2))
    canvas = Image.new("L", (width, height))
    canvas.paste(big, (int(rng.integers(width - side)), int(rng.integers(height - side))))
    grey = np.asarray(canvas)
    return 255 - grey if rng.random() < 0.5 else grey


def shrunk(grey: Picture) -> Picture:
    """The whole picture as 28 x 28: what one does who knows nothing of MNIST."""
    return np.asarray(Image.fromarray(grey).resize((28, 28), Image.Resampling.BOX))


def shrunk_light_on_dark(grey: Picture) -> Picture:
    """The same, with a light ground made dark."""
    return shrunk(255 - grey if grey[0, 0] > 127 else grey)


def boxed(grey: Picture) -> Picture:
    """Cropped and scaled into the middle of 28 x 28, not by its centre of mass."""
    image = normalize(grey).image
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    digit = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    middle = np.zeros((28, 28), np.uint8)
    y, x = (28 - digit.shape[0]) // 2, (28 - digit.shape[1]) // 2
    middle[y : y + digit.shape[0], x : x + digit.shape[1]] = digit
    return middle


def normalized(grey: Picture) -> Picture:
    """As `predict` does it."""
    return normalize(grey).image


def main(weights_path: Path, folder: Path) -> None:
    """Print the accuracy of each way."""
    model, split = load(weights_path), open_split(data_dir=folder, split="test")
    rng = np.random.default_rng(0)
    rows = rng.choice(len(split.labels), ROWS, replace=False)
    digits = split.images[rows].reshape(-1, 28, 28)
    pictures = [pasted(rng, digit) for digit in digits]

    def accuracy(images: list[Picture]) -> float:
        return float((model.predict(np.stack(images)) == split.labels[rows]).mean())

    print(f"{'the test images themselves':<50} {accuracy(list(digits)):.3f}")
    ways = [
        ("shrunk to 28 x 28", shrunk),
        ("made light on dark, shrunk to 28 x 28", shrunk_light_on_dark),
        ("normalized, but put in the middle by its box", boxed),
        ("normalized", normalized),
    ]
    for name, way in ways:
        print(f"{name:<50} {accuracy([way(grey) for grey in pictures]):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
