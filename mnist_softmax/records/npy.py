"""Several arrays, one after the other, in one .npy file; `numpy.load` returns the first.

NumPy's documentation of `numpy.save` shows such files. The reader checks a header before it allocates memory,
unpickles nothing, and refuses bytes after the last array.
"""

import hashlib
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.data.npy import LONGEST_HEADER, read_npy_header
from mnist_softmax.errors import LocalIOError, UsageError, WeightsError
from mnist_softmax.files import open_regular

#: Takes the shape and dtype of a header; returns what was expected instead, or "" if they are right.
Check = Callable[[tuple[int, ...], np.dtype[Any]], str]

#: The most bytes of JSON: a history of 100,000 epochs takes 12 MB.
_LONGEST_TEXT = 64 << 20


def pack(*arrays: NDArray[Any] | bytes) -> bytes:
    """The content of a file that holds these arrays; bytes become an array of uint8."""
    file = io.BytesIO()
    for array in arrays:
        values = np.frombuffer(array, np.uint8) if isinstance(array, bytes) else array
        np.save(file, np.ascontiguousarray(values), allow_pickle=False)
    return file.getvalue()


def is_text(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """A `Check` for JSON as bytes, at most 64 MiB of them."""
    if dtype != np.uint8 or len(shape) != 1:
        return "JSON as uint8"
    return "" if shape[0] <= _LONGEST_TEXT else f"at most {_LONGEST_TEXT} bytes"


def require(check: Check, shape: tuple[int, ...], dtype: np.dtype[Any], path: Path) -> None:
    """Raise WeightsError if `check` refuses an array."""
    if expected := check(shape, dtype):
        raise WeightsError("wrong array", path, expected=expected, got=f"{dtype} of shape {shape}")


def read(path: Path, *checks: Check, remedy: str = "") -> tuple[list[NDArray[Any]], str]:
    """Read the arrays of a file: at least one, and at most as many as there are checks.

    Returns
    -------
    The arrays, read-only; and the SHA-256 of the file.

    Raises
    ------
    UsageError : no such file, or not a regular one.
    WeightsError : an invalid header, an array that its check refuses, or too few or too many bytes.
    LocalIOError : it cannot be read, or does not fit into memory.
    """
    try:
        with open_regular(path) as file:
            arrays = [_array(file, path, checks[0])]
            arrays += [_array(file, path, check) for check in checks[1:] if _bytes_left(file)]
            if left := _bytes_left(file):
                raise WeightsError("bytes after the last array", path, got=f"{left} of them")
            file.seek(0)  # hash the open file: its name may stand for another by now
            return arrays, hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError("no such file", path, remedy=remedy) from error
    except MemoryError as error:
        raise LocalIOError("too large for memory", path) from error
    except OSError as error:
        raise LocalIOError("cannot read", path, got=error.strerror or error) from error


def _bytes_left(file: io.BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size - file.tell()


def first_shape(path: Path) -> tuple[int, ...]:
    """The shape that the header of a file's first array says; () if it has no such header.

    Raises
    ------
    UsageError : not a regular file.
    OSError : it cannot be read.
    """
    with open_regular(path) as file:
        try:
            return _header(file, path)[0]
        except WeightsError:
            return ()


def _header(file: io.BufferedReader, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype of the array at the current position of `file`, which then is at its values."""
    start = file.tell()
    head = io.BytesIO(file.read(LONGEST_HEADER))
    try:
        shape, fortran_order, dtype = read_npy_header(head)
    except ValueError as error:
        raise WeightsError("not a .npy file", path, got=error) from error
    file.seek(start + head.tell())
    return shape, fortran_order, dtype


def _array(file: io.BufferedReader, path: Path, check: Check) -> NDArray[Any]:
    """Read the array at the current position of `file`."""
    shape, fortran_order, dtype = _header(file, path)
    require(check, shape, dtype, path)
    size, left = math.prod(shape) * dtype.itemsize, _bytes_left(file)
    if size > left:
        raise WeightsError("cut short", path, expected=f"{size} bytes as its header says", got=left)
    return np.frombuffer(file.read(size), dtype).reshape(shape, order="F" if fortran_order else "C")
