"""``mnist-softmax show``."""

import functools
import os
import sys
from pathlib import Path

import click

from mnist_softmax.cli import inputs, options, output, types


@options.command(
    "show",
    "Draw what weights learned, a digit, or mistakes.",
    "mnist-softmax show",
    "mnist-softmax show --index 5",
    "mnist-softmax show --mistakes --limit 20",
    "mnist-softmax show --history",
)
@options.weights
@click.option("--index", type=int, metavar="N", help="Draw this row, counted from 0, and its probabilities.")
@click.option("--mistakes", is_flag=True, help="Draw the most confident mistakes.")
@click.option("--history", is_flag=True, help="Draw loss and accuracy by epoch, from the receipt.")
@click.option(
    "--limit",
    type=types.integer(1),
    default=10,
    show_default=True,
    help="How many mistakes to draw (at least 1).",
)
@options.data("what the receipt names, else mnist")
@options.split
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colour or plain characters; auto uses colour on a terminal.",
)
def command(
    weights: Path,
    index: int | None,
    mistakes: bool,
    history: bool,
    limit: int,
    data: options.Data,
    split: str,
    color: str,
) -> None:
    """Draw in the terminal what WEIGHTS (default: weights.npy) learned: a picture of each class's weights.

    Ink on orange pixels (in plain text + # @) speaks for the class, ink on blue ones (. : -) against it. With
    --index one row of the data is drawn instead, with --mistakes several, with --history how training went.
    """
    from mnist_softmax.runs import score
    from mnist_softmax.views import history as of_training
    from mnist_softmax.views import show
    from mnist_softmax.views.screen import Screen

    given = {"index": index is not None, "mistakes": mistakes, "history": history}
    chosen = [name for name in given if given[name]]
    what = functools.reduce(options.stronger, chosen) if chosen else "weights"
    here = Screen.of(sys.stdout, color, os.environ)
    if what == "history":
        for line in of_training.history(here, inputs.load_with_receipt(weights)[1]):
            output.emit(line)
        return
    model = inputs.load_model(weights)
    source = score.data_for([model], data.source, output.warn)
    if what == "mistakes":
        lines = show.mistakes(here, model, inputs.open_split(data, split, source), limit)
    elif what == "index":
        assert index is not None
        lines = show.row(here, model, inputs.open_split(data, split, source), index)
    elif data.source:
        rows = inputs.open_split(data, split, source)
        model.parameters_for(rows)
        lines = show.templates(here, model, source, rows.height, rows.width)
    else:
        lines = show.templates(here, model, source, *model.image_size)
    for line in lines:
        output.emit_drawing(line)
