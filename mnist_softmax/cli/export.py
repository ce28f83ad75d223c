"""``mnist-softmax export``."""

from pathlib import Path

import click

from mnist_softmax.cli import inputs, options, output


@options.command(
    "export", "Write the model as an ONNX file.", "mnist-softmax export weights.npy --out model.onnx"
)
@options.weights
@options.path("-o", "--out", default="model.onnx", show_default=True, help="Where to save the model.")
@click.option("--floats", is_flag=True, help="Take float32 pixels from 0 to 1, not uint8 from 0 to 255.")
def command(weights: Path, out: Path, floats: bool) -> None:
    """Write WEIGHTS (default: weights.npy) as an ONNX model, which onnxruntime and others run.

    Its input is `images` (batch, height, width). Its outputs are `label` (batch), int64, and `probabilities`
    (batch, classes), float32. The features are part of the model, so it takes the pixels themselves. Its
    metadata has the names of the classes and the SHA-256 of the array. Needs onnx:
    pip install 'mnist-softmax[onnx]'.
    """
    from mnist_softmax.data.split import Source
    from mnist_softmax.features import steps
    from mnist_softmax.files import atomic_write
    from mnist_softmax.records import onnx
    from mnist_softmax.records.weights import array_sha256
    from mnist_softmax.runs import score

    onnx.check_installed()
    inputs.check_outputs(options.Data(None, None, offline=True), None, [out], [weights])
    model = inputs.load_model(weights)
    height, width = model.image_size
    names = score.class_names(model, model.source or Source(dataset="mnist"))
    parameters = model.parameters(steps.count(height, width, model.features))
    sha256 = array_sha256(model.array)
    encoded = onnx.encode(parameters, height, width, model.features, names, sha256, floats=floats)
    with atomic_write(out) as file:
        file.write(encoded)
    pixels = "float32, 0 to 1" if floats else "uint8"
    output.emit(f"{out}: images of {height} x {width} pixels, {pixels}; {len(encoded) / 1e3:.0f} kB")
