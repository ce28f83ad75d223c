"""Reports as Markdown, as GitHub and GitLab show it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mnist_softmax.errors import one_line

#: A line, or a table: its header and its rows.
Part = str | tuple[list[str], list[list[Any]]]

#: Columns of text, which are left-aligned.
TEXT_COLUMNS = {"name", "weights"}


def escaped(text: str) -> str:
    """A text as Markdown that shows it as it is, in a cell too; control characters are written as escapes."""
    # Not every reader of tables takes a pipe after a backslash for a part of the cell.
    return re.sub(r"([\\`*_\[\]<#~&$])", r"\\\1", one_line(text)).replace("|", "&#124;")


def lines(title: str, parts: Iterable[Part]) -> Iterator[str]:
    """The lines of a report: a heading, a paragraph for each line that is not empty, and the tables."""
    yield f"### {escaped(title)}"
    for part in parts:
        if part:
            yield ""
        if not isinstance(part, str):
            yield from _table(*part)
        elif part:
            yield escaped(part)
    yield ""


def _table(header: list[str], rows: list[list[Any]]) -> Iterator[str]:
    yield _row(header)
    yield _row(["---" if name in TEXT_COLUMNS else "---:" for name in header], raw=True)
    yield from map(_row, rows)


def _row(cells: Sequence[object], *, raw: bool = False) -> str:
    return f"| {' | '.join(str(cell) if raw else escaped(str(cell)) for cell in cells)} |"
