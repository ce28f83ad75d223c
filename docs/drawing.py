"""A picture on a light or a dark page: numbers in cells, images and text, as a PNG for the documentation."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from numpy.typing import NDArray
from PIL import Image

DOCS = Path(__file__).parent
#: Width in pixels of a page, and how many dots a pixel has.
WIDTH, SHARPNESS = 800, 2
#: Numbers below this are shown as 0.
NEAR_ZERO = 0.005


@dataclass(frozen=True)
class Theme:
    """Colours as in the report's style.css."""

    name: Literal["light", "dark"]
    page: str
    text: str
    muted: str
    tile: str
    positive: str
    negative: str


THEMES = (
    Theme("light", "#ffffff", "#1d1c1a", "#66625c", "#efede8", "#e85d04", "#256edb"),
    Theme("dark", "#111214", "#edebe7", "#a19d96", "#26272b", "#ff7a28", "#5494ff"),
)


class Drawing:
    """A picture whose coordinates are pixels of the page, from the upper left corner."""

    def __init__(self, theme: Theme, height: float) -> None:
        self.theme = theme
        self.figure = Figure(figsize=(WIDTH / 100, height / 100), facecolor=theme.page)
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        self.axes.set_axis_off()

    def text(self, x: float, y: float, text: str, size: float = 14, **more: Any) -> None:
        """Text in pixels of `size`, around (x, y) unless `ha` or `va` says otherwise."""
        text = text.replace("-", "\N{MINUS SIGN}")
        style = {"ha": "center", "va": "center_baseline", "color": self.theme.text, **more}
        self.axes.text(x, y, text, fontsize=size * 0.72, **style)

    def box(self, x: float, y: float, width: float, height: float, colour: Any, **more: Any) -> None:
        """A filled rectangle with round corners."""
        style = {"boxstyle": f"round,pad=0,rounding_size={min(4, height / 2)}", "linewidth": 0, **more}
        self.axes.add_patch(FancyBboxPatch((x, y), width, height, facecolor=colour, **style))

    def frame(self, x: float, y: float, width: float, height: float, **more: Any) -> None:
        """An empty rectangle."""
        style = {"edgecolor": self.theme.positive, "linewidth": 1.5, **more}
        self.axes.add_patch(Rectangle((x, y), width, height, fill=False, **style))

    def image(self, x: float, y: float, width: float, height: float, pixels: NDArray[Any]) -> None:
        """RGB pixels (..., 3), 0 to 255, enlarged."""
        extent = (x, x + width, y + height, y)
        colours = np.round(pixels).astype(np.uint8)
        self.axes.imshow(colours, extent=extent, aspect="auto", interpolation="nearest")
        self.axes.set(xlim=(0, WIDTH), ylim=(self.figure.get_figheight() * 100, 0))

    def number(self, x: float, y: float, width: float, height: float, value: float, scale: float) -> None:
        """A cell with a number, coloured by its sign and size."""
        colour = mixed(self.theme, np.array(value / scale))
        self.box(x, y + 1, width - 2, height - 2, colour / 255)
        ink = "#1d1c1a" if colour @ (0.299, 0.587, 0.114) > 115 else "#ffffff"
        ink = self.theme.muted if abs(value) < NEAR_ZERO else ink
        self.text(x + width / 2 - 1, y + height / 2, signed(value), color=ink)

    def title(self, x: float, y: float, text: str, **more: Any) -> None:
        """Bold text."""
        self.text(x, y, text, 16, weight="bold", **more)

    def save(self, name: str) -> None:
        """Write docs/NAME-THEME.png."""
        file = io.BytesIO()
        self.figure.savefig(file, dpi=100 * SHARPNESS, metadata={"Software": None})
        write(file, f"{name}-{self.theme.name}")


def write(png: io.BytesIO, name: str) -> None:
    """Write docs/NAME.png, with 256 colours so that it is small."""
    picture = Image.open(png).convert("RGB")
    # k-means, because the method alone changes the colour of large surfaces
    picture = picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    picture.save(DOCS / f"{name}.png", optimize=True)


def rgb(colour: str) -> NDArray[np.float64]:
    """The three parts of #rrggbb."""
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], np.float64)


def signed(value: float) -> str:
    """Two decimals; 0 for what is close to it."""
    return "0" if abs(value) < NEAR_ZERO else f"{value:.2f}"


def mixed(theme: Theme, strength: NDArray[Any]) -> NDArray[np.float64]:
    """RGB (..., 3), 0 to 255: the theme's positive or negative colour over its tile, by strengths (...)."""
    strength = np.clip(strength, -1, 1)[..., None]
    colour = np.where(strength > 0, rgb(theme.positive), rgb(theme.negative))
    share = np.abs(strength) ** 0.6
    return blended(theme, colour, share)


def greys(theme: Theme, ink: NDArray[np.uint8]) -> NDArray[np.float64]:
    """RGB (..., 3), 0 to 255: ink in the colour of text on the colour of tiles."""
    share = ink[..., None] / 255
    return blended(theme, rgb(theme.text), share)


def blended(theme: Theme, colour: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """A share (..., 1), 0 to 1, of a colour, and for the rest the theme's tile."""
    result: NDArray[np.float64] = share * colour + (1 - share) * rgb(theme.tile)
    return result
