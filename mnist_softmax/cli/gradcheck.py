"""``mnist-softmax gradcheck``."""

import math
from pathlib import Path

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.inputs import open_split
from mnist_softmax.cli.options import FiniteFloat, chosen_source, json_option, source_options
from mnist_softmax.errors import GateError


@click.command(
    "gradcheck",
    short_help="Check every step of the derivation numerically.",
    epilog="\b\nExample:\n  mnist-softmax gradcheck --rows 64",
)
@source_options("mnist")
@click.option(
    "--rows",
    type=click.IntRange(1, 1000),
    default=64,
    show_default=True,
    help="Training rows to take; all of them where there are fewer.",
)
@click.option(
    "--reg",
    type=FiniteFloat(0, 1e6),
    default=1e-4,
    show_default=True,
    help="Lambda of the L2 penalty on W.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Draws the rows, the weights and the velocity.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    dataset: str | None,
    data_dir: Path | None,
    cache_dir: Path | None,
    offline: bool,
    rows: int,
    reg: float,
    seed: int,
    json: bool,
) -> None:
    """Check every step of the derivation numerically, on real rows and random weights.

    Prints a line for each check: its equation in docs/derivation.md, the largest error, max|a - b| / max|b|,
    and the tolerance. The gradient is compared with central differences and with the complex step in every
    weight. Exit 7 if a check fails.
    """
    from mnist_softmax import gradcheck
    from mnist_softmax.data import Source

    source = chosen_source(ctx, dataset, data_dir) or Source(dataset="mnist")
    split = open_split(source, "train", cache_dir, offline=offline, preprocessing=())
    rows = min(rows, len(split.labels))
    checks = gradcheck.check(split, len(source.class_names(split)), rows, reg, seed)
    failed = [check for check in checks if not check.passed]
    if json:
        output.emit_json(
            {
                "dataset": source.label,
                "rows": rows,
                "reg": reg,
                "seed": seed,
                "checks": [
                    {
                        "name": check.name,
                        "equation": check.equation,
                        "error": check.error if math.isfinite(check.error) else None,
                        "tolerance": check.tolerance,
                        "passed": check.passed,
                    }
                    for check in checks
                ],
                "passed": not failed,
            }
        )
    else:
        for check in checks:
            output.emit(
                f"Eq. {check.equation:<3} {check.name:<32} error {check.error:<8.1e} "
                f"tolerance {check.tolerance:<8.1g} {'ok' if check.passed else 'FAILED'}"
            )
        output.emit(
            f"{len(checks) - len(failed)} of {len(checks)} checks passed: {rows} rows of {source.label}, "
            f"reg {reg:g}, seed {seed}"
        )
    if failed:
        raise GateError(
            "the derivation is not confirmed",
            "gradcheck",
            expected="every error within its tolerance",
            got=" and ".join(f"{check.name} (Eq. {check.equation}): {check.error:.3g}" for check in failed),
        )
