"""Accuracy by style: images whose ink, slant and width are known, and the sample's rows."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnist_softmax.data.open import open_split
from mnist_softmax.scoring import styles
from mnist_softmax.scoring.metrics import wilson_interval
from mnist_softmax.scoring.styles import accuracy_by_style, measure

NAMES = ["least ink", "most ink", "leaning right", "leaning left", "narrowest", "widest"]


def bar(height: int, width: int, thick: int, lean: float, level: int = 255) -> Any:
    """An upright bar over all rows but two, `thick` pixels wide, shifted by `lean` to the right per row upwards."""
    image = np.zeros((height, width), np.uint8)
    for y in range(1, height - 1):
        left = round(width / 2 - thick / 2 + lean * (height / 2 - y))
        image[y, left : left + thick] = level
    return image.ravel()


def test_ink_slant_and_width_of_bars() -> None:
    bars = [bar(20, 30, 4, 0), bar(20, 30, 2, 0.5), bar(20, 30, 2, -0.5), bar(20, 30, 6, 0, level=51)]
    ink, slant, width = measure(np.stack(bars), 20, 30)
    assert ink.tolist() == [72, 36, 36, 21.6]
    assert slant.tolist() == pytest.approx([0, -0.5, 0.5, 0], abs=0.02)
    assert width.tolist() == [4 / 18, 10 / 18, 10 / 18, 6 / 18], "a faint image has a box too"
    blurred = np.maximum(bar(20, 30, 4, 0), bar(20, 30, 8, 0, level=100))
    assert measure(blurred[None], 20, 30)[2].tolist() == [4 / 18], (
        "what is faint beside the ink widens no box"
    )
    blank = np.zeros((1, 600), np.uint8)
    assert np.isnan(measure(blank, 20, 30)).all()


def test_each_style_is_a_tenth_of_the_rows_within_their_classes() -> None:
    """Class 0 is always bolder than class 1; in each class, row i is bolder than row i - 1."""
    thick = np.concatenate([np.arange(20) + 22, np.arange(20) + 2])
    images = np.stack([bar(30, 60, t, 0) for t in thick])
    labels = np.repeat([0, 1], 20).astype(np.uint8)
    right = np.ones(40, bool)
    right[[0, 1, 20, 39]] = False
    scores = accuracy_by_style(images, labels, 30, 60, right)
    assert [score[:3] for score in scores if score.name not in NAMES[2:4]] == [
        ("least ink", 4, 1), ("most ink", 4, 3), ("narrowest", 4, 1), ("widest", 4, 3)
    ]  # fmt: skip
    assert scores[0][3:] == wilson_interval(1, 4)


def test_a_lean_to_the_right_is_told_from_one_to_the_left() -> None:
    images = np.stack(
        [bar(28, 60, 3, lean) for lean in np.linspace(-1, 1, 50)]
    )  # the last row leans to the right
    scores = accuracy_by_style(images, np.zeros(50, np.uint8), 28, 60, np.arange(50) >= 45)
    assert {s.name: (s.rows, s.right) for s in scores if "leaning" in s.name} == {
        "leaning right": (5, 5),
        "leaning left": (5, 0),
    }


def test_few_rows_rows_without_ink_and_rows_all_alike() -> None:
    images = np.stack([bar(12, 12, 1 + i % 5, 0.1 * i) for i in range(12)])
    labels, right = np.arange(12, dtype=np.uint8), np.ones(12, bool)  # a class for each row, too
    assert [s.rows for s in accuracy_by_style(images, labels, 12, 12, right)] == [1] * 6
    assert accuracy_by_style(images[:9], labels[:9], 12, 12, right[:9]) == []
    images[:3] = 0
    assert accuracy_by_style(images, labels, 12, 12, right) == [], "nine rows have ink"
    same = np.full((10, 144), 200, np.uint8)
    assert accuracy_by_style(same, labels[:10], 12, 12, right[:10]) == []
    assert accuracy_by_style(np.empty((0, 144), np.uint8), labels[:0], 12, 12, right[:0]) == []
    levels = np.arange(10, dtype=np.uint8)[:, None]  # 1 x 1 images have ink, but neither slant nor width
    assert [
        s.name
        for s in accuracy_by_style(np.tile(levels, (2, 1)), np.tile(labels[:10], 2), 1, 1, np.ones(20, bool))
    ] == NAMES[:2]


def test_a_block_of_rows_at_a_time_is_the_same_as_all_at_once(monkeypatch: Any) -> None:
    images = open_split("mnist-sample", "test").images[:300]
    at_once = measure(images, 28, 28)
    for pixels in (1, 784 * 7):
        monkeypatch.setattr(styles, "_BLOCK_PIXELS", pixels)
        np.testing.assert_array_equal(measure(images, 28, 28), at_once)


def test_the_sample_s_styles_look_as_they_are_called() -> None:
    """Rows of the sample turned by 30 degrees are what a style of leaning finds."""
    split = open_split("mnist-sample", "test")
    images, labels = split.images[:500].copy(), split.labels[:500]
    changed = np.arange(500) % 10 == 0
    for turn, name in ((-30, "leaning right"), (30, "leaning left")):
        turned = images.copy()
        for row in np.flatnonzero(changed):
            turned[row] = np.asarray(Image.fromarray(images[row].reshape(28, 28)).rotate(turn)).ravel()
        scores = {s.name: s for s in accuracy_by_style(turned, labels, 28, 28, ~changed)}
        assert sorted(scores) == sorted(NAMES)
        assert all(s.rows == 50 and s.low <= s.right / 50 <= s.high for s in scores.values())
        assert min(scores.values(), key=lambda s: s.right).name == name
        assert scores[name].right <= 30, "of 50 turned rows at least 20 are found"
