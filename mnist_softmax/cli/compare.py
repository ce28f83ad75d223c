"""``mnist-softmax compare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.eval import FRACTION, class_names, score, source_for, trained_on
from mnist_softmax.cli.inputs import check_apart, open_split
from mnist_softmax.cli.options import chosen_source, json_option, path_option, source_options
from mnist_softmax.errors import GateError

if TYPE_CHECKING:
    from mnist_softmax.compare import Comparison
    from mnist_softmax.data import Source, Split
    from mnist_softmax.metrics import Evaluation
    from mnist_softmax.weights import Weights


@click.command(
    "compare",
    short_help="Say which of two weights is better, and if it is chance.",
    epilog="\b\nExample:\n  mnist-softmax compare released.npy weights.npy --fail-if-worse",
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@source_options("what the receipts name, else mnist")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
@click.option("--fail-if-worse", is_flag=True, help="Exit 7 if B is worse than A and p is below --alpha.")
@click.option(
    "--alpha",
    type=FRACTION,
    default=0.05,
    show_default=True,
    help="Below this p a difference is significant.",
)
@path_option(
    "--differences",
    metavar="FILE",
    help="Write a CSV of the rows on which they differ: row, label, a, b, probability_a, probability_b.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Compare the weights A and B on the same test rows, each prepared as its receipt says.

    Prints their accuracies with 95 % intervals, McNemar's exact test, and each class's recall under both.
    """
    from mnist_softmax import weights as weights_module
    from mnist_softmax.compare import compare
    from mnist_softmax.preprocess import prepared

    if options["differences"]:
        check_apart(options["differences"], options["a"], options["b"])
    both = [weights_module.load(options[name]) for name in ("a", "b")]
    source = _source_for(both, chosen_source(ctx, options["dataset"], options["data_dir"]))
    split = open_split(
        source, options["split"], options["cache_dir"], offline=options["offline"], preprocessing=()
    )
    a, b = (score(weights, prepared(split, weights.preprocessing)) for weights in both)
    names = max((class_names(weights, source) for weights in both), key=len)
    comparison = compare(split.labels, a.predicted, b.predicted, len(names))
    if options["differences"]:
        _write_differences(options["differences"], comparison, split, a, b)
    facts = {
        "a": _scored(both[0], a),
        "b": _scored(both[1], b),
        "dataset": source.label,
        "split": options["split"],
        **_compared(comparison, names),
    }
    if options["json"]:
        output.emit_json(facts)
    else:
        _print(facts, options["alpha"])
    if options["fail_if_worse"]:
        _check_gate(facts, options["alpha"])


def _source_for(both: "list[Weights]", chosen: "Source | None") -> "Source":
    """What both are scored on: the choice, else what the first receipt that names data names, else mnist."""
    from mnist_softmax.data import Source

    source = next(known for known in (chosen, *map(trained_on, both), Source(dataset="mnist")) if known)
    for weights in both:
        source_for(weights, source)  # warns of weights that were trained on something else
    return source


def _scored(weights: "Weights", evaluation: "Evaluation") -> dict[str, Any]:
    from mnist_softmax.metrics import wilson_interval

    low, high = wilson_interval(evaluation.correct, evaluation.rows)
    return {
        "weights": str(weights.path),
        "weights_sha256": weights.sha256,
        "accuracy": evaluation.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
    }


def _compared(comparison: "Comparison", names: list[str]) -> dict[str, Any]:
    per_class = zip(names, comparison.rows_of_class, comparison.right_a, comparison.right_b, strict=True)
    return {
        "rows": comparison.rows,
        "both_right": comparison.both_right,
        "only_a": comparison.only_a,
        "only_b": comparison.only_b,
        "both_wrong": comparison.both_wrong,
        "differing_rows": len(comparison.differing),
        "difference": comparison.difference,
        "p_value": comparison.p_value,
        "classes": [
            {
                "label": label,
                "name": name,
                "rows": int(rows),
                "recall_a": int(right_a) / int(rows) if rows else None,
                "recall_b": int(right_b) / int(rows) if rows else None,
                "difference": (int(right_b) - int(right_a)) / int(rows) if rows else None,
            }
            for label, (name, rows, right_a, right_b) in enumerate(per_class)
        ],
    }


def _p(value: float) -> str:
    return f"p = {value:.3g}" if value > 1e-99 else "p < 1e-99"


def _points(difference: float | None) -> str:
    return "-" if difference is None else f"{100 * difference:+.2f}"


def _print(facts: dict[str, Any], alpha: float) -> None:
    """Print what `compare` prints without --json."""
    for name in ("a", "b"):
        entry = facts[name]
        low, high = output.percent(entry["accuracy_low"]), output.percent(entry["accuracy_high"])
        output.emit(
            f"{name}: accuracy {output.percent(entry['accuracy'])} (95 % interval {low} to {high}), "
            f"{entry['weights']}"
        )
    difference, p_value = facts["difference"], facts["p_value"]
    verdict = "b is better" if difference > 0 else "b is worse" if difference < 0 else "no difference"
    by = f" by {abs(100 * difference):.2f} points" if difference else ""
    significant = "significant" if p_value < alpha else "not significant"
    output.emit(f"{verdict}{by}: {significant} at {alpha:g} ({_p(p_value)}, McNemar's exact test)")
    output.emit("")
    both, only_a, only_b, neither = (facts[key] for key in ("both_right", "only_a", "only_b", "both_wrong"))
    output.emit(f"{facts['rows']} {facts['split']} rows of {facts['dataset']}")
    output.emit(f"right under both {both}, a alone {only_a}, b alone {only_b}, neither {neither}")
    output.emit(f"the predictions differ on {facts['differing_rows']} rows")
    output.emit("")
    classes = facts["classes"]
    named = any(entry["name"] != str(entry["label"]) for entry in classes)
    output.emit(
        f"{'class':>5}  {'recall a':>9}  {'recall b':>9}  {'points':>7}  {'rows':>6}"
        + ("  name" if named else "")
    )
    for entry in classes:
        line = f"{entry['label']:>5}  {output.percent(entry['recall_a']):>9}"
        line += f"  {output.percent(entry['recall_b']):>9}  {_points(entry['difference']):>7}"
        output.emit(line + f"  {entry['rows']:>6}" + (f"  {entry['name']}" if named else ""))
    for verb, sign in (("wins", 1), ("loses", -1)):
        moved = [entry["name"] for entry in classes if (entry["difference"] or 0) * sign > 0]
        output.emit(f"classes that b {verb}: {', '.join(moved) or 'none'}")


def _write_differences(
    path: Path, comparison: "Comparison", split: "Split", a: "Evaluation", b: "Evaluation"
) -> None:
    from mnist_softmax.files import atomic_write

    with atomic_write(path) as file:
        file.write(b"row,label,a,b,probability_a,probability_b\n")
        for row in comparison.differing.tolist():
            file.write(
                b"%d,%d,%d,%d,%.6f,%.6f\n"
                % (
                    row,
                    split.labels[row],
                    a.predicted[row],
                    b.predicted[row],
                    a.probability[row],
                    b.probability[row],
                )
            )


def _check_gate(facts: dict[str, Any], alpha: float) -> None:
    """Fail if b is worse than a by more than chance explains."""
    accuracy_a, accuracy_b, p_value = facts["a"]["accuracy"], facts["b"]["accuracy"], facts["p_value"]
    if facts["difference"] < 0 and p_value < alpha:
        raise GateError(
            f"significantly worse than {facts['a']['weights']}",
            facts["b"]["weights"],
            expected=f"accuracy >= {accuracy_a:.6g} or p >= {alpha:g}",
            got=f"{accuracy_b:.6g} (short by {accuracy_a - accuracy_b:.3g}), {_p(p_value)}",
        )
