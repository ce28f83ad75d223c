"""``mnist-softmax gradcheck``."""

import math
from functools import partial

import click

from mnist_softmax.cli import inputs, options, output, types
from mnist_softmax.errors import GateError
from mnist_softmax.settings import Settings


@options.command(
    "gradcheck", "Check every step of the derivation numerically.", "mnist-softmax gradcheck --rows 64"
)
@options.data("mnist")
@click.option(
    "--rows",
    type=types.integer(1, 1000),
    default=64,
    show_default=True,
    help="Training rows to use (from 1 to 1000); all if there are fewer.",
)
@partial(options.settings, only={"reg": "", "seed": "Random seed of the rows, the weights and the velocity."})
@options.as_json
def command(
    data: options.Data,
    rows: int,
    settings: Settings,
    features: tuple[str, ...],
    json: bool,
) -> None:
    """Check every step of the derivation numerically, on real rows and random weights.

    Prints a line for each check: its equation in the project's derivation, the error max|a - b| / max|b|, and
    the tolerance. The gradient is compared with central differences and the complex step in every parameter.
    Exits 7 if a check fails.
    """
    from mnist_softmax.proof import gradcheck

    split = inputs.open_split(data, "train")
    rows = min(rows, len(split.labels))
    reg, seed = settings.reg, settings.seed
    checks = gradcheck.check(split, rows, reg, seed, features)
    failed = [check for check in checks if not check.passed]
    if json:
        output.emit_json(
            {
                "dataset": split.source.label,
                "rows": rows,
                "features": list(features),
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
        after = f" after {', '.join(features)}" if features else ""
        output.emit(
            f"{len(checks) - len(failed)} of {len(checks)} checks passed: {rows} rows of "
            f"{split.source.label}{after}, reg {reg:g}, seed {seed}"
        )
    if failed:
        raise GateError(
            "the derivation is not confirmed",
            "gradcheck",
            expected="every error within its tolerance",
            got=" and ".join(f"{check.name} (Eq. {check.equation}): {check.error:.3g}" for check in failed),
        )
