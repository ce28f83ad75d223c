"""Draw the pictures of these pages, each for a light page and for a dark one.

    python docs/generate_pictures.py                       jacobian, gradient and preparation
    python docs/generate_pictures.py FOLDER [STEP...]      and a screenshot of the report, on weights trained
                                                           with these feature steps on FOLDER's MNIST files

Needs the dependency group `pictures`, and Chromium for the screenshot: /usr/bin/chromium, or what
MNIST_SOFTMAX_TEST_CHROMIUM names. The same versions of everything give the same bytes.
"""

import io
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from drawing import NEAR_ZERO, THEMES, Drawing, Theme, greys, mixed, signed, write
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mnist_softmax.data.open import open_split
from mnist_softmax.features import normalize
from mnist_softmax.features.deskew import deskew, shear_and_centre
from mnist_softmax.runs.fit import train
from mnist_softmax.runs.reproduce import replay
from mnist_softmax.views.report import page

#: A 5 of the sample's test rows of which the model is not sure, and a slanting digit to photograph.
UNSURE, SLANTING = 863, 134
#: Where the columns of the classes begin, and how far apart they are.
LEFT, STEP = 210, 58
#: Side of the photograph, of which three pixels are two of the page.
PHOTO = 168


@dataclass(frozen=True)
class Row:
    """One image (28, 28), its probabilities S (L,) and its one-hot label Y (L,)."""

    image: NDArray[np.uint8]
    S: NDArray[np.float64]
    Y: NDArray[np.float64]


def unsure_row() -> Row:
    """A test row that a model trained on the sample with the defaults is not sure of."""
    model, test = train(open_split("mnist-sample")), open_split("mnist-sample", "test")
    image = test.images[UNSURE].reshape(28, 28)
    return Row(image, model.predict_proba(image[None])[0], np.eye(10)[test.labels[UNSURE]])


def columns(drawing: Drawing, row: Row) -> None:
    """The image in the corner, and the classes over their columns."""
    drawing.image(10, 10, 84, 84, greys(drawing.theme, row.image))
    for k in range(len(row.S)):
        drawing.text(LEFT + k * STEP + STEP / 2 - 1, 28, str(k), color=drawing.theme.muted)


def jacobian(theme: Theme, row: Row) -> None:
    """The vector of Eq. 11 times the matrix of Eq. 10 is the vector of Eq. 12."""
    S, Y, L = row.S, row.Y, len(row.S)
    J = S[:, None] * (np.eye(L) - S)
    true, high, top = int(Y.argmax()), 34, 150
    drawing = Drawing(theme, 570)
    columns(drawing, row)

    drawing.title(LEFT - 14, 65, "S   (3)", ha="right")
    for j in range(L):
        drawing.number(LEFT + j * STEP, 48, STEP, high, S[j], 1)
    drawing.title(LEFT - 52, 125, "-Y/S   (11)")
    drawing.title(LEFT + L * STEP / 2, 125, "∂S/∂F   (10)")
    for i in range(L):
        y = top + i * high
        drawing.text(LEFT - 98, y + high / 2, str(i), color=theme.muted)
        drawing.number(LEFT - 84, y, 64, high, -Y[i] / S[i], 1 / S[true])
        for j in range(L):
            drawing.number(LEFT + j * STEP, y, STEP, high, J[i, j], 0.25)
    drawing.frame(LEFT - 86, top + true * high - 1, L * STEP + 88, high + 2, edgecolor=theme.text)
    y = top + L * high + 26
    drawing.title(LEFT - 14, y + high / 2, "S - Y   (12)   =", ha="right")
    for j in range(L):
        drawing.number(LEFT + j * STEP, y, STEP, high, S[j] - Y[j], 1)
    drawing.save("jacobian")


def gradient(theme: Theme, row: Row) -> None:
    """Bars of S, Y and S - Y, and the gradient of each class's weights for this one image."""
    drawing, unit, error = Drawing(theme, 474), 100, row.S - row.Y
    columns(drawing, row)
    for title, zero, values in (("S   (3)", 124, row.S), ("Y", 258, row.Y), ("S - Y   (12)", 318, error)):
        drawing.title(LEFT - 14, zero - 8, title, ha="right")
        drawing.box(LEFT, zero - 0.5, 10 * STEP - 2, 1, theme.muted, boxstyle="square,pad=0")
        signs = (theme.positive, theme.negative) if values is error else (theme.muted, theme.muted)
        for k, value in enumerate(values):
            if abs(value) >= NEAR_ZERO:
                x, size = LEFT + k * STEP, unit * value
                drawing.box(x + 10, min(zero, zero - size), STEP - 22, abs(size), signs[int(value < 0)])
                drawing.text(x + STEP / 2 - 1, zero - size - np.copysign(10, size), signed(value), 13)
    drawing.title(LEFT - 14, 434, "X\N{MODIFIER LETTER CAPITAL T}(S - Y)   (14)", ha="right")
    for k, value in enumerate(error):
        strength = row.image / 255 * value / np.abs(error).max()
        drawing.image(LEFT + k * STEP, 406, 56, 56, mixed(theme, strength))
    drawing.save("gradient")


def photograph() -> NDArray[np.uint8]:
    """Something like a photograph of a written digit: dark on light, shaded, noisy, off centre."""
    rng = np.random.default_rng(0)
    digit = Image.fromarray(open_split("mnist-sample", "test").images[SLANTING].reshape(28, 28))
    large = digit.resize((130, 130), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1.5))
    ink = Image.new("L", (PHOTO, PHOTO))
    ink.paste(large, (38, 10))
    y, x = np.mgrid[:PHOTO, :PHOTO] / PHOTO
    paper = 214 - 24 * x - 22 * y + rng.normal(0, 2.5, (PHOTO, PHOTO))
    pen = np.clip((np.asarray(ink) / 255 - 0.35) / 0.3, 0, 1)
    grey: NDArray[np.uint8] = np.round(paper * (1 - 0.72 * pen)).astype(np.uint8)
    return grey


def preparation(theme: Theme) -> None:
    """A photograph on its way to the model: the steps of features/normalize.py, and deskewing."""
    grey = photograph()
    ink, _ = normalize._ink(grey, None)
    sure = ink > normalize.SURE
    top, bottom = normalize._extent(np.count_nonzero(sure, axis=1))
    left, right = normalize._extent(np.count_nonzero(sure, axis=0))
    digit = normalize._reduce(ink[top:bottom, left:right], normalize.MNIST_BOX)
    digit = normalize._divide(255 * digit, int(digit.max()))
    placed = normalize.normalize(grey).image
    upright = deskew(placed.reshape(1, -1), 28, 28).reshape(28, 28)
    ring = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])

    drawing = Drawing(theme, 610)
    panels: list[tuple[str, str, NDArray[Any]]] = [
        ("1  Ground", f"the median of the ring is {np.median(ring):.0f}", grey),
        ("2  Ink", "distance from the ground above noise", ink),
        ("3  Box", f"{right - left} x {bottom - top} pixels around the sure ink", ink),
        ("4  Size", f"{digit.shape[1]} x {digit.shape[0]} pixels", digit),
        ("5  Place", "28 x 28, centre of mass near (14, 14)", placed),
        ("Then  deskew", "if the weights' receipt names it", upright),
    ]
    for n, (title, note, pixels) in enumerate(panels):
        x, y, side = 8 + n % 3 * 266, 48 + n // 3 * 306, 252
        drawing.title(x, y - 32, title, ha="left")
        drawing.text(x, y - 12, note, 13, ha="left", color=theme.muted)
        drawing.box(x, y, side, side, "black", boxstyle="square,pad=0", zorder=-1)
        high, wide = (length * side / max(28, *pixels.shape) for length in pixels.shape)
        middle = x + (side - wide) / 2, y + (side - high) / 2
        drawing.image(*middle, wide, high, np.repeat(pixels[..., None], 3, axis=2))
        if n == 0:
            drawing.frame(x + 1, y + 1, side - 2, side - 2, linewidth=2)
        if n == 2:
            drawing.frame(
                *(x, y) + 1.5 * np.array([left, top]), *1.5 * np.array([right - left, bottom - top])
            )
        if n >= 4:
            alpha, cx, cy = (float(part[0]) for part in shear_and_centre(pixels[None].astype(np.float64)))
            ys = np.array([1.0, 27.0])
            xs = cx + 0.5 + alpha * (ys - cy - 0.5)
            drawing.axes.plot(x + 9 * xs, y + 9 * ys, color=theme.positive, linewidth=1.5, linestyle="--")
    drawing.save("preparation")


#: A 3 as strokes of a pen on a unit square.
THREE = [
    (0.5 + 0.17 * np.cos(a), middle + radius * np.sin(a))
    for middle, radius, first, last in ((0.33, 0.15, -2.6, 1.4), (0.65, 0.17, -1.5, 2.6))
    for a in np.linspace(first, last, 25)
]
#: Size of the screenshot in pixels.
SCREEN = (1180, 1235)


def screenshot(folder: Path, features: Sequence[str]) -> None:
    """A report on full MNIST, a 3 drawn on its canvas, in Chromium."""
    from playwright.sync_api import sync_playwright

    model = train(open_split(data_dir=folder), features=features)
    test = open_split(split="test", data_dir=folder)
    html, _ = page.render(model, test, replay(model, open_split(data_dir=folder), test))
    chromium = os.environ.get("MNIST_SOFTMAX_TEST_CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as started, tempfile.TemporaryDirectory() as temporary:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        path = Path(temporary, "report.html")
        path.write_text(html, encoding="utf-8")
        for theme in THEMES:
            tab = browser.new_page(
                viewport={"width": SCREEN[0], "height": SCREEN[1]},
                color_scheme=theme.name,
                reduced_motion="reduce",
            )
            tab.goto(path.as_uri())
            canvas = tab.locator("#draw")
            canvas.scroll_into_view_if_needed()
            box = canvas.bounding_box()
            assert box
            for n, (x, y) in enumerate(THREE):
                tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
                if n == 0:
                    tab.mouse.down()
            tab.mouse.up()
            tab.mouse.move(0, 0)
            canvas.evaluate("element => element.blur()")
            tab.evaluate("scrollTo(0, 0)")
            tab.wait_for_timeout(500)
            write(io.BytesIO(tab.screenshot()), f"report-{theme.name}")
        browser.close()


def main(folder: Path | None, features: Sequence[str]) -> None:
    """Draw everything, without a folder all but the screenshot."""
    row = unsure_row()
    for theme in THEMES:
        jacobian(theme, row)
        gradient(theme, row)
        preparation(theme)
    if folder:
        screenshot(folder, features)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None, sys.argv[2:])
