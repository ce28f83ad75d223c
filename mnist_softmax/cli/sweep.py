"""``mnist-softmax sweep``."""

import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.cli.config import config_option
from mnist_softmax.errors import GateError
from mnist_softmax.settings import Settings

if TYPE_CHECKING:
    from mnist_softmax.data.split import Split
    from mnist_softmax.runs.cluster.connection import Connection
    from mnist_softmax.runs.model import Model
    from mnist_softmax.runs.sweep import Combination, Outcome


@options.command(
    "sweep",
    "Train a grid of hyperparameters at once.",
    "mnist-softmax sweep --lr 0.05,0.1,0.2,0.5 --reg 0,1e-5,1e-4,1e-3 --out best.npy",
)
@config_option
@options.data("mnist")
@partial(options.settings, swept=True)
@options.path("-o", "--out", suffix=".npy", help="Save the best model's weights here.")
@options.cluster
@options.as_json
def command(
    data: options.Data,
    settings: Settings,
    lists: dict[str, tuple[Any, ...]],
    features: tuple[str, ...],
    out: Path | None,
    cluster: str | None,
    json: bool,
) -> None:
    """Train every combination of the lists at once and rank them by validation accuracy.

    The models share their batches, so each costs a fraction of a run of its own. With --out the best one is
    trained once more, alone: its file equals that of `mnist-softmax train`, byte for byte.

    At most 1,024 models; with --cluster, whose workers train 16 at a time, 65,536.
    """
    from mnist_softmax.records.weights import checkpoint_path
    from mnist_softmax.runs.sweep import MOST_MODELS, MOST_ON_CLUSTER, grid, ranked

    inputs.check_outputs(data, None, [out, out and checkpoint_path(out)])
    models = grid(settings, lists, MOST_ON_CLUSTER if cluster else MOST_MODELS)
    outcomes: dict[Settings, Outcome] = {}
    complete = reported = False
    best = None
    with inputs.connected(cluster, data) as connection:
        split = inputs.open_split(data, "train")
        try:
            _train(split, models, features, outcomes, out and out.absolute().parent, connection)
            complete = True
            ranking = ranked(list(outcomes.values()))
            if not json:
                _report(ranking, split, settings.epochs, as_json=False)
                reported = True
            if out and not ranking[0].diverged:
                best = _train_alone(ranking[0].best.settings, split, features, out)
        finally:  # the ranking is a result: neither a signal nor a full disk may lose it
            if not reported and any(outcome.epoch for outcome in outcomes.values()):
                known = ranked(list(outcomes.values()))
                _report(known, split, settings.epochs, as_json=json, complete=complete, best=best)
            sys.stdout.flush()
    if best and not json:
        output.emit(f"{best.path}: the best model, trained alone; score it with mnist-softmax eval")
    if all(combination.diverged for combination in ranking):
        raise GateError("every model diverged", expected="a finite loss", remedy="try a smaller --lr")


def _train_alone(settings: Settings, split: "Split", features: tuple[str, ...], out: Path) -> "Model":
    from mnist_softmax.runs.fit import fit

    with output.progress_bar(settings.row_passes(len(split.labels)), "the best one alone", "row") as advance:
        return fit(split, settings, features, out=out, on_rows=advance)


def _train(
    split: "Split",
    models: list[Settings],
    features: tuple[str, ...],
    outcomes: "dict[Settings, Outcome]",
    folder: Path | None,
    connection: "Connection | None",
) -> None:
    """Train the models with a bar; `outcomes` has the latest of each, even after an interruption."""
    from mnist_softmax.runs import sweep

    settled = [model.for_rows(len(split.labels)) for model in models]
    outcomes.update((model, sweep.Outcome(model)) for model in settled)
    total = settled[0].row_passes(len(split.labels)) * len(settled)
    with output.progress_bar(total, f"training {len(settled)} models", "row") as advance:
        if connection:
            from mnist_softmax.runs.cluster import groups

            training = groups.sweep(connection, split, settled, features, on_rows=advance)
        else:
            training = sweep.sweep(split, settled, features, folder=folder, on_rows=advance)
        with closing(training):
            for group in training:
                outcomes.update((outcome.settings, outcome) for outcome in group)


def _report(
    ranking: "list[Combination]",
    split: "Split",
    epochs: int,
    *,
    as_json: bool,
    complete: bool = True,
    best: "Model | None" = None,
) -> None:
    """Print the ranked table, or the JSON object."""
    if as_json:
        output.emit_json(
            {
                "dataset": split.source.label,
                "epochs": epochs,
                "complete": complete,
                "models": [outcome.as_json() for combination in ranking for outcome in combination.outcomes],
                "combinations": [combination.as_json() for combination in ranking],
                "weights": str(best.path) if best else None,
                "weights_sha256": best.sha256 if best else None,
            }
        )
        return
    seeds = max((len(combination.outcomes) for combination in ranking), default=1)
    if not complete:
        output.emit("interrupted; what is known so far:")
    spread = ["spread"] if seeds > 1 else []
    varied = list(ranking[0].varied) if ranking else []
    output.emit_table(
        ["rank", "accuracy", *spread, "loss", *varied],
        [
            [rank, "diverged" if combination.diverged else output.percent(combination.accuracy)]
            + [output.percent(combination.spread) for _ in spread]
            + ["-" if combination.loss is None else f"{combination.loss:.4f}"]
            + [f"{value:g}" for value in combination.varied.values()]
            for rank, combination in enumerate(ranking, 1)
        ],
    )
    output.emit("")
    over = f", the mean over {seeds} seeds" if seeds > 1 else ""
    output.emit(f"accuracy and loss are of the validation rows of {split.source.label}{over}")
