"""Make the built-in sample from the four real MNIST files: every 6th training row, every 5th test row.

Run it as ``python benchmarks/make_sample.py FOLDER``. It writes into the package and prints what belongs
into ``mnist_softmax/data/catalog.json``. The packed bytes are the same wherever zlib is; the hashes of the
unpacked files hold everywhere.
"""

import gzip
import hashlib
import io
import sys
from pathlib import Path

import mnist_softmax
from mnist_softmax.data.catalog import SPLIT_FILES
from mnist_softmax.data.folder import read_idx
from mnist_softmax.data.idx import write_idx

_EVERY = {"train": 6, "test": 5}


def make_sample(source: Path, target: Path) -> None:
    """Write the four sample files into `target` from the four ``.gz`` files in `source`."""
    for split, (images, labels) in SPLIT_FILES.items():
        for name, rank in ((images, 3), (labels, 1)):
            raw = io.BytesIO()
            write_idx(raw, read_idx(source / f"{name}.gz", rank)[:: _EVERY[split]])
            packed = gzip.compress(raw.getvalue(), compresslevel=9, mtime=0)
            (target / f"{name}.gz").write_bytes(packed)
            hashes = [hashlib.sha256(data).hexdigest() for data in (packed, raw.getvalue())]
            sys.stdout.write(f"{name} {len(packed)} {hashes[0]} {len(raw.getvalue())} {hashes[1]}\n")


if __name__ == "__main__":
    make_sample(Path(sys.argv[1]), Path(mnist_softmax.__file__).parent / "data" / "sample")
