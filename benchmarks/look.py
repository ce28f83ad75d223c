"""How long does the page of `report` take to look at a drawing? Milliseconds in Chromium: min, median, max.

    python benchmarks/look.py report.html

One look is what follows each frame of a stroke: prepare the drawing, apply the features, multiply, and fill
in all that the section shows. Painting by the browser comes after that and is not counted.
"""

import os
import sys
from pathlib import Path
from statistics import median

from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("MNIST_SOFTMAX_TEST_CHROMIUM", "/usr/bin/chromium")
LOOKS = 200
#: A three, in parts of the canvas.
THREE = [(0.3, 0.2), (0.5, 0.12), (0.68, 0.25), (0.5, 0.45), (0.7, 0.65), (0.55, 0.87), (0.28, 0.8)]
TIMES = """count => Array.from({ length: count }, () => {
    const started = performance.now();
    look();
    return performance.now() - started;
})"""


def looks(report: Path, count: int = LOOKS) -> tuple[float, float, float]:
    """Draw a digit with the mouse, then time `count` looks at it after ten that do not count."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(reduced_motion="reduce")
        page.goto(report.absolute().as_uri())
        page.locator("#draw").scroll_into_view_if_needed()
        box = page.locator("#draw").bounding_box()
        assert box is not None
        for n, (x, y) in enumerate(THREE):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if n == 0:
                page.mouse.down()
        page.mouse.up()
        page.wait_for_selector("#verdict:text('Looks like')")
        times = page.evaluate(TIMES, count + 10)[10:]
        browser.close()
    return min(times), median(times), max(times)


if __name__ == "__main__":
    print(*looks(Path(sys.argv[1])))
