"""The known datasets: files, sizes, hashes, mirrors, class names. The facts are in ``catalog.json``.

There, of each dataset::

    like         another dataset, whose facts hold where this one states none
    source       of the facts
    licence      of the data
    rows         of the training file and of the test file
    packed       size (null: unknown), SHA-256 and name (if not MNIST's) of each file as served: training
                 images, training labels, test images, test labels; or of one zip with all of them
    folder       of the cache, for a zip that several datasets share
    members      of the zip: how their names begin
    member_sha256, first_label, transposed  of the members, if the images are; "first_label" is 0 by default
    unpacked     SHA-256 of each IDX file, in the order of MNIST's files, where somebody has published it
    mirrors      base URLs, in the order to try; none: built into the package
    class_names  of the labels 0, 1, ...

All have 28 x 28 images and are unpacked to the same four file names. It is JSON because every command reads
it, and the standard library reads TOML slowly.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
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
#: Bytes of a packed image at most, where the size of the file is not known.
_MOST_OF_A_ROW = 28 * 28


@dataclass(frozen=True)
class DataFile:
    """One IDX file, and what it is unpacked from: a .gz of its own, or a member of a zip.

    Attributes
    ----------
    name : canonical name without ``.gz``.
    packed_bytes, packed_sha256 : size and SHA-256 (hex) of the file as served.
    shape : of the unpacked array: (rows, height, width) or (rows,).
    raw_sha256 : SHA-256 of the unpacked file, or None if nobody has published it.
    packed_as : the name on the mirrors; "" for `name` and ``.gz``.
    size_is_known : if not, `packed_bytes` is the most that it may have.
    member, member_sha256 : the .gz in the zip, and its SHA-256 if that is known; "" and None if it is no zip.
    transposed : whether the images lie on their side as served.
    labels : the labels as served; unpacked, the first is 0.
    """

    name: str
    packed_bytes: int
    packed_sha256: str
    shape: tuple[int, ...]
    raw_sha256: str | None = None
    packed_as: str = ""
    size_is_known: bool = True
    member: str = ""
    member_sha256: str | None = None
    transposed: bool = False
    labels: range = range(256)

    @property
    def packed_name(self) -> str:
        """The name on the mirrors."""
        return self.packed_as or self.name + ".gz"

    @property
    def packed_size(self) -> str:
        """The size as served, in words."""
        return f"{'' if self.size_is_known else 'at most '}{self.packed_bytes} bytes"

    @property
    def raw_bytes(self) -> int:
        """The size of the unpacked IDX file."""
        return 4 + 4 * len(self.shape) + prod(self.shape)


@dataclass(frozen=True)
class Dataset:
    """A dataset: its files, the base URLs that serve them (each ends in ``/``), class names and licence.

    `folder` is that of the cache for files as served, where several datasets share them.
    """

    name: str
    files: tuple[DataFile, ...]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]
    licence: str
    folder: str = ""


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
    first, classes = facts.get("first_label", 0), len(facts["class_names"])
    files = []
    for place, file in enumerate(names):
        rows, is_images = facts["rows"][place // 2], place % 2 == 0
        size, sha256, *served_as = facts["packed"][place % len(facts["packed"])]
        known = DataFile(
            file,
            packed_bytes=size or _MOST_OF_A_ROW * rows,
            packed_sha256=sha256,
            shape=(rows, 28, 28) if is_images else (rows,),
            raw_sha256=facts["unpacked"][place] if "unpacked" in facts else None,
            packed_as="".join(served_as),
            size_is_known=size is not None,
            member=f"{facts['members']}{file.replace('t10k', 'test')}.gz" if "members" in facts else "",
            member_sha256=facts["member_sha256"][place] if "member_sha256" in facts else None,
            transposed=is_images and facts.get("transposed", False),
            labels=range(first, first + classes),
        )
        files.append(known)
    names_of_classes, folder = tuple(facts["class_names"]), facts.get("folder", "")
    return Dataset(name, tuple(files), tuple(facts["mirrors"]), names_of_classes, facts["licence"], folder)


_FACTS = json.loads(Path(__file__).with_name("catalog.json").read_bytes())
#: Every dataset by name; those with no mirrors are built in.
DATASETS = {name: _dataset(name, _FACTS.get(facts.get("like"), {}) | facts) for name, facts in _FACTS.items()}
MNIST, MNIST_SAMPLE = DATASETS["mnist"], DATASETS["mnist-sample"]
