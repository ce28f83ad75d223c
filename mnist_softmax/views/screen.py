"""What a stream can show: its style and encoding, its size, and how pictures are laid out on it."""

import math
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from mnist_softmax.views import terminal

#: Columns that a picture needs in colour, and a digit in plain characters.
_COLOURED, PLAIN_DIGIT = 14, 28


@dataclass(frozen=True)
class Screen:
    """What a stream can show: its style and encoding, its columns and, if it is a terminal, its lines."""

    style: terminal.Style
    encoding: str | None
    columns: int
    lines: float

    @classmethod
    def of(cls, stream: TextIO, color: str, environment: Mapping[str, str]) -> "Screen":
        """What a stream can show; `color` and `environment` as in `terminal.style`."""
        is_terminal, encoding = stream.isatty(), stream.encoding
        style = terminal.style(color, terminal=is_terminal, encoding=encoding, environment=environment)
        size = shutil.get_terminal_size()
        return cls(style, encoding, size.columns, size.lines if is_terminal else math.inf)

    def layout(
        self, count: int, shape: Sequence[int], captions: int, heading: int = 0, plain: int = PLAIN_DIGIT
    ) -> tuple[int, int]:
        """See `terminal.layout`; under `heading` lines. Plain pictures need `plain` columns to be legible."""
        height, width = shape
        return terminal.layout(
            count,
            height,
            width,
            captions=captions,
            columns=self.columns,
            lines=self.lines - heading,
            legible=plain if self.style == "plain" else _COLOURED,
        )

    def name(self, text: str) -> str:
        """A name as this screen can print it."""
        return terminal.printable(text, self.encoding)

    def sentence(self, text: str) -> list[str]:
        """A sentence, in as many lines as it needs."""
        return textwrap.wrap(self.name(text), self.columns)
