"""``mnist-softmax sweep``."""

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.config import config_option
from mnist_softmax.cli.inputs import open_split
from mnist_softmax.cli.options import (
    LR,
    MOMENTUM,
    REG,
    SEED,
    Decorator,
    NumberList,
    chosen_source,
    deskew_option,
    json_option,
    path_option,
    preprocessing_steps,
    schedule_options,
    source_options,
)
from mnist_softmax.errors import GateError

if TYPE_CHECKING:
    from mnist_softmax.data import Source, Split
    from mnist_softmax.sweep import Combination, Outcome


def _list_option(name: str, element: "click.ParamType[Any]", default: str, help_text: str) -> Decorator:
    return click.option(
        name, type=NumberList(element), metavar="LIST", default=default, show_default=True, help=help_text
    )


@click.command(
    "sweep",
    short_help="Train a grid of hyperparameters at once.",
    epilog="\b\nExample:\n  mnist-softmax sweep --lr 0.05,0.1,0.2,0.5 --reg 0,1e-5,1e-4,1e-3 --out best.npy",
)
@config_option
@source_options("mnist")
@_list_option("--lr", LR, "0.2", "Learning rates, separated by commas.")
@_list_option("--reg", REG, "1e-4", "Values of lambda, the L2 penalty.")
@_list_option("--momentum", MOMENTUM, "0.9", "Values of momentum.")
@_list_option("--seed", SEED, "0", "Seeds; several give a mean and a spread.")
@schedule_options
@deskew_option
@path_option("--out", help="Save the best model's weights here; .json is the receipt.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train every combination of the lists at once and rank them by validation accuracy.

    The models share their batches, so that each costs a fraction of a run of its own. With --out the best
    one is trained once more, alone: its weights equal those of `mnist-softmax train`, to the byte.
    """
    from mnist_softmax import files, weights
    from mnist_softmax.data import Source
    from mnist_softmax.run import Settings
    from mnist_softmax.sweep import grid, ranked

    out: Path | None = options["out"]
    if out:
        for target in (out, weights.receipt_path(out)):
            files.check_writable_target(target)
    shared = {name: options[name] for name in ("epochs", "batch_size", "schedule", "val_size")}
    models = grid(Settings(**shared), options["lr"], options["reg"], options["momentum"], options["seed"])
    source = chosen_source(ctx, options["dataset"], options["data_dir"]) or Source(dataset="mnist")
    steps = preprocessing_steps(options)
    split = open_split(source, "train", options["cache_dir"], offline=options["offline"], preprocessing=steps)
    outcomes: dict[Settings, Outcome] = {}
    try:
        _train(split, source, models, outcomes)
    except (KeyboardInterrupt, SystemExit):
        known = ranked(list(outcomes.values()))
        _report(known, source, options, complete=False)
        sys.stdout.flush()
        raise
    ranking = ranked(list(outcomes.values()))
    saved = None
    if out and not ranking[0].diverged:
        saved = _save_best(out, split, source, ranking)
    _report(ranking, source, options, complete=True, saved=saved)
    if all(combination.diverged for combination in ranking):
        raise GateError("every model diverged", expected="a finite loss", remedy="try smaller --lr")


def _train(split: "Split", source: "Source", models: "list[Any]", outcomes: "dict[Any, Outcome]") -> None:
    """Train the models with a bar; keep what is known of each in `outcomes`, also when it is interrupted."""
    from mnist_softmax import sweep

    settled = [model.for_rows(len(split.labels)) for model in models]
    outcomes.update((model, sweep.Outcome(model)) for model in settled)
    rows = len(split.labels) - (settled[0].val_size or 0)
    total = rows * settled[0].epochs * len(settled)
    with (
        output.progress_bar(total, f"training {len(settled)} models", "row") as advance,
        closing(sweep.sweep(split, source, settled, on_rows=advance)) as progress,
    ):
        for group in progress:
            outcomes.update((outcome.settings, outcome) for outcome in group)


def _save_best(out: Path, split: "Split", source: "Source", ranking: "list[Combination]") -> dict[str, str]:
    """Train the best model alone, so that `train` gives the same bytes; the receipt records the grid."""
    from dataclasses import replace

    from mnist_softmax import run

    best = ranking[0].best.settings
    with output.progress_bar(
        best.epochs * (len(split.labels) - (best.val_size or 0)), "the best one alone", "row"
    ) as advance:
        result = run.fit(split, source, best, on_rows=advance)
    grid = [outcome.as_json() for combination in ranking for outcome in combination.outcomes]
    result = replace(result, receipt={**result.receipt, "sweep": grid})
    return {"weights": str(out), "weights_sha256": run.save_result(out, result)}


def _report(
    ranking: "list[Combination]",
    source: "Source",
    options: dict[str, Any],
    *,
    complete: bool,
    saved: dict[str, str] | None = None,
) -> None:
    """Print the ranked table, or the JSON object."""
    if options["json"]:
        output.emit_json(
            {
                "dataset": source.label,
                "epochs": options["epochs"],
                "complete": complete,
                "models": [outcome.as_json() for combination in ranking for outcome in combination.outcomes],
                "combinations": [combination.as_json() for combination in ranking],
                **(saved or {}),
            }
        )
        return
    seeds = max((len(combination.outcomes) for combination in ranking), default=1)
    if not complete:
        output.emit("interrupted; what is known so far:")
    spread = f"  {'spread':>7}" if seeds > 1 else ""
    output.emit(f"{'rank':>4}  {'accuracy':>8}{spread}  {'loss':>7}  {'lr':>8}  {'reg':>8}  {'momentum':>8}")
    for rank, combination in enumerate(ranking, 1):
        output.emit(_table_row(rank, combination, with_spread=seeds > 1))
    output.emit("")
    over = f", the mean over {seeds} seeds" if seeds > 1 else ""
    output.emit(f"accuracy and loss are of the validation rows of {source.label}{over}")
    if saved:
        output.emit(f"{saved['weights']}: the best model, trained alone; score it with mnist-softmax eval")


def _table_row(rank: int, combination: "Combination", *, with_spread: bool) -> str:
    settings = combination.outcomes[0].settings
    unknown = "diverged" if combination.diverged else "-"
    accuracy = unknown if combination.accuracy is None else output.percent(combination.accuracy)
    text = f"{rank:>4}  {accuracy:>8}"
    if with_spread:
        text += f"  {output.percent(combination.spread):>7}"
    text += f"  {'-' if combination.loss is None else format(combination.loss, '.4f'):>7}"
    return text + f"  {settings.lr:>8g}  {settings.reg:>8g}  {settings.momentum:>8g}"
