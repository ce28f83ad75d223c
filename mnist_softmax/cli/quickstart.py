"""``mnist-softmax quickstart``."""

import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.cli.eval import report_of
from mnist_softmax.cli.training import train_and_report
from mnist_softmax.errors import DataError, DownloadError
from mnist_softmax.settings import Settings

_PIXELS, _OUT = Path("quickstart-pixels.npy"), Path("quickstart.npy")
_CHAIN = ("deskew", "directions")


@options.command("quickstart", "Everything once: get MNIST, train, evaluate.", "mnist-softmax quickstart")
@options.cache
def command(data: options.Data) -> None:
    """Get MNIST, train on its pixels, then on directions, evaluate, and say what to do next.

    If MNIST cannot be fetched, the built-in sample takes its place.
    """
    from mnist_softmax.data.cache import default_cache_dir
    from mnist_softmax.data.patience import QUICK
    from mnist_softmax.data.split import Source
    from mnist_softmax.features import steps
    from mnist_softmax.records.weights import checkpoint_path
    from mnist_softmax.runs import score

    outputs = [path for out in (_PIXELS, _OUT) for path in (out, checkpoint_path(out))]
    inputs.check_outputs(data, None, outputs)
    try:
        split = inputs.open_split(data, "train", patience=QUICK)
    except (DownloadError, DataError) as error:
        output.warn(f"{error}")
        output.warn("MNIST could not be fetched; continuing with mnist-sample, a built-in sixth of it")
        split = inputs.open_split(data, "train", Source(dataset="mnist-sample"))
    output.emit(f"softmax regression on the {split.images.shape[1]} pixels of an image")
    on_pixels = train_and_report(split, Settings(), (), _PIXELS)
    output.emit("")
    output.emit(f"the same on {steps.count(split.height, split.width, _CHAIN)} directions of its ink")
    model = train_and_report(split, Settings.for_features(_CHAIN), _CHAIN, _OUT)
    output.emit("")
    test = inputs.open_split(data, "test", split.source)
    before, after = (score.evaluate(each, test) for each in (on_pixels, model))
    output.emit_report(report_of(score.scores(model, test, after), confusion=True))
    output.emit("")
    mistakes = [
        f"{each.rows - each.correct} mistakes ({output.percent(each.accuracy)})" for each in (before, after)
    ]
    output.emit("what changed: what the model sees, and the lr and reg that fit it")
    output.emit(f"{mistakes[0]} on pixels, {mistakes[1]} on directions")
    output.emit("")
    output.emit(f"weights: {_OUT.resolve()}")
    if split.source.dataset == "mnist":
        output.emit(f"data:    {(data.cache_dir or default_cache_dir()) / 'mnist'}")
    else:
        output.emit("data:    built into the program; mnist-softmax download fetches all of MNIST")
    output.emit("next:")
    for line in _next_commands():
        output.emit(f"  {line}")


def _next_commands() -> list[str]:
    """Lines to type as they are; the first puts the program on the PATH if it is not there."""
    here = Path(sys.argv[0]).parent / "activate"
    activate = [f". {shlex.quote(str(here))}"] if here.is_file() and not shutil.which(output.PROGRAM) else []
    report = [f"{output.PROGRAM} report {_OUT} -o report.html"] if find_spec("jinja2") else []
    looks = (f"compare {_PIXELS} {_OUT}", f"show {_OUT} --mistakes")
    return [*activate, *(f"{output.PROGRAM} {look}" for look in looks), *report]
