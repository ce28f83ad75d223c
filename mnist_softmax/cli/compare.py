"""``mnist-softmax compare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.errors import GateError

if TYPE_CHECKING:
    from mnist_softmax.data.split import Split
    from mnist_softmax.scoring.mcnemar import Comparison
    from mnist_softmax.scoring.metrics import Evaluation


@options.command(
    "compare",
    "Compare two weights, with a test of significance.",
    "mnist-softmax compare released.npy weights.npy --fail-if-worse",
)
@click.argument("a", type=options.WEIGHTS)
@click.argument("b", type=options.WEIGHTS)
@options.data("what the receipts name, else mnist")
@options.split
@click.option("--fail-if-worse", is_flag=True, help="Exit 7 if B is worse than A and p is below --alpha.")
@click.option(
    "--alpha",
    type=options.FRACTION,
    default=0.05,
    show_default=True,
    help="A difference is significant if p is below this (from 0 to 1).",
)
@options.path(
    "--differences",
    metavar="FILE",
    help="Write a CSV of the rows on which they differ: row, label, a, b, probability_a, probability_b.",
)
@options.as_json
def command(
    a: Path,
    b: Path,
    data: options.Data,
    split: str,
    fail_if_worse: bool,
    alpha: float,
    differences: Path | None,
    json: bool,
) -> None:
    """Compare the weights A and B on the same test rows, each with the features that its receipt names.

    Prints their accuracies with 95 % intervals, McNemar's exact test, and each class's recall under both.
    """
    from mnist_softmax.runs import score

    models = [inputs.load_model(path) for path in (a, b)]
    source = score.data_for(models, data.source, output.warn)
    inputs.check_outputs(data, source, [differences], [a, b])
    rows = inputs.open_split(data, split, source)
    evaluations = [score.evaluate(model, rows) for model in models]
    comparison, facts = score.compare_models(models, rows, evaluations)
    if differences:
        _write_differences(differences, comparison, rows, *evaluations)
    if json:
        output.emit_json(facts)
    else:
        _print(facts, alpha)
    if fail_if_worse:
        _check_gate(facts, alpha)


def _p(value: float, alpha: float) -> str:
    """A p-value in three digits, or in as many as tell it from `alpha`."""
    if value < 1e-99:
        return "p < 1e-99"
    rounded = (f"{value:.{digits}g}" for digits in range(3, 18))
    return f"p = {next(text for text in rounded if (float(text) < alpha) == (value < alpha))}"


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
    output.emit(f"{verdict}{by}: {significant} at {alpha:g} ({_p(p_value, alpha)}, McNemar's exact test)")
    output.emit("")
    both, only_a, only_b, neither = (facts[key] for key in ("both_right", "only_a", "only_b", "both_wrong"))
    output.emit(f"{facts['rows']} {facts['split']} rows of {facts['dataset']}")
    output.emit(f"right under both {both}, a alone {only_a}, b alone {only_b}, neither {neither}")
    output.emit(f"the predictions differ on {facts['differing_rows']} rows")
    output.emit("")
    classes, percent = facts["classes"], output.percent
    named = any(entry["name"] != str(entry["label"]) for entry in classes)
    output.emit_table(
        ["class", "recall a", "recall b", "points", "rows", *(["name"] if named else [])],
        [
            [
                *(entry["label"], percent(entry["recall_a"]), percent(entry["recall_b"])),
                *(_points(entry["difference"]), entry["rows"], *([entry["name"]] if named else [])),
            ]
            for entry in classes
        ],
    )
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
            labels = (row, split.labels[row], a.predicted[row], b.predicted[row])
            file.write(b"%d,%d,%d,%d,%.6f,%.6f\n" % (*labels, a.probability[row], b.probability[row]))


def _check_gate(facts: dict[str, Any], alpha: float) -> None:
    """Fail if b is significantly worse than a."""
    accuracy_a, accuracy_b, p_value = facts["a"]["accuracy"], facts["b"]["accuracy"], facts["p_value"]
    if facts["difference"] < 0 and p_value < alpha:
        raise GateError(
            f"significantly worse than {facts['a']['weights']}",
            facts["b"]["weights"],
            expected=f"accuracy >= {accuracy_a:.6g} or p >= {alpha:g}",
            got=f"{accuracy_b:.6g} (short by {accuracy_a - accuracy_b:.3g}), {_p(p_value, alpha)}",
        )
