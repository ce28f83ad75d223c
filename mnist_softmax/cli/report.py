"""``mnist-softmax report``."""

from pathlib import Path

from mnist_softmax.cli import inputs, options, output


@options.command(
    "report",
    "Write an HTML page: scores, templates, mistakes, a canvas.",
    "mnist-softmax report weights.npy --out report.html",
)
@options.weights
@options.path("-o", "--out", default="report.html", show_default=True, help="Where to save the page.")
@options.data("what the receipt names, else mnist")
@options.split
def command(weights: Path, out: Path, data: options.Data, split: str) -> None:
    """Write one HTML page about WEIGHTS (default: weights.npy) that needs no network.

    It shows accuracy and loss, a picture of each class's weights, the confusion matrix with the digits in
    each cell, the most confident mistakes, the calibration of the probabilities, how the weights were
    trained, and a canvas to draw a digit on. Needs Jinja2 and Pillow: pip install 'mnist-softmax[report]'.
    """
    from mnist_softmax.files import atomic_write
    from mnist_softmax.runs import score
    from mnist_softmax.views.report import page

    page.check_installed()
    model = inputs.load_model(weights)
    source = score.data_for([model], data.source, output.warn)
    inputs.check_outputs(data, source, [out], [weights])
    html, facts = page.render(model, inputs.open_split(data, split, source))
    written = html.encode(errors="backslashreplace")  # a path or a name may hold what UTF-8 cannot encode
    with atomic_write(out) as file:
        file.write(written)
    output.emit(
        f"{out}: accuracy {output.percent(facts['accuracy'])} on {facts['rows']} {facts['split']} rows of "
        f"{facts['dataset']}; {len(written) / 1e6:.1f} MB, open it in a browser"
    )
