"""``mnist-softmax quickstart``."""

from pathlib import Path

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.cli.eval import print_scores
from mnist_softmax.cli.train import train_and_report
from mnist_softmax.errors import DataError, DownloadError
from mnist_softmax.settings import Settings

_OUT = Path("quickstart.npy")


@options.command("quickstart", "Everything once: get MNIST, train, evaluate.", "mnist-softmax quickstart")
@options.cache
def command(data: options.Data) -> None:
    """Get MNIST, train, evaluate, and say what to do next.

    If MNIST cannot be fetched, the built-in sample takes its place.
    """
    from mnist_softmax.data.cache import default_cache_dir
    from mnist_softmax.data.split import Source
    from mnist_softmax.data.transfer import QUICK
    from mnist_softmax.records.checkpoint import checkpoint_path
    from mnist_softmax.runs import score

    inputs.check_outputs(data, None, [_OUT, checkpoint_path(_OUT)])
    try:
        split = inputs.open_split(data, "train", patience=QUICK)
    except (DownloadError, DataError) as error:
        output.warn(f"{error}")
        output.warn("MNIST could not be fetched; continuing with mnist-sample, a built-in sixth of it")
        split = inputs.open_split(data, "train", Source(dataset="mnist-sample"))
    model = train_and_report(split, Settings(), (), _OUT)
    output.emit("")
    test = inputs.open_split(data, "test", split.source)
    print_scores(score.scores(model, test, score.evaluate(model, test)), confusion=True)
    output.emit("")
    output.emit(f"weights: {_OUT.resolve()}")
    if split.source.dataset == "mnist":
        output.emit(f"data:    {(data.cache_dir or default_cache_dir()) / 'mnist'}")
        output.emit("next:    mnist-softmax train --epochs 30 && mnist-softmax eval --confusion")
    else:
        output.emit("data:    built into the program")
        output.emit("next:    mnist-softmax download, then mnist-softmax train && mnist-softmax eval")
