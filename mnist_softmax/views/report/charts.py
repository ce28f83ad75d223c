"""The page's charts as inline SVG. Colours are CSS classes of the page, so they follow light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mnist_softmax.records.receipt import Epoch
from mnist_softmax.scoring.calibration import ReliabilityBin

#: The most epochs of a long history that are drawn.
MOST_POINTS = 200
#: The largest number that is drawn: beyond it the arithmetic of the axes overflows.
_MOST_DRAWN = 1e300
#: Up to this many points get a dot each.
_MOST_DOTS = 30
_WIDTH, _HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 16, 44


@dataclass(frozen=True)
class _Frame:
    """The plot's rectangle in user units, and the ranges that it shows."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = _WIDTH
    height: float = _HEIGHT

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The position of (x, y) in user units."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        left = _LEFT + across * (self.width - _LEFT - _RIGHT)
        return left, self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """The line through some points, as the `d` of a path."""
        places = [self.at(*point) for point in points]
        return "M" + "L".join(f"{left:.1f} {top:.1f}" for left, top in places)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most about `most` round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _svg(label: str, body: list[str], frame: _Frame) -> str:
    inner = "\n".join(body)
    box = f"0 0 {frame.width:g} {frame.height:g}"
    return f'<svg viewBox="{box}" role="img" aria-label="{label}">\n{inner}\n</svg>'


def _dot(css: str, left: float, top: float, radius: float, title: str) -> str:
    place = f'cx="{left:.1f}" cy="{top:.1f}" r="{radius}"'
    return f'<circle class="dot {css}" {place}><title>{title}</title></circle>'


def _axes(
    frame: _Frame, x_title: str, y_format: str, x_ticks: list[float], x_format: str = "{:g}"
) -> list[str]:
    body = []
    for value in ticks(*frame.y):
        left, top = frame.at(frame.x[0], value)
        right, _ = frame.at(frame.x[1], value)
        body.append(f'<path class="grid" d="M{left:.1f} {top:.1f}H{right:.1f}"/>')
        body.append(f'<text class="y" x="{left - 8:.1f}" y="{top + 4:.1f}">{y_format.format(value)}</text>')
    for value in x_ticks:
        left, top = frame.at(value, frame.y[0])
        body.append(f'<text class="x" x="{left:.1f}" y="{top + 18:.1f}">{x_format.format(value)}</text>')
    middle = (_LEFT + frame.width - _RIGHT) / 2
    body.append(f'<text class="x title" x="{middle:.1f}" y="{frame.height - 6:.1f}">{x_title}</text>')
    return body


def thinned(history: Sequence[Epoch]) -> list[Epoch]:
    """At most `MOST_POINTS` entries of a history, evenly spaced, with the first and the last."""
    if len(history) <= MOST_POINTS:
        return list(history)
    last = len(history) - 1
    return [history[round(i * last / (MOST_POINTS - 1))] for i in range(MOST_POINTS)]


def curves(history: Sequence[Epoch], lines: Sequence[tuple[str, str, str]], label: str, y_format: str) -> str:
    """A chart of some attributes of a history by epoch; "" if there are no numbers.

    Parameters
    ----------
    history : entries of a receipt.
    lines : attribute, CSS class and name of each line; one without numbers is left out.
    """
    entries = thinned(history)
    series = [
        (
            css,
            name,
            [
                (entry.epoch, min(getattr(entry, key), _MOST_DRAWN))
                for entry in entries
                if getattr(entry, key) is not None
            ],
        )
        for key, css, name in lines
    ]
    values = [value for _, _, points in series for _, value in points]
    if not values:
        return ""
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    first, last = entries[0].epoch, entries[-1].epoch
    frame = _Frame((first, last if last > first else first + 1), (low - margin, high + margin))
    x_ticks = [value for value in ticks(first, last, 8) if value == round(value)]
    body = _axes(frame, "epoch", y_format, x_ticks)
    for css, name, points in series:
        if not points:
            continue
        body.append(f'<path class="line {css}" d="{frame.path(points)}"/>')
        if len(points) <= _MOST_DOTS:
            for epoch, value in points:
                left, top = frame.at(epoch, value)
                title = f"epoch {epoch}: {name} {y_format.format(value)}"
                body.append(_dot(css, left, top, 3.5, title))
    ends = ", ".join(
        f"{name} from {y_format.format(points[0][1])} to {y_format.format(points[-1][1])}"
        for _, name, points in series
        if points
    )
    return _svg(f"{label}, epochs {first} to {last}: {ends}", body, frame)


def loss_chart(history: Sequence[Epoch]) -> str:
    """The loss in training, and of the rows held out, by epoch."""
    lines = [("running_loss", "first", "training loss"), ("validation_loss", "second", "validation loss")]
    return curves(history, lines, "Loss by epoch", "{:.3f}")


def accuracy_chart(history: Sequence[Epoch]) -> str:
    """The accuracy on the rows held out by epoch."""
    lines = [("validation_accuracy", "second", "validation accuracy")]
    return curves(history, lines, "Accuracy by epoch", "{:.1%}")


def of_moments(figures: Sequence[dict[str, Any]]) -> str:
    """Accuracy and loss at the moments of training, evenly spaced; the script moves the line at `.now`."""
    last = max(len(figures) - 1, 1)
    frame = _Frame((0, last), (0, 1), _WIDTH, 120)
    highest = max(entry["loss"] for entry in figures) or 1.0
    accuracy = [(i, entry["accuracy"]) for i, entry in enumerate(figures)]
    loss = [(i, entry["loss"] / highest) for i, entry in enumerate(figures)]
    (start, bottom), (end, top) = frame.at(0, 0), frame.at(last, 1)
    body = [
        f'<path class="now" data-width="{end - start:.1f}" d="M{end:.1f} {top - 6:.1f}V{bottom:.1f}"/>',
        f'<path class="line first" d="{frame.path(loss)}"/>',
        f'<path class="line second" d="{frame.path(accuracy)}"/>',
    ]
    return _svg("Loss and accuracy at these moments", body, frame)


def reliability_chart(bins: Sequence[ReliabilityBin]) -> str:
    """The reliability diagram: how often predictions were right, by probability, with 95 % intervals."""
    frame = _Frame((0.0, 1.0), (0.0, 1.0), _WIDTH, 420)
    marks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    body = _axes(
        frame, "probability that the model gave", "{:.0%}", [float(mark) for mark in marks], "{:.0%}"
    )
    most = math.log1p(max((entry.rows for entry in bins), default=1))
    for entry in bins:
        left, ground = frame.at(entry.low, 0)
        right, _ = frame.at(entry.high, 0)
        tall = 70 * math.log1p(entry.rows) / most  # nearly all answers are in the last bin
        body.append(
            f'<rect class="count" x="{left + 1.5:.1f}" y="{ground - tall:.1f}" '
            f'width="{right - left - 3:.1f}" height="{tall:.1f}"><title>{entry.rows} rows</title></rect>'
        )
    body.append(f'<path class="ideal" d="{frame.path([(0, 0), (1, 1)])}"/>')
    for entry in bins:
        x, low = frame.at(entry.probability, entry.accuracy_low)
        _, high = frame.at(entry.probability, entry.accuracy_high)
        _, y = frame.at(entry.probability, entry.accuracy)
        title = f"{entry.rows} rows with {entry.probability:.1%} on average: {entry.accuracy:.1%} right"
        body.append(f'<path class="interval" d="M{x:.1f} {low:.1f}V{high:.1f}"/>')
        body.append(_dot("dots", x, y, 4.5, title))
    body.append(f'<path class="line dots" d="{frame.path([(e.probability, e.accuracy) for e in bins])}"/>')
    return _svg("Reliability diagram; its numbers are in the table below", body, frame)
