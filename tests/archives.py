"""EMNIST and QMNIST in small, laid out as they are served."""

import gzip
import hashlib
import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mnist_softmax.data.catalog import DataFile, Dataset


def learnable(rows: int, classes: int, height: int, width: int, seed: int) -> tuple[Any, Any]:
    """Images (rows, height, width) of classes that can be told apart, and their labels from 0, uint8."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % classes).astype(np.uint8)
    prototypes = np.random.default_rng(99).integers(0, 200, (classes, height, width))
    return (prototypes[labels] + rng.integers(0, 55, (rows, height, width))).astype(np.uint8), labels


def as_idx(array: Any) -> Any:
    """An array of uint8, or of int32 in columns, as an IDX file."""
    kind = 0x08 if array.dtype == np.uint8 else 0x0C
    head = bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + (array if kind == 0x08 else array.astype(">i4")).tobytes()


def small_emnist(
    change: Callable[[dict[str, bytes]], object] = lambda _: None, padding: int = 0
) -> tuple[dict[str, Dataset], bytes]:
    """Letters and digits of 6 x 5 pixels as EMNIST serves them, and the zip that holds both.

    `change` may alter the members, which are pinned as they were before; `padding` makes the zip longer.
    """
    members: dict[str, bytes] = {}
    files: dict[str, list[DataFile]] = {}
    for name, classes, first in (("emnist-letters", 26, 1), ("emnist-digits", 10, 0)):
        files[name] = []
        for split, rows in (("train", 10 * classes), ("test", 2 * classes)):
            images, labels = learnable(rows, classes, 6, 5, rows)
            for what, array, raw in (
                ("images-idx3", images, images.transpose(0, 2, 1)),
                ("labels-idx1", labels, labels + np.uint8(first)),
            ):
                member = f"gzip/{name}-{split}-{what}-ubyte.gz"
                members[member] = gzip.compress(as_idx(raw), mtime=0)
                pinned = hashlib.sha256(members[member]).hexdigest() if first else None
                canonical = f"{split.replace('test', 't10k')}-{what}-ubyte"
                file = DataFile(
                    *(canonical, 0, "", array.shape),
                    packed_as="gzip.zip",
                    member=member,
                    member_sha256=pinned,
                    transposed=array.ndim == 3,
                    labels=range(first, first + classes),
                )
                files[name].append(file)
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
        archive.writestr(zipfile.ZipInfo("gzip/emnist-byclass.gz"), np.random.default_rng(0).bytes(padding))
    return pinned_to(files, buffer.getvalue()), buffer.getvalue()


def pinned_to(files: dict[str, list[DataFile]], packed: bytes) -> dict[str, Dataset]:
    """The datasets of `small_emnist` whose zip is this one."""
    pins: Any = {"packed_bytes": len(packed), "packed_sha256": hashlib.sha256(packed).hexdigest()}
    names = {"emnist-letters": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "emnist-digits": "0123456789"}
    return {
        name: Dataset(
            name,
            tuple(replace(file, **pins) for file in its_files),
            ("http://127.0.0.1:9/",),
            tuple(names[name]),
            "not stated",
            "emnist",
        )
        for name, its_files in files.items()
    }


def small_qmnist() -> tuple[Dataset, dict[str, bytes]]:
    """QMNIST in small: labels of eight columns, sizes of the images unknown; and its files by their names."""
    files: list[DataFile] = []
    served: dict[str, bytes] = {}
    for split, rows in (("train", 100), ("test", 100)):
        images, labels = learnable(rows, 10, 6, 5, len(files))
        columns = np.random.default_rng(0).integers(-(1 << 31), 1 << 31, (rows, 8))
        columns[:, 0] = labels
        for what, array, raw in (
            ("images-idx3-ubyte", images, images),
            ("labels-idx2-int", labels, columns.astype(np.int32)),
        ):
            name, packed = f"qmnist-{split}-{what}.gz", gzip.compress(as_idx(raw), mtime=0)
            canonical = f"{split.replace('test', 't10k')}-{what}".replace("idx2-int", "idx1-ubyte")
            known, sha256 = array.ndim == 1, hashlib.sha256(packed).hexdigest()
            size = len(packed) if known else 4000
            files.append(DataFile(canonical, size, sha256, array.shape, packed_as=name, size_is_known=known))
            served[name] = packed
    return Dataset("qmnist", tuple(files), ("http://127.0.0.1:9/",), tuple("0123456789"), "BSD"), served
