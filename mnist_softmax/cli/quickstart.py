"""``mnist-softmax quickstart``."""

from pathlib import Path

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.eval import class_names, print_summary, score, summary
from mnist_softmax.cli.inputs import open_split
from mnist_softmax.cli.options import cache_options
from mnist_softmax.cli.train import report, train_and_save
from mnist_softmax.errors import DataError, DownloadError

_OUT = Path("quickstart.npy")


@click.command(
    "quickstart",
    short_help="Everything once: get MNIST, train, evaluate.",
    epilog="\b\nExample:\n  mnist-softmax quickstart",
)
@cache_options
def command(cache_dir: Path | None, offline: bool) -> None:
    """Get MNIST, train, evaluate, and say what to do next.

    Where no mirror answers, the sample that is built into the program stands in for MNIST.
    """
    from mnist_softmax import files, weights
    from mnist_softmax.data import Source
    from mnist_softmax.download import QUICK
    from mnist_softmax.run import Settings

    files.check_writable_target(_OUT)
    source = Source(dataset="mnist")
    try:
        train_split = open_split(
            source, "train", cache_dir, offline=offline, preprocessing=(), patience=QUICK
        )
    except (DownloadError, DataError) as error:
        output.warn(f"{error}")
        output.warn("full MNIST could not be had: going on with mnist-sample, a sixth of it, built in")
        source = Source(dataset="mnist-sample")
        train_split = open_split(source, "train", cache_dir, offline=True, preprocessing=())
    result, sha256 = train_and_save(train_split, source, Settings(), _OUT)
    report(result, sha256, _OUT, source, as_json=False)
    output.emit("")

    saved = weights.load(_OUT)
    test_split = open_split(source, "test", cache_dir, offline=True, preprocessing=())
    facts = summary(score(saved, test_split), class_names(saved, source), source, "test", sha256)
    print_summary(facts, confusion=True)
    output.emit("")
    output.emit(f"weights: {_OUT.resolve()}")
    output.emit(f"receipt: {weights.receipt_path(_OUT).resolve()}")
    if source.dataset == "mnist":
        from mnist_softmax.cache import default_cache_dir

        output.emit(f"data:    {(cache_dir or default_cache_dir()) / 'mnist'}")
        output.emit("next:    mnist-softmax train --epochs 30 && mnist-softmax eval --confusion")
    else:
        output.emit("data:    built into the program")
        output.emit("next:    mnist-softmax download, then mnist-softmax train && mnist-softmax eval")
