"""``mnist-softmax show``."""

import math
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.eval import class_names, fitting_parameters, score, source_for
from mnist_softmax.cli.inputs import open_split
from mnist_softmax.cli.options import chosen_source, source_options
from mnist_softmax.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnist_softmax.data import Source, Split
    from mnist_softmax.draw import Style
    from mnist_softmax.weights import Weights

#: Columns between a digit and its bars, and the most that a bar takes.
_GAP, _LONGEST_BAR = 3, 40
#: Bars of this many classes are drawn; of more, those of the most probable.
_MOST_BARS = 10


@dataclass(frozen=True)
class Screen:
    """What stdout can show: its style and encoding, its columns and, of a terminal, its lines."""

    style: "Style"
    encoding: str | None
    columns: int
    lines: float

    def name(self, text: str) -> str:
        """A name as this screen can print it."""
        from mnist_softmax import draw

        return draw.printable(text, self.encoding)

    def emit(self, text: str) -> None:
        """Print a sentence, in as many lines as it needs."""
        for line in textwrap.wrap(self.name(text), self.columns):
            output.emit(line)


def screen(color: str) -> Screen:
    """What stdout can show; `color` is auto, always or never."""
    from mnist_softmax import draw

    terminal, encoding = sys.stdout.isatty(), sys.stdout.encoding
    style = draw.style(color, terminal=terminal, encoding=encoding, environment=os.environ)
    size = shutil.get_terminal_size()
    return Screen(style, encoding, size.columns, size.lines if terminal else math.inf)


@click.command(
    "show",
    short_help="Draw what weights learned, a digit, or mistakes.",
    epilog="\b\nExample:\n  mnist-softmax show\n  mnist-softmax show --index 5\n"
    "  mnist-softmax show --mistakes --limit 20",
)
@click.argument("weights", type=click.Path(path_type=Path), default="weights.npy")
@click.option("--index", type=int, metavar="N", help="Draw this row, counted from 0, and its probabilities.")
@click.option("--mistakes", is_flag=True, help="Draw the mistakes that the model is surest of.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="With --mistakes: how many of them.",
)
@source_options("what the receipt names, else mnist")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="In colour, or in plain characters; auto is in colour on a terminal.",
)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Draw in the terminal what WEIGHTS (default: weights.npy) learned: a picture of each class's weights.

    A pixel speaks for the class where its weight is orange, or + * #, and against it where it is blue, or
    . - =. With --index one row of the data is drawn instead, with --mistakes several.
    """
    from mnist_softmax import weights as weights_module

    if options["mistakes"] and options["index"] is not None:
        raise UsageError("--index and --mistakes exclude each other")
    weights = weights_module.load(options["weights"])
    chosen = chosen_source(ctx, options["dataset"], options["data_dir"])
    source = source_for(weights, chosen)
    here = screen(options["color"])
    if options["mistakes"]:
        _show_mistakes(here, weights, source, _rows(source, options, weights.preprocessing), options)
    elif options["index"] is not None:
        _show_row(here, weights, source, _rows(source, options, ()), options)
    elif chosen:
        split = _rows(source, options, ())
        fitting_parameters(weights, split)
        _show_templates(here, weights, source, split.height, split.width)
    else:
        size = weights.image_size("name the data with --dataset or --data-dir")
        _show_templates(here, weights, source, *size)


def _rows(source: "Source", options: dict[str, Any], preprocessing: Sequence[str]) -> "Split":
    return open_split(
        source,
        options["split"],
        options["cache_dir"],
        offline=options["offline"],
        preprocessing=preprocessing,
    )


def _show_templates(here: Screen, weights: "Weights", source: "Source", height: int, width: int) -> None:
    """Draw the weights of every class."""
    from mnist_softmax import draw

    pictures, scale = draw.templates(weights.parameters(height * width), height, width)
    per_row, columns = draw.layout(
        len(pictures), height, width, captions=1, columns=here.columns, lines=here.lines - 3
    )
    marks = ("+ * #", ". - =") if here.style == "plain" else ("orange", "blue")
    here.emit(
        f"the weights of each class: {marks[0]} for it, {marks[1]} against it (strongest from {scale:.2g})"
    )
    output.emit("")
    blocks = [
        [*draw.template(picture, scale, columns, here.style), draw.fitted(here.name(name), columns)]
        for picture, name in zip(pictures, class_names(weights, source), strict=True)
    ]
    for line in draw.grid(blocks, per_row):
        output.emit(line)


def _show_row(
    here: Screen, weights: "Weights", source: "Source", split: "Split", options: dict[str, Any]
) -> None:
    """Draw one row as the model sees it, what it says, and its probabilities."""
    import numpy as np

    from mnist_softmax import draw, metrics, preprocess

    parameters = fitting_parameters(weights, split)
    index, rows = options["index"], len(split.labels)
    if not 0 <= index < rows:
        raise UsageError("no such row", "--index", expected=f"0 to {rows - 1}", got=index)
    image = split.images[index : index + 1]
    image = preprocess.apply(image, split.height, split.width, weights.preprocessing)
    S = np.exp(next(metrics.log_probabilities(parameters, image))[0, 0])
    if not np.isfinite(S).all():
        raise WeightsError("the weights are too large", weights.path, got="logits that overflow")
    names = [here.name(name) for name in class_names(weights, source)]
    label, said = int(split.labels[index]), int(S.argmax())
    _, columns = draw.layout(1, split.height, split.width, captions=0, columns=here.columns, lines=here.lines)
    picture = draw.digit(image.reshape(split.height, split.width), columns, here.style)
    bars = _bars(here, S, names, label, columns)
    here.emit(f"{options['split']} row {index} of {source.label}{_prepared(weights)}")
    verdict = "right" if said == label else "wrong"
    here.emit(f"label {names[label]}, the model says {names[said]} ({output.percent(S[said])}): {verdict}")
    output.emit("")
    fits = columns + _GAP + 20 <= here.columns
    for line in draw.beside([picture, bars], _GAP) if fits else [*picture, "", *bars]:
        output.emit(line)


def _prepared(weights: "Weights") -> str:
    return f", after {', '.join(weights.preprocessing)}" if weights.preprocessing else ""


def _bars(here: Screen, S: "NDArray[Any]", names: Sequence[str], label: int, beside: int) -> list[str]:
    """A line a class: name, probability, bar; of many classes the most probable and the label."""
    import numpy as np

    from mnist_softmax import draw

    shown = {label, *np.argsort(-S, kind="stable")[:_MOST_BARS].tolist()}
    widest = max(draw.columns_of(names[i]) for i in shown)
    space = here.columns - beside - _GAP
    space = space if space >= 20 else here.columns
    name_columns = min(widest, max(1, space - 20))
    bar_columns = max(1, min(_LONGEST_BAR, space - name_columns - 12))
    lines = []
    for i in sorted(shown):
        bar = draw.bar(float(S[i]), bar_columns, here.style, strong=i == int(S.argmax()))
        mark = "*" if i == label else " "
        lines.append(f"{mark} {draw.fitted(names[i], name_columns)} {output.percent(S[i]):>8} {bar}")
    if len(shown) < len(S):
        rest = 1 - sum(float(S[i]) for i in shown)
        lines.append(draw.fitted(f"  {len(S) - len(shown)} others {output.percent(max(0.0, rest))}", space))
    return lines


def _show_mistakes(
    here: Screen, weights: "Weights", source: "Source", split: "Split", options: dict[str, Any]
) -> None:
    """Draw the most confident mistakes."""
    from mnist_softmax import draw, metrics

    evaluation = score(weights, split)
    wrong = evaluation.rows - evaluation.correct
    what = f"{evaluation.rows} {options['split']} rows of {source.label}"
    if not wrong:
        here.emit(f"no mistakes in {what}")
        return
    names = [here.name(name) for name in class_names(weights, source)]
    rows = metrics.most_confident_mistakes(evaluation, split.labels, options["limit"])
    per_row, columns = draw.layout(
        len(rows), split.height, split.width, captions=3, columns=here.columns, lines=here.lines - 3
    )
    here.emit(f"the {len(rows)} most confident of {wrong} mistakes in {what}{_prepared(weights)}")
    output.emit("")
    blocks = []
    for row in rows.tolist():
        said = names[evaluation.predicted[row]]
        probability = f", {100 * evaluation.probability[row]:.1f} %"
        room = max(1, columns - len("says ") - len(probability))
        said = draw.fitted(said, min(room, draw.columns_of(said)))
        captions = (f"row {row}", f"label {names[split.labels[row]]}", f"says {said}{probability}")
        picture = split.images[row].reshape(split.height, split.width)
        blocks.append(
            draw.digit(picture, columns, here.style) + [draw.fitted(text, columns) for text in captions]
        )
    for line in draw.grid(blocks, per_row):
        output.emit(line)
