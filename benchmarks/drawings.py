"""Are drawn digits read better too? 300 drawings on the canvas of `report`, read by several pages.

    mnist-softmax train --out pixels.npy && mnist-softmax report pixels.npy --out pixels.html
    (likewise deskew.html, directions.html and both.html, of weights with --features)
    python benchmarks/drawings.py pixels.html deskew.html directions.html both.html --sheet drawings.png

A development tool: needs the dependency group `browser`, Chromium and Pillow. Each digit is drawn 30 times,
in ten styles, with the pen of the first page; then every page reads the same pixels.

The skeletons and styles were fixed before any weights had read a drawing. They are one idea of how people
write with a mouse, not a sample of people: differences between weights say more than the percentages do.
"""

import argparse
import base64
import io
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from look import CHROMIUM
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from mnist_softmax.scoring.mcnemar import mcnemar
from mnist_softmax.scoring.metrics import wilson_interval

Points = NDArray[np.float64]
SEED = 0
#: Drawings of each digit in each style.
EACH = 3

#: Ways to write each digit: points x,y of a curve in percent of the height, y downwards. The curve has a
#: corner at a point with `!`; `;` lifts the pen.
WAYS = """
0 round: 35,2 10,15 0,48 10,85 33,98 58,88 68,50 60,15 36,2
0 narrow: 24,2 8,20 3,55 10,88 24,98 38,85 44,50 38,15 22,3
0 crossing: 45,8 25,3 6,25 2,60 15,92 38,97 58,75 62,40 50,12 30,6
0 clockwise: 30,3 62,18 70,52 58,86 32,97 8,82 2,50 10,18 36,1
1 bar: 30,0 30,100
1 hook: 10,24 32,0! 32,100
1 foot: 10,22 32,0! 32,100; 8,100 58,100
1 upstroke: 0,42 35,0! 35,100
2 plain: 5,22 15,5 38,1 58,15 55,38 35,62 3,98! 65,98
2 loop: 4,22 18,4 42,2 58,18 50,45 30,72 12,92 3,88 8,76 22,80 40,95 66,94
2 wavy: 8,15 30,1 55,12 57,33 38,58 2,97! 25,92 45,98 68,92
2 straight: 4,12 28,1 56,10 58,28! 2,98! 64,98
3 round: 6,14 25,1 50,8 54,28 40,44 24,47! 48,52 62,72 50,93 25,100 3,86
3 flat: 5,2 58,2! 28,40! 52,48 62,70 50,94 22,99 2,86
3 loop: 5,16 22,2 48,6 52,26 38,42 22,46 20,52 32,49 54,55 62,74 48,95 22,99 2,86
4 open: 8,0 3,55! 62,55; 48,8 46,100
4 closed: 44,0 2,66! 66,66; 44,0 44,100
4 short: 12,5 4,58! 66,52; 50,30 44,100
4 one-stroke: 44,100 46,2! 0,64! 66,64
5 bar-last: 14,2 8,44! 32,38 58,52 60,78 40,98 14,98 2,86; 14,2 60,2
5 one-stroke: 58,2 14,2! 9,42! 34,36 60,54 60,80 38,99 4,90
5 S: 56,6 30,3 12,14 12,34 34,46 56,60 56,82 36,98 4,92
5 angular: 56,0 8,0! 8,45! 38,42 58,58 56,82 38,98 2,96
6 curved: 52,2 28,18 8,48 4,76 18,97 42,97 56,78 48,58 28,54 8,68
6 straight: 46,0 14,44 4,72 16,96 40,98 54,80 44,60 22,58 8,72
6 hook: 58,14 44,3 22,14 5,45 4,78 20,98 46,96 58,76 46,55 22,54 6,70
7 plain: 2,4 60,4! 26,100
7 barred: 2,4 60,4! 24,100; 12,50 56,50
7 serif: 2,22 4,4! 58,4! 24,100
7 curved: 2,8 30,4 60,4! 40,40 28,70 26,100
8 one-stroke: 52,16 34,1 12,10 12,32 32,48 54,66 54,88 32,100 8,88 8,66 30,49 50,34 54,18 50,12
8 rings: 32,2 14,10 12,30 30,46 50,34 52,12 32,2; 30,46 8,60 4,82 28,100 56,86 54,62 30,46
8 S: 52,10 30,2 12,16 20,36 46,56 54,80 32,99 8,86 14,62 40,38 54,12
9 straight: 54,12 32,2 8,16 6,40 24,54 46,44 54,12! 52,100
9 curved: 52,14 32,2 8,14 6,38 24,52 46,42 54,16 54,50 42,84 10,98
9 leg: 52,18 34,3 12,10 6,34 20,50 42,42 54,10! 38,100
9 hook: 52,14 32,2 8,14 6,38 24,52 46,42 54,14! 54,60 48,92 26,100 6,88
"""
SKELETONS = [re.findall(rf"(?m)^{digit} .*: (.*)", WAYS) for digit in range(10)]


@dataclass(frozen=True)
class Style:
    """How one draws. A drawing takes its values from ranges, uniformly; lengths are parts of the height."""

    slant: tuple[float, float] = (-6, 12)  # degrees to the right
    aspect: tuple[float, float] = (0.85, 1.15)  # factor of the width
    size: tuple[float, float] = (0.5, 0.85)  # of the canvas; the pen is fixed, so small digits are thick
    wobble: float = 0.018  # how far the skeleton's points stray, and the curve between them
    tremor: float = 0.003  # how far the hand shakes
    rounding: tuple[float, float] = (0, 0.03)  # what corners are rounded over
    cut: float = 0  # the most of a stroke that is missing at an end, a fraction of the stroke
    step: float = 5  # pixels of the canvas between two reports of the mouse: more for a fast hand


STYLES = {
    "neat": Style(),
    "right": Style(slant=(12, 25)),
    "left": Style(slant=(-25, -10)),
    "narrow": Style(aspect=(0.55, 0.75)),
    "wide": Style(aspect=(1.3, 1.6)),
    "small": Style(size=(0.25, 0.4)),
    "large": Style(size=(0.85, 0.93)),
    "shaky": Style(wobble=0.035, tremor=0.01),
    "hasty": Style(wobble=0.025, rounding=(0.06, 0.12), cut=0.08, step=12),
    "jerky": Style(rounding=(0, 0), step=32),
}


def curve(points: Points, corners: list[bool], samples: int = 24) -> Points:
    """A Catmull-Rom spline through points, (P, 2) to (S, 2), that stops and starts anew at corners."""
    stops = [0, *(i for i, corner in enumerate(corners) if corner), len(points) - 1]
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    pieces = []
    for first, last in pairwise(stops):
        P = points[first : last + 1]
        P = np.concatenate([2 * P[:1] - P[1:2], P, 2 * P[-1:] - P[-2:-1]])
        for a, b, c, d in zip(P[:-3], P[1:-2], P[2:-1], P[3:], strict=True):
            pieces.append(
                b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a))) / 2
            )
    return np.concatenate([*pieces, points[-1:]])


def evenly(points: Points, step: float) -> Points:
    """Points of a polyline at equal distances of about `step`, with its ends."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.linspace(0, along[-1], max(2, round(along[-1] / step) + 1))
    return np.stack([np.interp(at, along, axis) for axis in points.T], axis=1)


def smooth(points: Points, width: float) -> Points:
    """A running Gaussian mean over `width` points; the ends stay nearly where they are."""
    reach = int(3 * width) + 1
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * max(width, 1e-3) ** 2))
    padded = np.pad(points, ((reach, reach), (0, 0)), "edge")
    return np.stack([np.convolve(axis, kernel / kernel.sum(), "valid") for axis in padded.T], axis=1)


def drawing(rng: np.random.Generator, skeleton: str, style: Style) -> list[list[list[float]]]:
    """The strokes of a drawing, each of points in a unit square."""
    strokes = []
    rounding = 100 * rng.uniform(*style.rounding)  # in points, of which there are 100 along the height
    for text in skeleton.split(";"):
        words = text.split()
        points = np.array([word.rstrip("!").split(",") for word in words], float) / 100
        points += rng.normal(0, style.wobble, points.shape)
        dense = evenly(curve(points, [word.endswith("!") for word in words]), 0.01)
        dense = smooth(dense, rounding)
        first, last = (len(dense) * rng.uniform(0, style.cut, 2)).astype(int)
        dense = dense[first : len(dense) - last]
        along = np.linspace(0, 1, len(dense))[:, None]
        for waves in (1, 2):  # what is slow in the hand
            dense += style.wobble * np.sin(2 * np.pi * (waves * along + rng.random(2))) / waves / 2
        strokes.append(dense + smooth(rng.normal(0, 4 * style.tremor, dense.shape), 4))
    shear, aspect = np.tan(np.radians(rng.uniform(*style.slant))), rng.uniform(*style.aspect)
    strokes = [stroke @ np.array([[aspect, 0], [-shear, 1]]) for stroke in strokes]
    everything = np.concatenate(strokes)
    low, extent = everything.min(axis=0), np.ptp(everything, axis=0)
    size = rng.uniform(*style.size)
    scale = (size - 0.08) / extent.max()  # half of the pen's width stands out at each end
    corner = 0.04 + rng.beta(2, 2, 2) * (0.92 - scale * extent)
    return [evenly(corner + scale * (stroke - low), style.step / 280).tolist() for stroke in strokes]


READ = "levels => mnistSoftmax.read(Uint8Array.from(atob(levels), c => c.charCodeAt(0)), 280, 280).label"


#: Sends the events of a mouse, which moves by whole pixels; returns the canvas as a PNG.
DRAW = """strokes => {
    const canvas = document.getElementById("draw");
    canvas.setPointerCapture = () => {}; // there is no such mouse to capture
    document.getElementById("clear").click();
    const box = canvas.getBoundingClientRect();
    for (const points of strokes) {
        const send = (type, [x, y]) => canvas.dispatchEvent(new PointerEvent(type, {
            pointerId: 1,
            clientX: Math.round(box.left + x * box.width),
            clientY: Math.round(box.top + y * box.height),
        }));
        points.forEach((point, i) => send(i ? "pointermove" : "pointerdown", point));
        send("pointerup", points.at(-1));
    }
    return canvas.toDataURL();
}"""


def draw(page: Page, strokes: list[list[list[float]]]) -> str:
    """Draw on the canvas; return its grey levels in base 64."""
    png = io.BytesIO(base64.b64decode(page.evaluate(DRAW, strokes).partition(",")[2]))
    return base64.b64encode(Image.open(png).convert("L").tobytes()).decode()


def sheet(pictures: list[str]) -> Image.Image:
    """All drawings, a quarter as large."""
    levels = np.frombuffer(b"".join(map(base64.b64decode, pictures)), np.uint8).reshape(-1, 280, 280)
    tiles = levels[:, ::4, ::4].reshape(10, -1, 70, 70).swapaxes(1, 2)
    return Image.fromarray(255 - tiles.reshape(700, -1))


def main() -> None:
    """Draw, read, and print a table and what was read wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reports", type=Path, nargs="+", help="of weights for MNIST; p is against the first")
    parser.add_argument("--sheet", type=Path, help="PNG of the drawings: a row per digit, columns by style")
    arguments = parser.parse_args()
    rng, names = np.random.default_rng(SEED), np.repeat(list(STYLES), EACH)
    digits, styles = np.repeat(np.arange(10), len(names)), np.tile(names, 10)
    drawings = [
        drawing(rng, ways[n % len(ways)], STYLES[name]) for ways in SKELETONS for n, name in enumerate(names)
    ]
    pictures: list[str] = []
    answers: dict[str, NDArray[np.int64]] = {}
    print(f"| report | test rows | drawings | 95 % interval | p | {' | '.join(STYLES)} |")
    print("|---" * (5 + len(STYLES)) + "|")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in arguments.reports:
            page = browser.new_page(viewport={"width": 1200, "height": 1200}, reduced_motion="reduce")
            page.on("console", lambda message: print(f"console: {message.text}"))
            page.on("pageerror", lambda error: print(f"error: {error}"))
            page.goto(path.absolute().as_uri())
            pictures = pictures or [draw(page, strokes) for strokes in drawings]
            said = answers[path.stem] = np.array([page.evaluate(READ, picture) for picture in pictures])
            accuracy = page.evaluate("JSON.parse(document.getElementById('facts').textContent).accuracy")
            page.close()
            right, of_first = said == digits, next(iter(answers.values())) == digits
            p = mcnemar(int((of_first & ~right).sum()), int((right & ~of_first).sum()))
            low, high = wilson_interval(int(right.sum()), len(right))
            by_style = " | ".join(str(right[styles == name].sum()) for name in STYLES)
            drawn = f"{right.sum()} of {len(right)}, {right.mean():.1%} | {low:.1%} to {high:.1%}"
            print(f"| {path.stem} | {accuracy:.2%} | {drawn} | {p:.1g} | {by_style} |")
        browser.close()
    for stem, said in answers.items():
        wrong = Counter(f"{k} as {s}" for k, s in zip(digits, said, strict=True) if k != s).most_common()
        print(f"\n{stem} read {', '.join(f'{pair} ({count})' for pair, count in wrong) or 'all right'}")
    if arguments.sheet:
        sheet(pictures).save(arguments.sheet)


if __name__ == "__main__":
    main()
