"""``mnist-softmax compare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import inputs, options, output, types
from mnist_softmax.errors import GateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnist_softmax.data.split import Split
    from mnist_softmax.scoring.mcnemar import Comparison
    from mnist_softmax.scoring.metrics import Evaluation
    from mnist_softmax.views.markdown import Part


@options.command(
    "compare",
    "Compare weights, with a test of significance.",
    "mnist-softmax compare released.npy weights.npy --fail-if-worse",
    "mnist-softmax compare runs/*.npy",
)
@click.argument("a", type=types.WEIGHTS)
@click.argument("b", type=types.WEIGHTS)
@click.argument("more", type=types.WEIGHTS, nargs=-1)
@options.data("what the receipts name, else mnist")
@options.split
@click.option(
    "--fail-if-worse",
    is_flag=True,
    help="Of two weights: exit 7 if B is worse than A and p is below --alpha.",
)
@click.option(
    "--alpha",
    type=types.FRACTION,
    default=0.05,
    show_default=True,
    help="A difference is significant if p is below this (from 0 to 1).",
)
@options.path(
    "--differences",
    metavar="FILE",
    help="Of two weights: write a CSV of the rows on which they differ: row, label, a, b, probability_a, "
    "probability_b.",
)
@options.as_report
def command(
    a: Path,
    b: Path,
    more: tuple[Path, ...],
    data: options.Data,
    split: str,
    fail_if_worse: bool,
    alpha: float,
    differences: Path | None,
    form: str,
) -> None:
    """Compare the weights A, B and MORE on the same test rows, each with the features its receipt names.

    Of two it prints the accuracies with 95 % intervals, McNemar's exact test, and each class's recall under
    both. More than two are ranked, each tested against the best. Since the best is chosen from the same rows,
    the corrected p, which is p times the number of pairs (Bonferroni), decides what is significant.
    """
    from mnist_softmax.runs import score

    paths = [a, b, *more]
    if more and (fail_if_worse or differences):
        flag = "--fail-if-worse" if fail_if_worse else "--differences"
        raise UsageError(f"{flag} compares two weights", got=f"{len(paths)} of them")
    models = [inputs.load_model(path) for path in paths]
    source = score.data_for(models, data.source, output.warn)
    inputs.check_outputs(data, source, [differences], paths)
    rows = inputs.open_split(data, split, source)
    if more:
        facts = score.rank_models(models, rows)
    else:
        evaluations = [score.evaluate(model, rows) for model in models]
        comparison, facts = score.compare_models(models, rows, evaluations)
        if differences:
            _write_differences(differences, comparison, rows, *evaluations)
    if form == "json":
        output.emit_json(facts)
    else:
        report = _ranking(facts, alpha) if more else _report(facts, alpha)
        output.emit_report(report, "mnist-softmax compare" if form == "markdown" else "")
    if fail_if_worse:
        _check_gate(facts, alpha)


def _rounded(p_value: float | None, alpha: float) -> str:
    """A p-value in three digits, or in as many as tell it from `alpha`."""
    if p_value is None or p_value < 1e-99:
        return "-" if p_value is None else "< 1e-99"
    rounded = (f"{p_value:.{digits}g}" for digits in range(3, 18))
    return next(text for text in rounded if (float(text) < alpha) == (p_value < alpha))


def _p(value: float, alpha: float) -> str:
    text = _rounded(value, alpha)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _points(difference: float | None) -> str:
    return "-" if difference is None else f"{100 * difference:+.2f}"


def _report(facts: dict[str, Any], alpha: float) -> "Iterator[Part]":
    """What `compare` prints of two weights without --json."""
    for name in ("a", "b"):
        entry = facts[name]
        low, high = output.percent(entry["accuracy_low"]), output.percent(entry["accuracy_high"])
        yield (
            f"{name}: accuracy {output.percent(entry['accuracy'])} (95 % interval {low} to {high}), "
            f"{entry['weights']}"
        )
    difference, p_value = facts["difference"], facts["p_value"]
    verdict = "b is better" if difference > 0 else "b is worse" if difference < 0 else "no difference"
    by = f" by {abs(100 * difference):.2f} points" if difference else ""
    significant = "significant" if p_value < alpha else "not significant"
    yield f"{verdict}{by}: {significant} at {alpha:g} ({_p(p_value, alpha)}, McNemar's exact test)"
    yield ""
    both, only_a, only_b, neither = (facts[key] for key in ("both_right", "only_a", "only_b", "both_wrong"))
    yield f"{facts['rows']} {facts['split']} rows of {facts['dataset']}"
    yield f"right under both {both}, a alone {only_a}, b alone {only_b}, neither {neither}"
    yield f"the predictions differ on {facts['differing_rows']} rows"
    yield ""
    classes, percent = facts["classes"], output.percent
    named = any(entry["name"] != str(entry["label"]) for entry in classes)
    yield (
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
        yield f"classes that b {verb}: {', '.join(moved) or 'none'}"


def _ranking(facts: dict[str, Any], alpha: float) -> "Iterator[Part]":
    """What `compare` prints of more than two weights without --json."""
    models, percent = facts["models"], output.percent
    yield f"{facts['rows']} {facts['split']} rows of {facts['dataset']}, the best weights first"
    yield ""
    yield (
        ["accuracy", "95 % interval", "log loss", "points", "p", "corrected", "weights"],
        [
            [
                percent(entry["accuracy"]),
                f"{percent(entry['accuracy_low'])} to {percent(entry['accuracy_high'])}",
                f"{entry['log_loss']:.4f}",
                _points(entry["difference"]),
                *(_rounded(entry[key], alpha) for key in ("p_value", "p_value_corrected")),
                entry["weights"],
            ]
            for entry in models
        ],
    )
    yield ""
    yield "p: McNemar's exact test against the first"
    pairs = len(models) * (len(models) - 1) // 2
    yield f"corrected: for all {pairs} pairs (Bonferroni), since the first was chosen on the same rows"
    equal = [entry["weights"] for entry in models[1:] if entry["p_value_corrected"] >= alpha]
    yield f"not significantly worse than the first at {alpha:g}: {', '.join(equal) or 'none'}"


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
