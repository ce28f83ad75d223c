"""``mnist-softmax predict``."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import inputs, options, output, types
from mnist_softmax.errors import DataError, MnistSoftmaxError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnist_softmax.features.normalize import Normalized

_RUNNERS_UP = 2
#: Errors that are no fault of a picture.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@options.command(
    "predict",
    "Recognise pictures of digits.",
    "mnist-softmax predict --weights weights.npy digit.png photo.jpg",
    "mnist-softmax predict scans/ --json",
)
@click.argument("images", metavar="IMAGE|FOLDER...", nargs=-1, required=True, type=types.PathType())
@options.path(
    "--weights", suffix=".npy", default="weights.npy", show_default=True, help="The weights to use."
)
@click.option("--show", is_flag=True, help="Draw what the model sees: the picture as an MNIST image.")
@click.option("--json", is_flag=True, help="Print one JSON object per image, a line each.")
def command(images: tuple[str, ...], weights: Path, show: bool, json: bool) -> None:
    """Recognise the digit in each IMAGE: PNG, JPEG, BMP, GIF, PNM, TIFF or WebP; - is stdin.

    Of a FOLDER all pictures are read, in the order of their names. Other files and folders in it are skipped
    with a warning, hidden ones without.

    Each picture has one digit, of any size, light on dark or dark on light. It is first prepared as MNIST's
    authors prepared theirs: cropped, scaled into a 20x20 box, and centred by its centre of mass in 28x28.
    Exits 4 if an image is damaged or shows no digit, 2 if it does not exist; the others are still read. Needs
    Pillow: pip install 'mnist-softmax[images]'.
    """
    from mnist_softmax.data.split import Source
    from mnist_softmax.features import decode
    from mnist_softmax.runs import score
    from mnist_softmax.views.screen import Screen
    from mnist_softmax.views.show import digit

    if show and json:
        raise UsageError("--show and --json exclude each other")
    decode.check_installed()
    model = inputs.load_model(weights)
    names = score.class_names(model, model.source or Source(dataset="mnist"))
    height, width = model.image_size
    failures: list[MnistSoftmaxError] = []
    for source, picture in _pictures(images, height, width):
        if isinstance(picture, MnistSoftmaxError):
            failures.append(picture)
            if json:
                output.emit_json({"source": source, "error": str(picture)})
            continue
        if picture.inverted:
            output.note(f"{source}: dark on light, so it was inverted")
        probabilities, seen = score.answer(model, picture.image)
        if json:
            output.emit_json(_facts(source, probabilities))
        else:
            _print(source, probabilities, names)
            if show:
                for line in digit(Screen.of(sys.stdout, "auto", os.environ), seen):
                    output.emit_drawing(line)
    _report(failures)


def _pictures(
    sources: Sequence[str], height: int, width: int
) -> "Iterator[tuple[str, Normalized | MnistSoftmaxError]]":
    """Read each picture, and those of each folder; or say why one cannot be read."""
    from mnist_softmax.features.decode import NotAPictureError

    for source in sources:
        if source == "-" or not os.path.isdir(source):  # noqa: PTH112  (Path.is_dir may raise)
            slashed = source.endswith((os.sep, "/"))
            missing = UsageError("no such folder", source)
            yield source, missing if slashed else _tried(source, height, width)
            continue
        try:
            paths = sorted(path for path in Path(source).iterdir() if not path.name.startswith("."))
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise
            yield source, DataError("the folder cannot be read", source, got=error.strerror)
            continue
        any_picture = False
        for path in map(str, paths):
            picture = _tried(path, height, width)
            if isinstance(picture, NotAPictureError | UsageError):  # a link to nothing is no picture either
                output.warn(f"skipped: {picture}")
            else:
                any_picture = True
                yield path, picture
        if not any_picture:
            yield source, UsageError("no pictures in the folder", source)


def _tried(source: str, height: int, width: int) -> "Normalized | MnistSoftmaxError":
    try:
        return _read(source, height, width)
    except (DataError, UsageError) as error:
        return error


def _read(source: str, height: int, width: int) -> "Normalized":
    """Read a picture and make an MNIST image of it.

    Raises
    ------
    UsageError : no such file.
    NotAPictureError : it is none.
    DataError : it cannot be read, or shows no digit.
    """
    from mnist_softmax.features import decode, normalize
    from mnist_softmax.files import open_regular

    try:
        if source == "-" and sys.stdin is None:
            raise DataError("the picture cannot be read", "-", got="a closed stdin")
        with (
            nullcontext(sys.stdin.buffer)
            if source == "-"
            else open_regular(Path(source), decode.NotAPictureError) as file
        ):
            grey = decode.read_grey(file, source)
    except FileNotFoundError as error:
        raise UsageError("no such file", source) from error
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise
        # A loop of links is no picture either.
        kind = decode.NotAPictureError if error.errno == errno.ELOOP else DataError
        raise kind("the picture cannot be read", source, got=error.strerror or error) from error
    return normalize.normalize(grey, height, width, source)


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


def _report(failures: list[MnistSoftmaxError]) -> None:
    """Print a warning for each image that failed but one; raise that, the last with the highest exit code."""
    if not failures:
        return
    last = max(range(len(failures)), key=lambda i: (failures[i].exit_code, i))
    for i, error in enumerate(failures):
        if i != last:
            output.warn(str(error), of_error=True)
    raise failures[last]
