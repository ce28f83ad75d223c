"""What `mnist-softmax show` draws, as lines of text: the weights, a row, the most confident mistakes."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.split import Source, Split
from mnist_softmax.errors import UsageError
from mnist_softmax.features import steps
from mnist_softmax.runs import score
from mnist_softmax.runs.model import Model
from mnist_softmax.scoring.metrics import most_confident_mistakes
from mnist_softmax.views import pictures, terminal
from mnist_softmax.views.screen import PLAIN_DIGIT, Screen

#: Columns between a digit and its bars, and of the longest bar.
_GAP, _LONGEST_BAR = 3, 40
#: Pixels along a cell of directions.
_CELL = 4
#: The most classes with a bar: the most probable ones, and the label.
_MOST_BARS = 10
#: Columns that weights, noisier than a digit, need in plain characters.
_PLAIN_WEIGHTS = 39


def templates(here: Screen, model: Model, source: Source, height: int, width: int) -> Iterator[str]:
    """The weights of every class."""
    shape = steps.shape(height, width, model.features)
    places = pictures.places(shape, _CELL)
    parameters, plain, of = model.parameters(math.prod(shape)), here.style == "plain", "each class"
    if plain and shape == places.shape and min(shape) >= PLAIN_DIGIT:
        parameters, of = pictures.smoothed(parameters, *shape), f"{of}, smoothed"
    drawn, scale = pictures.templates(parameters, places)
    per_row, columns = here.layout(len(drawn), places.shape, 1, heading=3, plain=_PLAIN_WEIGHTS)
    marks = ("+ # @", ". : -") if plain else ("orange", "blue")
    text = f"the weights of {of}: {marks[0]} for it, {marks[1]} against it (strongest from {scale:.2g})"
    if len(shape) > 2:
        text += "; a mark on the left of a cell is the left edge of ink there, and so on round the cell"
    yield from here.sentence(text)
    yield ""
    names = score.class_names(model, source)
    blocks = [
        [
            *terminal.template(picture, scale, columns, here.style),
            terminal.fitted(here.name(name), columns),
        ]
        for picture, name in zip(drawn, names, strict=True)
    ]
    yield from terminal.grid(blocks, per_row)


def row(here: Screen, model: Model, split: Split, index: int) -> Iterator[str]:
    """One row as the model sees it, what the model says, and the probabilities.

    Raises
    ------
    UsageError : there is no such row.
    WeightsError : the model does not fit the split.
    """
    model.parameters_for(split)
    rows, height, width = len(split.labels), split.height, split.width
    if not 0 <= index < rows:
        raise UsageError("no such row", "--index", expected=f"0 to {rows - 1}", got=index)
    S, seen = score.answer(model, split.images[index].reshape(height, width))
    names = [here.name(name) for name in score.class_names(model, split.source)]
    label, said = int(split.labels[index]), int(S.argmax())
    _, columns = here.layout(1, (height, width), 0)
    picture = terminal.digit(seen, columns, here.style)
    bars = _bars(here, S, names, label, columns)
    yield from here.sentence(f"{split.name} row {index} of {split.source.label}{_after(model)}")
    verdict = "right" if said == label else "wrong"
    yield from here.sentence(
        f"label {names[label]}, the model says {names[said]} ({100 * S[said]:.2f} %): {verdict}"
    )
    yield ""
    fits = columns + _GAP + 20 <= here.columns
    yield from terminal.beside([picture, bars], _GAP) if fits else [*picture, "", *bars]


def mistakes(here: Screen, model: Model, split: Split, limit: int) -> Iterator[str]:
    """The most confident mistakes."""
    evaluation = score.evaluate(model, split)
    wrong = evaluation.rows - evaluation.correct
    what = f"{evaluation.rows} {split.name} rows of {split.source.label}"
    if not wrong:
        yield from here.sentence(f"no mistakes in {what}")
        return
    names = [here.name(name) for name in score.class_names(model, split.source)]
    rows = most_confident_mistakes(evaluation, split.labels, limit)
    per_row, columns = here.layout(len(rows), (split.height, split.width), 3, heading=3)
    yield from here.sentence(f"the {len(rows)} most confident of {wrong} mistakes in {what}{_after(model)}")
    yield ""
    blocks = []
    for index in rows.tolist():
        said = names[evaluation.predicted[index]]
        probability = f", {100 * evaluation.probability[index]:.1f} %"
        room = max(1, columns - len("says ") - len(probability))
        said = terminal.fitted(said, min(room, terminal.columns_of(said)))
        captions = (f"row {index}", f"label {names[split.labels[index]]}", f"says {said}{probability}")
        _, seen = score.answer(model, split.images[index].reshape(split.height, split.width))
        picture = terminal.digit(seen, columns, here.style)
        blocks.append([*picture, *(terminal.fitted(text, columns) for text in captions)])
    yield from terminal.grid(blocks, per_row)


def digit(here: Screen, image: NDArray[np.uint8]) -> list[str]:
    """An image (height, width), with nothing beside it."""
    _, columns = here.layout(1, image.shape, 1)
    return terminal.digit(image, columns, here.style)


def _after(model: Model) -> str:
    drawn = steps.of_images(model.features)
    after = f", after {', '.join(drawn)}" if drawn else ""
    return f"{after}; the model sees its directions" if drawn != model.features else after


def _bars(here: Screen, S: NDArray[np.float64], names: Sequence[str], label: int, beside: int) -> list[str]:
    """A line per class: name, probability, bar; of many classes only the most probable and the label."""
    shown = {label, *np.argsort(-S, kind="stable")[:_MOST_BARS].tolist()}
    widest = max(terminal.columns_of(names[i]) for i in shown)
    space = here.columns - beside - _GAP
    space = space if space >= 20 else here.columns
    name_columns = min(widest, max(1, space - 20))
    bar_columns = max(1, min(_LONGEST_BAR, space - name_columns - 12))
    lines = []
    for i in sorted(shown):
        bar = terminal.bar(float(S[i]), bar_columns, here.style, strong=i == int(S.argmax()))
        mark = "*" if i == label else " "
        lines.append(f"{mark} {terminal.fitted(names[i], name_columns)} {f'{100 * S[i]:.2f} %':>8} {bar}")
    if len(shown) < len(S):
        rest = max(0.0, 1 - sum(float(S[i]) for i in shown))
        lines.append(terminal.fitted(f"  {len(S) - len(shown)} others {100 * rest:.2f} %", space))
    return lines
