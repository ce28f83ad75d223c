"""Pictures, bars and captions as text: half-blocks in colour for a terminal, plain ASCII elsewhere.

A terminal's cell is about twice as high as it is wide, so a cell holds two square pixels, one above the
other: ``▀`` in the colour of the upper on the colour of the lower. In plain text a cell holds their mean.
Every function is pure and returns text; the caller knows the terminal and prints.
"""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Style = Literal["plain", "colour"]

_RESET = "\x1b[0m"
#: Columns between two pictures.
_GAP = 1
#: Pictures with fewer pixels a side are enlarged by a whole factor.
_COMFORTABLE = 28
_GREYS = " .:-=+*#%@"
#: From the strongest weight against a class, through 0, to the strongest for it, which has the most ink.
_SIGNED = "-:. +#@"
#: The same for a class and against it, from zero on, in xterm's 256 colours. The steps of CIE lightness are
#: even: about 6, 27, 47, 68, 88. Orange and blue can be told apart without seeing red or green; zero is dark,
#: as in a digit.
_FOR = (233, 88, 130, 208, 223)
_AGAINST = (233, 20, 27, 39, 189)
_LEVELS = "▁▂▃▄▅▆▇█"
_EIGHTHS = ("", *"▏▎▍▌▋▊▉")
_BAR, _STRONG_BAR = 244, 208  # xterm's grey and orange, visible on white and on black


def style(choice: str, *, terminal: bool, encoding: str | None, environment: Mapping[str, str]) -> Style:
    """How to draw on a stream.

    Parameters
    ----------
    choice : "always" and "never" win over everything but the encoding; "auto" colours a terminal, unless
        NO_COLOR (https://no-color.org) is set or TERM is missing or "dumb".
    terminal : whether the stream is one.
    encoding : of the stream; if it lacks block characters, the style is "plain".
    environment : NO_COLOR and TERM.
    """
    term = environment.get("TERM", "dumb")
    automatic = terminal and not environment.get("NO_COLOR") and term != "dumb"
    if choice == "never" or (choice == "auto" and not automatic) or not _can_encode("▀█▏", encoding):
        return "plain"
    return "colour"


def _can_encode(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


# Pictures ---------------------------------------------------------------------------------------------------


def resized(picture: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
    """A picture (H, W) as (height, width), larger or smaller; each pixel is the mean of what it covers."""
    resampled = _reduced(_reduced(picture.astype(np.float64), height).T, width).T
    return resampled.round(9)  # a value between two characters rounds the same way on every machine


def _reduced(lines: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Lines (n, m) as (count, m), each the mean of the n / count lines that it covers."""
    edges = np.linspace(0, len(lines), count + 1)
    whole = np.minimum(edges.astype(np.intp), len(lines) - 1)
    # The sum of all lines above each edge.
    above = np.cumsum(lines, axis=0)[whole] - lines[whole] * (1 - (edges - whole))[:, None]
    means: NDArray[np.float64] = np.diff(above, axis=0) * (count / len(lines))
    return means


def digit(picture: NDArray[np.uint8], width: int, style: Style) -> list[str]:
    """A picture (H, W) uint8 in greys, 255 white, as lines of exactly `width` columns."""

    def cell(value: float) -> str:
        if style == "plain":
            return _GREYS[min(int(value * len(_GREYS) / 256), len(_GREYS) - 1)]
        # Black, white, and 24 greys 8, 18, ... 238 between them.
        return str(16 if value < 4 else 231 if value > 246 else 232 + min(23, round((value - 8) / 10)))

    return _picture(picture, width, style, cell)


def template(picture: NDArray[Any], scale: float, width: int, style: Style) -> list[str]:
    """A picture (H, W) of weights, as lines of exactly `width` columns.

    Orange or ``+#@`` above 0, blue or ``.:-`` below; at full strength from `scale` on.
    """

    def cell(value: float) -> str:
        strength = max(-1.0, min(1.0, value / scale)) if scale else 0.0
        if style == "plain":
            middle = len(_SIGNED) // 2
            return _SIGNED[middle + round(middle * strength)]
        colours = _FOR if strength > 0 else _AGAINST
        return str(colours[round(abs(strength) * (len(colours) - 1))])

    return _picture(picture, width, style, cell)


def _picture(picture: NDArray[Any], width: int, style: Style, cell: Callable[[float], str]) -> list[str]:
    """A picture (H, W) as lines; `cell` gives a value's character or the number of its colour."""
    height = _height(picture.shape[0], picture.shape[1], width)
    if style == "plain":
        return ["".join(map(cell, row)) for row in resized(picture, math.ceil(height / 2), width).tolist()]
    pixels = [list(map(cell, row)) for row in resized(picture, height, width).tolist()]
    nothing = [""] * width
    return [
        _half_blocks(upper, lower)
        for upper, lower in zip_longest(pixels[::2], pixels[1::2], fillvalue=nothing)
    ]


def _height(height: int, width: int, columns: int) -> int:
    """How many square pixels high a picture of height x width is when it is `columns` wide."""
    return max(1, round(columns * height / width))


def _half_blocks(upper: Sequence[str], lower: Sequence[str]) -> str:
    """One line of cells from the colours of two lines of pixels; "" in `lower` is the terminal's background.

    The codes are those of ECMA-48, "select graphic rendition": 38 sets the foreground, 48 the background.
    """
    text, last = "", ""
    for above, below in zip(upper, lower, strict=True):
        code = f"\x1b[38;5;{above};{f'48;5;{below}' if below else '49'}m"
        text += ("" if code == last else code) + "▀"
        last = code
    return text + _RESET


# Text beside pictures ---------------------------------------------------------------------------------------


def bar(fraction: float, width: int, style: Style, *, strong: bool = False) -> str:
    """A bar, `width` columns long if `fraction` is 1, not padded; a `strong` one is orange."""
    if style == "plain":
        return "#" * round(fraction * width)
    eighths = round(fraction * width * 8)
    text = "█" * (eighths // 8) + _EIGHTHS[eighths % 8]
    return f"\x1b[38;5;{_STRONG_BAR if strong else _BAR}m{text}{_RESET}" if text else ""


def sparkline(values: Sequence[float | None], columns: int, encoding: str | None) -> str:
    """A character per value, the lowest for the least and the highest for the greatest, a space for None.

    Equal values are in the middle. Of more values than `columns` evenly spaced ones are shown.
    """
    count = min(len(values), columns)
    shown = [values[round(i * (len(values) - 1) / max(1, count - 1))] for i in range(count)]
    halves = [None if v is None else v / 2 for v in shown]  # the difference of whole ones may overflow
    least = min((half for half in halves if half is not None), default=0.0)
    span = max((half for half in halves if half is not None), default=0.0) - least
    levels = _LEVELS if _can_encode(_LEVELS, encoding) else _GREYS[1:]

    def level(half: float) -> str:
        share = (half - least) / span if span else 0.5
        return levels[min(int(share * len(levels)), len(levels) - 1)]

    return "".join(" " if half is None else level(half) for half in halves)


def columns_of(text: str) -> int:
    """How many columns a text takes: two per wide East Asian character, none per combining one."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def printable(text: str, encoding: str | None) -> str:
    """A text with control characters, and characters that the encoding lacks, written as escapes."""

    def escaped(c: str) -> str:
        return c.encode("unicode_escape").decode()

    return "".join(c if c.isprintable() and _can_encode(c, encoding) else escaped(c) for c in text)


def fitted(text: str, width: int) -> str:
    """Printable text cut or padded to exactly `width` columns; where it is cut, it ends in ``~``."""
    if columns_of(text) > width:
        while text and columns_of(text) > width - 1:
            text = text[:-1]
        text = (text + "~")[:width]
    return text + " " * (width - columns_of(text))


# Layout -----------------------------------------------------------------------------------------------------


def layout(
    count: int, height: int, width: int, *, captions: int, columns: int, lines: float, legible: int
) -> tuple[int, int]:
    """How to lay out `count` pictures of height x width pixels.

    The largest size with which all fit into `lines`, up to one column per pixel, or more if the picture is
    small or would not be legible. If none fits, the smallest that is legible.

    Parameters
    ----------
    captions : lines under each picture.
    columns, lines : the available space.
    legible : the columns that a picture needs, or in a tall one the rows of pixels.

    Returns
    -------
    Pictures in a row, and the columns of each.
    """
    side = max(height, width)
    factor = max(legible, _COMFORTABLE) // side
    largest = min(width * factor if factor > 1 else max(width, legible * width // side), columns)
    smallest = min(largest, legible)
    for size in range(largest, smallest - 1, -1):
        per_row = max(1, min(count, (columns + _GAP) // (size + _GAP)))
        rows = math.ceil(count / per_row)
        if rows * (math.ceil(_height(height, width, size) / 2) + captions + 1) - 1 <= lines:
            break
    return math.ceil(count / rows), size


def beside(blocks: Sequence[Sequence[str]], gap: int = _GAP) -> list[str]:
    """Blocks of lines side by side, padded below; only the last block's lines may differ in width."""
    widths = [columns_of(strip_codes(block[0])) if block else 0 for block in blocks]
    filled = [" " * width for width in widths]
    return [
        (" " * gap).join(line or filled[i] for i, line in enumerate(row)).rstrip()
        for row in zip_longest(*blocks, fillvalue="")
    ]


def strip_codes(text: str) -> str:
    """Text without its colour codes."""
    parts = text.split("\x1b[")
    return parts[0] + "".join(part.split("m", 1)[1] for part in parts[1:])


def grid(blocks: Sequence[Sequence[str]], per_row: int) -> list[str]:
    """Blocks of the same size in rows of `per_row`, with an empty line between rows."""
    rows = [blocks[start : start + per_row] for start in range(0, len(blocks), per_row)]
    return [line for row in rows for line in ("", *beside(row))][1:]
