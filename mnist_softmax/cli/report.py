"""``mnist-softmax report``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.errors import DownloadError, MnistSoftmaxError, UsageError

if TYPE_CHECKING:
    from mnist_softmax.data.split import Split
    from mnist_softmax.runs.model import Model
    from mnist_softmax.runs.replay import Replay


_NOT_ASKED = "it was not asked for"


@options.command(
    "report",
    "Write an HTML page: scores, templates, mistakes, a canvas.",
    "mnist-softmax report weights.npy --out report.html",
)
@options.weights
@options.path("-o", "--out", default="report.html", show_default=True, help="Where to save the page.")
@click.option("--no-replay", is_flag=True, help="Do not train again to show how the weights formed.")
@options.data("what the receipt names, else mnist")
@options.split
def command(weights: Path, out: Path, no_replay: bool, data: options.Data, split: str) -> None:
    """Write one HTML page about WEIGHTS (default: weights.npy) that needs no network.

    It shows accuracy and loss, a picture of each class's weights, the confusion matrix with the digits in
    each cell, the most confident mistakes, the calibration of the probabilities, how the weights were
    trained, and a canvas to draw a digit on. Needs Jinja2 and Pillow: pip install 'mnist-softmax[report]'.

    To show how the weights formed, it trains again as `reproduce` does, if that takes at most 20 million rows
    and the data is at hand; it fetches none for that.
    """
    from mnist_softmax.files import atomic_write
    from mnist_softmax.runs import score
    from mnist_softmax.views.report import page

    page.check_installed()
    model = inputs.load_model(weights)
    source = score.data_for([model], data.source, output.warn)
    inputs.check_outputs(data, source, [out], [weights])
    if model.source and not no_replay:
        inputs.check_outputs(data, model.source, [out])
    scored = inputs.open_split(data, split, source)
    replay = _NOT_ASKED if no_replay else _replayed(model, data, scored)
    html, facts = page.render(model, scored, replay)
    written = html.encode(errors="backslashreplace")  # a path or a name may hold what UTF-8 cannot encode
    with atomic_write(out) as file:
        file.write(written)
    output.emit(
        f"{out}: accuracy {output.percent(facts['accuracy'])} on {facts['rows']} {facts['split']} rows of "
        f"{facts['dataset']}{_proven(replay)}; {len(written) / 1e6:.1f} MB, open it in a browser"
    )


def _replayed(model: "Model", data: options.Data, scored: "Split") -> "Replay | str":
    """How the weights formed, or why that cannot be shown; the reason names no path, as the page does not."""
    from mnist_softmax.runs import reproduce

    reason = reproduce.obstacle(model)
    if reason or model.receipt is None:
        return reason
    try:
        split = inputs.open_split(replace(data, offline=True), "train", model.source)
        rows = model.receipt.hyperparameters.row_passes(len(split.labels))
        with output.progress_bar(rows, "training again", "row") as advance:
            shown = reproduce.replay(model, split, scored, advance)
    except DownloadError:
        return "the data is not in the cache"
    except UsageError:
        return "the data is not where the receipt says"
    except MnistSoftmaxError as error:
        return error.what
    except (OSError, MemoryError):
        return "the data cannot be read into memory"
    outcome = shown.outcome
    if outcome.faults:
        what = "the same weights, but with" if outcome.identical else "another result:"
        output.warn(f"training again gave {what} {' and '.join(outcome.faults)}: {model.path}")
    elif not outcome.identical:
        output.warn(
            f"training again gave weights equal within the tolerance, not the same bytes: {model.path}"
        )
    return shown


def _proven(replay: "Replay | str") -> str:
    """What training again has shown, for the line on stdout."""
    if isinstance(replay, str):
        return "" if replay == _NOT_ASKED else f"; not trained again: {replay}"
    if replay.outcome.identical:
        return "; trained again: the same weights"
    return (
        f"; trained again: {'different weights' if replay.outcome.faults else 'equal within the tolerance'}"
    )
