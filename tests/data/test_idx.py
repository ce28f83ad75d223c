"""IDX files: round trips, and every way in which a file can be wrong."""

import gzip
import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from mnist_softmax.data.folder import read_idx
from mnist_softmax.data.idx import write_idx
from mnist_softmax.errors import DataError

any_shape = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7)


def packed(array: Any) -> bytes:
    file = io.BytesIO()
    write_idx(file, array)
    return file.getvalue()


@given(hnp.arrays(np.uint8, any_shape))
def test_what_is_written_is_read_back_raw_and_gzipped(
    tmp_path_factory: pytest.TempPathFactory, array: Any
) -> None:
    folder = tmp_path_factory.mktemp("idx")
    (folder / "raw").write_bytes(packed(array))
    (folder / "packed.gz").write_bytes(gzip.compress(packed(array), 1))
    for name in ("raw", "packed.gz"):
        back = read_idx(folder / name, array.ndim)
        assert back.shape == array.shape
        assert not back.flags.writeable
        np.testing.assert_array_equal(back, array)


def test_the_header_is_big_endian_as_the_format_says() -> None:
    assert packed(np.zeros((2, 300), np.uint8))[:12] == bytes.fromhex("00000802 00000002 0000012c")


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "rank", "shape"),
    [("t10k-images-idx3-ubyte", 3, (10000, 28, 28)), ("t10k-labels-idx1-ubyte", 1, (10000,))],
)
def test_the_real_files_are_read(mnist_folder: Path, name: str, rank: int, shape: Any) -> None:
    assert read_idx(mnist_folder / f"{name}.gz", rank).shape == shape


IMAGES = packed(np.arange(48, dtype=np.uint8).reshape(3, 4, 4))
FOUR_BILLION_ROWS = struct.pack(">4B3I", 0, 0, 8, 3, 0xFFFFFFFF, 28, 28)
WRONG = {
    "empty": (b"", "not an IDX file"),
    "short magic": (b"\0\0\x08", "not an IDX file"),
    "an npy file": (b"\x93NUMPY\x01\0v\0", "not an IDX file"),
    "another type": (b"\0\0\x0d\x03" + IMAGES[4:], "unsupported IDX type"),
    "labels for images": (packed(np.zeros(9, np.uint8)), "swapped"),
    "header cut short": (IMAGES[:10], "truncated IDX header"),
    "cut short": (IMAGES[:-1], "truncated IDX file"),
    "bytes after the end": (IMAGES + b"\0", "bytes after its end"),
    "four billion rows": (FOUR_BILLION_ROWS + bytes(100), "truncated IDX file"),
    "dimensions that overflow 64 bits": (
        struct.pack(">4B3I", 0, 0, 8, 3, *[0xFFFFFFFF] * 3) + bytes(100),
        "truncated IDX file",
    ),
    "no rows of images that no array can hold": (
        struct.pack(">4B3I", 0, 0, 8, 3, 0, 0xFFFFFFFF, 0xFFFFFFFF),
        "wrong IDX header",
    ),
}


@pytest.mark.parametrize("kind", ["raw", "gz"])
@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_file_is_refused_in_one_line_without_a_large_allocation(
    tmp_path: Path, fault: str, kind: str
) -> None:
    data, message = WRONG[fault]
    path = tmp_path / f"images{'.gz' if kind == 'gz' else ''}"
    path.write_bytes(gzip.compress(data) if kind == "gz" else data)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message) as caught:
            read_idx(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


GOOD_GZIP = gzip.compress(IMAGES)
DAMAGED = {
    "not gzip": IMAGES,
    "empty": b"",
    "cut short": GOOD_GZIP[:-9],
    "a flipped bit in the data": GOOD_GZIP[:20] + bytes([GOOD_GZIP[20] ^ 4]) + GOOD_GZIP[21:],
    "a wrong checksum": GOOD_GZIP[:-8] + b"\1\2\3\4" + GOOD_GZIP[-4:],
    "rubbish after the end": GOOD_GZIP + b"rubbish",
    "a second member": GOOD_GZIP + gzip.compress(b"more"),
    "a bomb": gzip.compress(IMAGES + bytes(30_000_000)),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_damaged_gzip_is_refused_with_bounded_memory(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(DAMAGED[fault])
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_idx(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("array", [np.zeros(3, np.int16), np.zeros((1,) * 3, np.float32)])
def test_only_unsigned_bytes_are_written(array: Any) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_idx(io.BytesIO(), array)
