"""``mnist-softmax download``."""

from pathlib import Path

import click

from mnist_softmax.cli import inputs, options, output
from mnist_softmax.data.catalog import DATASETS


@options.command("download", "Fetch and verify a dataset.", "mnist-softmax download --dataset fashion-mnist")
@click.option(
    "--dataset",
    "name",
    type=click.Choice(list(DATASETS)),
    default="mnist",
    show_default=True,
    envvar="MNIST_SOFTMAX_DOWNLOAD_DATASET",  # named after the option, not the parameter
    help="What to fetch.",
)
@options.path(
    "--from",
    "from_dir",
    metavar="DIR",
    envvar="MNIST_SOFTMAX_DOWNLOAD_FROM",  # as above
    help="A folder with the files as mirrors serve them, used as the only mirror.",
)
@click.option(
    "--mirror",
    "mirrors",
    metavar="URL",
    envvar="MNIST_SOFTMAX_DOWNLOAD_MIRROR",
    multiple=True,
    help="Base URL to fetch from, instead of the known mirrors; repeat it for several, tried in order. "
    "MNIST_SOFTMAX_MIRROR sets them for every command.",
)
@click.option("--force", is_flag=True, help="Fetch all files again, even if cached.")
@options.cache
@options.as_json
def command(
    data: options.Data, name: str, from_dir: Path | None, mirrors: tuple[str, ...], force: bool, json: bool
) -> None:
    """Fetch a dataset into the cache, verify size and SHA-256 of each file, and unpack it.

    Cached files are hashed again; only missing or damaged files are fetched. The datasets of EMNIST share a
    zip of 562 MB.
    """
    from mnist_softmax.data.cache import default_cache_dir, ensure
    from mnist_softmax.data.open import sample_files

    if from_dir and mirrors:
        wins = options.stronger("from_dir", "mirrors")
        from_dir, mirrors = (from_dir, ()) if wins == "from_dir" else (None, mirrors)
    if not DATASETS[name].mirrors:
        files = sample_files()
    else:
        with output.download_bar() as progress:
            cached = ensure(
                DATASETS[name],
                data.cache_dir or default_cache_dir(),
                mirrors=list(mirrors) or inputs.mirrors_from_environment(),
                from_dir=from_dir,
                offline=data.offline,
                force=force,
                rehash=True,
                progress=progress,
                notify=output.warn,
            )
        files = list({file.packed_path: file for file in cached.values()}.values())
    if json:
        facts = [
            {
                "name": f.packed_path.name,
                "path": str(f.packed_path),
                "bytes": f.bytes,
                "sha256": f.sha256,
                "source": f.source,
            }
            for f in files
        ]
        output.emit_json({"dataset": name, "files": facts})
        return
    for file in files:
        output.emit(f"{file.packed_path}: {file.bytes} bytes, verified, {file.source}")
    if all(file.source in {"cache", "built in"} for file in files):
        all_files = f"all {len(files)} files are" if len(files) > 1 else "the file is"
        output.emit(f"{name}: {all_files} there and correct; nothing was fetched")
