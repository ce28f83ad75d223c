"""The header of a .npy file, read as of one that nobody vouches for."""

import sys
import warnings
from typing import IO, Any

import numpy as np

#: The longest header that is accepted: NumPy's own limit for untrusted files.
LONGEST_HEADER = 10_000


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order (whether Fortran's) and dtype of the array at the current position of `file`.

    Raises
    ------
    ValueError : no header of a .npy file, or sizes that no array has.
    """
    try:
        version = np.lib.format.read_magic(file)
        read_header: Any = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        with warnings.catch_warnings(action="ignore"):  # about headers that Python 2 wrote
            shape, fortran_order, dtype = read_header(file, max_header_size=LONGEST_HEADER)
        if not all(type(size) is int and 0 <= size <= sys.maxsize for size in shape):
            raise ValueError("sizes that no array has")  # noqa: TRY301
    except OSError:
        raise
    except Exception as error:  # on such headers NumPy raises what its parser happens to meet
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ValueError(reason) from error
    return shape, fortran_order, dtype
