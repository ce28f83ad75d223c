"""``mnist-softmax train``."""

from functools import partial
from pathlib import Path

import click

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.cli.config import config_option, effective_config
from mnist_softmax.cli.training import train_and_report
from mnist_softmax.errors import UsageError
from mnist_softmax.settings import Settings


@options.command(
    "train",
    "Train, and save the weights with their receipt.",
    "mnist-softmax train --lr 0.2 --reg 1e-4 --out weights.npy",
)
@config_option
@options.data("mnist")
@options.settings
@options.path(
    "-o", "--out", suffix=".npy", default="weights.npy", show_default=True, help="Where to save the weights."
)
@options.path("--log", help="Write one JSON object per epoch to this file.")
@click.option(
    "--resume", is_flag=True, help="Continue from the checkpoint of an interrupted run, if there is one."
)
@options.cluster
@click.option("--print-config", is_flag=True, help="Print the settings as a config file, and exit.")
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    data: options.Data,
    settings: Settings,
    features: tuple[str, ...],
    out: Path,
    log: Path | None,
    resume: bool,
    cluster: str | None,
    print_config: bool,
    json: bool,
) -> None:
    """Train softmax regression by minibatch gradient descent, or with --solver lbfgs by L-BFGS.

    L-BFGS lowers the loss over all rows at once and ends early if rounding hides the next step; --lr,
    --momentum, --schedule and --batch-size do not go with it. With --cluster the workers of a Dask cluster
    compute its passes, for data beyond one machine; the weights are the same, byte for byte.

    The receipt in the weights file records the features, and every command that reads the weights applies
    them. On a terminal the run ends with sparklines of loss and accuracy; show --history draws them again.

    Every option can also be set in a config file or by an environment variable, such as
    MNIST_SOFTMAX_TRAIN_LR=0.1. The command line wins over the environment, and that over the file.
    """
    from mnist_softmax.records.weights import checkpoint_path

    if print_config:
        dataset = data.source.dataset if data.source else "mnist"
        folder = data.source.data_dir if data.source else None
        for line in effective_config(ctx, settings, dataset, folder):
            output.emit(line)
        return
    if cluster and settings.solver != "lbfgs":
        raise UsageError(
            f"--cluster does not go with the solver {settings.solver}", remedy="add --solver lbfgs"
        )
    inputs.check_outputs(data, None, [out, checkpoint_path(out), log])
    with inputs.connected(cluster, data) as connection:
        split = inputs.open_split(data, "train")
        elsewhere = None
        if connection:
            from mnist_softmax.runs.cluster.passes import ClusterBlocks

            elsewhere = partial(ClusterBlocks, connection)
        train_and_report(
            split, settings, features, out, log=log, resume=resume, as_json=json, elsewhere=elsewhere
        )
