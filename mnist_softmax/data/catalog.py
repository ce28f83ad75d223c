"""The known datasets: files, sizes, hashes, mirrors, class names. The facts are in ``catalog.json``.

There, of each dataset::

    source       of the facts
    licence      of the data
    rows         of the training file and of the test file
    packed       size and SHA-256 of each .gz: training images, training labels, test images, test labels
    unpacked     SHA-256 of each IDX file, in the same order, where somebody has published it
    mirrors      base URLs, in the order to try; none: built into the package
    class_names  of the labels 0, 1, ...

All have 28 x 28 images and the same four file names. It is JSON because every command reads it, and the
standard library reads TOML slowly.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mnist_softmax.data.url import Url, parse
from mnist_softmax.errors import UsageError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

#: Split name -> (image file, label file). All datasets use these names, so each has a folder of its own.
SPLIT_FILES = {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}


@dataclass(frozen=True)
class DataFile:
    """One IDX file, as a mirror serves it and as it is unpacked.

    Attributes
    ----------
    name : canonical name without ``.gz``.
    gz_bytes, gz_sha256 : size and SHA-256 (hex) of the ``.gz`` file.
    raw_bytes : size of the unpacked IDX file.
    raw_sha256 : SHA-256 of the unpacked file, or None if nobody has published it.
    """

    name: str
    gz_bytes: int
    gz_sha256: str
    raw_bytes: int
    raw_sha256: str | None = None

    @property
    def gz_name(self) -> str:
        """The name on the mirrors."""
        return self.name + ".gz"


@dataclass(frozen=True)
class Dataset:
    """A dataset: its files, the base URLs that serve them (each ends in ``/``), class names and licence."""

    name: str
    files: tuple[DataFile, ...]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]
    licence: str


def mirror_bases(urls: Sequence[str]) -> list[Url]:
    """The mirrors, each once, their paths with a slash at the end, so that file names can be added.

    Raises
    ------
    UsageError : one is not an http or https URL of a folder.
    """
    bases: dict[Url, None] = {}
    for number, text in enumerate(urls, 1):
        url = parse(text)
        if url is None or url.scheme not in ("http", "https") or url.query:
            where = url.shown if url else f"URL {number} of {len(urls)} (not shown, it may hold a password)"
            expected = "http://HOST/FOLDER/ or https://..., no ? or #, and %40 for @, %2F for / in a password"
            raise UsageError("not a mirror", where, expected=expected)
        bases[url._replace(path=url.path.removesuffix("/") + "/")] = None
    return list(bases)


def _dataset(name: str, facts: dict[str, Any]) -> Dataset:
    names = [file for pair in SPLIT_FILES.values() for file in pair]
    sizes = [size for rows in facts["rows"] for size in (16 + 28 * 28 * rows, 8 + rows)]
    files = tuple(
        DataFile(file, gz_bytes, gz_sha256, size, raw_sha256)
        for file, (gz_bytes, gz_sha256), size, raw_sha256 in zip_longest(
            names, facts["packed"], sizes, facts.get("unpacked", [])
        )
    )
    return Dataset(name, files, tuple(facts["mirrors"]), tuple(facts["class_names"]), facts["licence"])


#: Every dataset by name; those with no mirrors are built in.
DATASETS = {
    name: _dataset(name, facts)
    for name, facts in json.loads(Path(__file__).with_name("catalog.json").read_bytes()).items()
}
MNIST, MNIST_SAMPLE = DATASETS["mnist"], DATASETS["mnist-sample"]
