"""``mnist-softmax predict``."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.options import path_option
from mnist_softmax.errors import DataError, MnistSoftmaxError, UsageError, WeightsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnist_softmax.prepare import Prepared
    from mnist_softmax.weights import Weights

_RUNNERS_UP = 2
_LONGEST_STDIN = 256 << 20


@click.command(
    "predict",
    short_help="Recognise pictures of digits.",
    epilog="\b\nExample:\n  mnist-softmax predict --weights weights.npy digit.png photo.jpg",
)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@path_option("--weights", default="weights.npy", show_default=True, help="The weights to use.")
@click.option("--show", is_flag=True, help="Draw what the model sees: the picture as it was prepared.")
@click.option("--json", is_flag=True, help="Print one JSON object per image, a line each.")
def command(images: tuple[str, ...], weights: Path, show: bool, json: bool) -> None:
    """Recognise the digit in each IMAGE: PNG, JPEG and whatever Pillow reads; - is stdin.

    A picture of one digit of any size, light on dark or dark on light, is first prepared as MNIST's digits
    were: cropped, scaled into a 20x20 box, and centred by its centre of mass in 28x28 (docs/preparation.md).
    Exits 4 if an image cannot be read or shows no digit; the others are still done. Needs Pillow: pip install
    'mnist-softmax[images]'.
    """
    from mnist_softmax import pictures
    from mnist_softmax import weights as weights_module
    from mnist_softmax.cli.eval import class_names, source_for

    if show and json:
        raise UsageError("--show and --json exclude each other")
    pictures.check_installed()
    loaded = weights_module.load(weights)
    height, width = loaded.image_size()
    names = class_names(loaded, source_for(loaded, None))
    failures: list[MnistSoftmaxError] = []
    for source in images:
        try:
            prepared = _prepare(source, height, width)
        except (DataError, UsageError) as error:
            failures.append(error)
            if json:
                output.emit_json({"source": source, "error": str(error)})
            continue
        if prepared.inverted:
            output.note(f"{source}: dark on light, so it was inverted")
        image, probabilities = _classify(loaded, prepared.image)
        if json:
            output.emit_json(_facts(source, probabilities))
        else:
            _print(source, probabilities, names)
            if show:
                _draw(image)
    _report(failures)


def _prepare(source: str, height: int, width: int) -> "Prepared":
    """Read a picture and prepare it.

    Raises
    ------
    UsageError : no such file.
    DataError : it cannot be read, or shows no digit.
    """
    from mnist_softmax import pictures, prepare

    try:
        if source == "-":
            if sys.stdin is None:
                raise DataError("the picture cannot be read", "-", got="a closed stdin")
            # Pillow seeks, which a pipe cannot. One byte more than is allowed tells a file that is too long.
            file = io.BytesIO(sys.stdin.buffer.read(_LONGEST_STDIN + 1))
            if file.getbuffer().nbytes > _LONGEST_STDIN:
                raise DataError("the picture is too large", "-", expected=f"at most {_LONGEST_STDIN} bytes")
            grey = pictures.read_grey(file, source)
        else:
            with open(source, "rb") as opened:
                grey = pictures.read_grey(opened, source)
    except FileNotFoundError as error:
        raise UsageError("no such file", source) from error
    except OSError as error:
        raise DataError("the picture cannot be read", source, got=error.strerror or error) from error
    return prepare.prepare(grey, height, width, source)


def _classify(
    weights: "Weights", image: "NDArray[np.uint8]"
) -> "tuple[NDArray[np.uint8], NDArray[np.float64]]":
    """The image (height, width) after the receipt's preprocessing, and the probabilities (L,)."""
    import numpy as np

    from mnist_softmax import metrics, preprocess

    height, width = image.shape
    row = preprocess.apply(image.reshape(1, -1), height, width, weights.preprocessing)
    (log_S,) = metrics.log_probabilities(weights.parameters(height * width), row)
    if not np.isfinite(log_S).all():
        raise WeightsError("the weights are too large", weights.path, got="logits that overflow")
    return row.reshape(height, width), np.exp(log_S[0, 0])


def _facts(source: str, probabilities: "NDArray[np.float64]") -> dict[str, Any]:
    label = int(probabilities.argmax())
    return {
        "source": source,
        "label": label,
        "probability": float(probabilities[label]),
        "probabilities": probabilities.tolist(),
    }


def _print(source: str, probabilities: "NDArray[np.float64]", names: list[str]) -> None:
    best, *others = (-probabilities).argsort(kind="stable")[: 1 + _RUNNERS_UP]
    line = f"{source}: {names[best]} ({output.percent(probabilities[best])})"
    if others:
        line += ", then " + ", ".join(f"{names[k]} ({output.percent(probabilities[k])})" for k in others)
    output.emit(line)


def _draw(image: "NDArray[np.uint8]") -> None:
    """Draw an image as the terminal, or a pipe, can show it."""
    from mnist_softmax import draw
    from mnist_softmax.cli.show import screen

    here = screen("auto")
    height, width = image.shape
    _, columns = draw.layout(1, height, width, captions=1, columns=here.columns, lines=here.lines)
    for line in draw.digit(image, columns, here.style):
        output.emit(line)


def _report(failures: list[MnistSoftmaxError]) -> None:
    """A line for each image that failed; one that cannot be read outranks one that does not exist."""
    if not failures:
        return
    last = max(range(len(failures)), key=lambda i: (failures[i].exit_code, i))
    for i, error in enumerate(failures):
        if i != last:
            output.fail(str(error))
    raise failures[last]
