"""Debian's Chromium, driven by Playwright, on a page that `report` made. Both are needed, or the tests are skipped."""

import os
from pathlib import Path
from typing import Any

import numpy as np

CHROMIUM = Path(os.environ.get("MNIST_SOFTMAX_TEST_CHROMIUM", "/usr/bin/chromium"))

#: Strokes on the canvas as points in a unit square.
ONE = [[(0.55, 0.15), (0.48, 0.85)]]
ZERO = [[(0.5 + 0.22 * np.sin(a), 0.5 - 0.33 * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 13)]]


def draw(page: Any, strokes: Any) -> None:
    page.locator("#draw").scroll_into_view_if_needed()
    box = page.locator("#draw").bounding_box()
    for stroke in strokes:
        for i, (x, y) in enumerate(stroke):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if i == 0:
                page.mouse.down()
        page.mouse.up()


def shown(page: Any) -> Any:
    """The probabilities that the page shows, by class."""
    lines = page.locator("[data-class]")
    pairs = lines.evaluate_all("lines => lines.map(l => [+l.dataset.class, +l.dataset.probability])")
    assert [k for k, _ in pairs] == list(range(len(pairs)))
    return np.array([probability for _, probability in pairs])
