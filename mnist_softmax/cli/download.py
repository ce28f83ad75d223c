"""``mnist-softmax download``."""

from pathlib import Path

import click

from mnist_softmax.cli import output
from mnist_softmax.cli.inputs import fetch
from mnist_softmax.cli.options import cache_options, json_option, mirrors_from_environment, path_option
from mnist_softmax.datasets import DATASETS
from mnist_softmax.errors import UsageError


@click.command(
    "download",
    short_help="Fetch and verify a dataset.",
    epilog="\b\nExample:\n  mnist-softmax download --dataset fashion-mnist",
)
@click.option("--dataset", type=click.Choice(list(DATASETS)), default="mnist", show_default=True)
@path_option(
    "--from",
    "from_dir",
    metavar="DIR",
    envvar="MNIST_SOFTMAX_DOWNLOAD_FROM",  # its own name, not from_dir
    help="A folder with the .gz files, used as the only mirror.",
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
@click.option("--force", is_flag=True, help="Fetch again what is cached.")
@cache_options
@json_option
def command(
    dataset: str,
    from_dir: Path | None,
    mirrors: tuple[str, ...],
    force: bool,
    cache_dir: Path | None,
    offline: bool,
    json: bool,
) -> None:
    """Fetch a dataset's four IDX files into the cache and verify size and SHA-256 of each.

    What is cached already is hashed again; only what is missing or damaged is fetched.
    """
    if from_dir and mirrors:
        raise UsageError("--from and --mirror exclude each other")
    files = []
    if not DATASETS[dataset].mirrors:
        from mnist_softmax.data import sample_files, sample_split

        for split in ("train", "test"):
            sample_split(split)  # verifies the hashes
        files = [
            {"name": name, "path": str(path), "bytes": size, "sha256": sha256, "source": "built in"}
            for name, path, size, sha256 in sample_files()
        ]
    else:
        cached = fetch(
            dataset,
            cache_dir,
            mirrors=list(mirrors) or mirrors_from_environment(),
            from_dir=from_dir,
            offline=offline,
            force=force,
            rehash=True,
        )
        files = [
            {
                "name": file.gz_path.name,
                "path": str(file.gz_path),
                "bytes": file.bytes,
                "sha256": file.sha256,
                "source": file.source,
            }
            for file in cached.values()
        ]
    if json:
        output.emit_json({"dataset": dataset, "files": files})
        return
    for entry in files:
        output.emit(f"{entry['path']}: {entry['bytes']} bytes, verified, {entry['source']}")
    if not any(file["source"] not in {"cache", "built in"} for file in files):
        output.emit(f"{dataset}: all 4 files were there and are right; nothing was fetched")
