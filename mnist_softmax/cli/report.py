"""``mnist-softmax report``."""

from pathlib import Path
from typing import Any

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.eval import class_names, score, source_for, summary
from mnist_softmax.cli.inputs import check_apart, open_split
from mnist_softmax.cli.options import chosen_source, path_option, source_options


@click.command(
    "report",
    short_help="Write a page to look at: scores, templates, mistakes, a canvas.",
    epilog="\b\nExample:\n  mnist-softmax report weights.npy --out report.html",
)
@click.argument("weights", type=click.Path(path_type=Path), default="weights.npy")
@path_option("-o", "--out", default="report.html", show_default=True, help="Where the page goes.")
@source_options("what the receipt names, else mnist")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Write one HTML page about WEIGHTS (default: weights.npy) that needs no network.

    It shows accuracy and loss, a picture of each class's weights, the confusion matrix with the digits in
    each cell, the most confident mistakes, how far the probabilities can be trusted, how the weights were
    trained, and a canvas to draw a digit on. Needs Jinja2: pip install 'mnist-softmax[report]'.
    """
    from mnist_softmax import files, report
    from mnist_softmax import weights as weights_module

    out: Path = options["out"]
    report.check_installed()
    check_apart(out, options["weights"])
    weights = weights_module.load(options["weights"])
    source = source_for(weights, chosen_source(ctx, options["dataset"], options["data_dir"]))
    split = open_split(
        source,
        options["split"],
        options["cache_dir"],
        offline=options["offline"],
        preprocessing=weights.preprocessing,
    )
    evaluation, names = score(weights, split), class_names(weights, source)
    facts = summary(evaluation, names, source, options["split"], weights.sha256)
    html = report.page(weights, split, evaluation, facts, names).encode(
        errors="backslashreplace"
    )  # a path or a name may hold what UTF-8 does not
    with files.atomic_write(out) as file:
        file.write(html)
    output.emit(
        f"{out}: accuracy {output.percent(facts['accuracy'])} on {facts['rows']} {facts['split']} rows of "
        f"{facts['dataset']}; {len(html) / 1e6:.1f} MB, open it in a browser"
    )
