"""What a training run leaves: the .npy file with the weights, and its receipt, a .json file beside it.

The array is float32 (N + 1, L): rows 0..N-1 are W, the last row is B. The receipt names the SHA-256 of the
weights that it describes. The two cannot be renamed at once, so they are saved in three steps, after each of
which the weights on disk have a receipt that names them:

1. the new receipt, with the old one inside it under "previous";
2. the new weights;
3. the new receipt alone.
"""

import hashlib
import io
import json
import math
import stat
import sys
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.datasets import DATASETS
from mnist_softmax.errors import LocalIOError, UsageError, WeightsError
from mnist_softmax.files import atomic_write, check_writable_target, sha256_of
from mnist_softmax.preprocess import STEPS

RECEIPT_FORMAT = 1
#: No honest .npy header is longer; NumPy's own limit for files that are not trusted.
_LONGEST_HEADER = 10_000
#: A receipt of 100,000 epochs is 15 MB.
_LONGEST_RECEIPT = 64 << 20
_CHUNK = 1 << 20  # a read sets aside what it may get, and a header may claim terabytes
#: What `np.lib.format` raises on headers that are no .npy header.
_HEADER_ERRORS = (
    ValueError,
    TypeError,
    EOFError,
    MemoryError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
)


@dataclass(frozen=True)
class Weights:
    """Weights as read from a file.

    Attributes
    ----------
    array : (N + 1, L), or (N, L) when made elsewhere without B; float32, finite.
    sha256 : of the file.
    receipt : what the receipt says, or None when there is none.
    path : the file.
    """

    array: NDArray[np.float32]
    sha256: str
    receipt: dict[str, Any] | None
    path: Path

    @property
    def preprocessing(self) -> tuple[str, ...]:
        """Names of the steps of `preprocess` that their images go through first."""
        return tuple(self.receipt["preprocessing"]) if self.receipt else ()

    def image_size(self, remedy: str = "") -> tuple[int, int]:
        """Height and width of the images that the weights are for; square where no receipt says it.

        Parameters
        ----------
        remedy : for the error: where else the caller could have the size from.

        Raises
        ------
        WeightsError : there is no receipt, and the number of rows is that of no square.
        """
        if self.receipt:
            return self.receipt["image_height"], self.receipt["image_width"]
        rows = self.array.shape[0]
        for pixels in (rows - 1, rows):  # never are both of them squares
            side = math.isqrt(pixels)
            if side and side * side == pixels:
                return side, side
        raise WeightsError(
            "no receipt says how high and wide the images are",
            self.path,
            expected="a square's pixels and the bias",
            got=f"{rows} rows",
            remedy=remedy,
        )

    def parameters(self, pixels: int) -> NDArray[np.float32]:
        """The array as (N + 1, L) for images of `pixels` pixels, with a bias of 0 where the file has none.

        Raises
        ------
        WeightsError : the weights are for images of another size.
        """
        rows, classes = self.array.shape
        if rows == pixels + 1:
            return self.array
        if rows == pixels and self.receipt is None:
            return np.vstack([self.array, np.zeros((1, classes), np.float32)])
        raise WeightsError(
            "the weights do not fit the images",
            self.path,
            expected=f"{pixels + 1} rows ({pixels} pixels and the bias)",
            got=rows,
        )


def receipt_path(weights: Path) -> Path:
    """The receipt's place: the weights' name with the suffix .json.

    Raises
    ------
    UsageError : the weights themselves are called .json, or have no name, as ``.`` and ``/``.
    """
    if not weights.name:
        raise UsageError("not a file", weights, remedy="name a file to write")
    path = weights.with_suffix(".json")
    if path == weights:
        raise UsageError("the weights need a name that does not end in .json", weights, remedy="try .npy")
    return path


def pack(parameters: NDArray[np.float32]) -> bytes:
    """The bytes of a .npy file of the (N + 1, L) array."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(parameters, dtype="<f4"), allow_pickle=False)
    return file.getvalue()


def save(path: Path, parameters: NDArray[np.float32], receipt: Mapping[str, Any]) -> str:
    """Save weights and receipt so that a kill at any instant leaves the old pair or the new pair.

    Parameters
    ----------
    path : of the weights.
    parameters : (N + 1, L).
    receipt : what is to be known of them; "weights_sha256" is added.

    Returns
    -------
    SHA-256 of the weights file.

    Raises
    ------
    UsageError, LocalIOError : see `files.atomic_write`; the old pair is untouched.
    """
    packed = pack(parameters)
    sha256 = hashlib.sha256(packed).hexdigest()
    entry = {"weights_sha256": sha256, **receipt}
    beside = receipt_path(path)
    check_writable_target(path)
    previous = _previous(path)
    if previous is not None and previous["weights_sha256"] != sha256:
        _write(beside, _json_bytes({**entry, "previous": previous}))
    else:
        _write(beside, _json_bytes(entry))
        previous = None
    _write(path, packed)
    if previous is not None:
        _write(beside, _json_bytes(entry))
    return sha256


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path) as file:
        file.write(data)


def _json_bytes(value: object) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _previous(path: Path) -> dict[str, Any] | None:
    """What must stay readable until the new weights are in place: the entry of the weights at `path`."""
    try:
        sha256 = sha256_of(path)
    except FileNotFoundError:
        return None
    try:
        return _entry(receipt_path(path), sha256) or {"weights_sha256": sha256}
    except WeightsError:
        return {"weights_sha256": sha256}  # the old pair was no pair; its weights stay readable


def load(path: Path) -> Weights:
    """Read weights and the receipt that belongs to them.

    Read are float32 and float64 arrays of either byte order, 2-dimensional and finite.

    Raises
    ------
    UsageError : no such file.
    WeightsError : not such an array, or the receipt is damaged or names other weights.
    OSError : a file cannot be read.
    """
    for _ in range(3):  # a writer may put a new pair in place between the reads
        data = _read(path)
        sha256 = hashlib.sha256(data).hexdigest()
        entry, mismatch = None, None
        try:
            entry = _entry(receipt_path(path), sha256)
        except WeightsError as error:
            mismatch = error
        if mismatch is None or data == _read(path):
            break
    array = _parse(data, path)
    if mismatch is not None:
        raise mismatch
    receipt = entry if entry is not None and len(entry) > 1 else None
    if receipt is not None:
        _check_receipt(receipt, array.shape, receipt_path(path))
    return Weights(array, sha256, receipt, path)


def _read(path: Path) -> bytes:
    """The bytes of a .npy file; at most one more than its header says, however long the file is."""
    try:
        with path.open("rb") as file:
            head = file.read(_LONGEST_HEADER)
            start = io.BytesIO(head)
            shape, _, dtype = _header(start, path)
            size = start.tell() + math.prod(shape) * dtype.itemsize
            body = bytearray(head)
            while chunk := file.read(max(0, min(_CHUNK, size + 1 - len(body)))):
                body += chunk
            return bytes(body)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError("no such file", path, remedy="make it with mnist-softmax train") from error
    except IsADirectoryError as error:
        raise UsageError("not a file", path) from error
    except MemoryError as error:
        raise LocalIOError("too large for memory", path) from error


def _header(file: io.BytesIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and dtype; `file` is left at the first value."""
    read_header: dict[tuple[int, int], Callable[..., Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)
        if version not in read_header:
            raise ValueError(f"version {version}")
        shape, fortran_order, dtype = read_header[version](file, max_header_size=_LONGEST_HEADER)
    except _HEADER_ERRORS as error:
        reason = " ".join(str(error).split())[:100]
        raise WeightsError("not a .npy file", path, got=reason or type(error).__name__) from error
    if dtype.kind != "f" or dtype.itemsize not in {4, 8}:
        raise WeightsError("wrong dtype", path, expected="float32 or float64", got=dtype)
    if len(shape) != 2 or min(shape) < 1:
        raise WeightsError("wrong shape", path, expected="(pixels + 1, classes)", got=shape)
    if shape[1] > 256:
        raise WeightsError("too many classes", path, expected="at most 256", got=shape[1])
    return shape, fortran_order, dtype


def _parse(data: bytes, path: Path) -> NDArray[np.float32]:
    file = io.BytesIO(data)
    shape, fortran_order, dtype = _header(file, path)
    expected = file.tell() + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        got = f"{len(data)}" if len(data) < expected else "more"
        raise WeightsError("wrong size", path, expected=f"{expected} bytes as its header says", got=got)
    array = np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran_order else "C")
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise WeightsError("not finite", path, expected="finite float32 numbers", got="NaN or infinity")
    return array


def _entry(path: Path, sha256: str) -> dict[str, Any] | None:
    """The entry for the weights with this hash; None where there is no receipt."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise WeightsError("the receipt is damaged", path, expected="a regular file")
        if found.st_size > _LONGEST_RECEIPT:
            raise WeightsError("the receipt is too long", path, expected=f"at most {_LONGEST_RECEIPT} bytes")
        receipt = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise WeightsError("the receipt is damaged", path, got=str(error)[:100]) from error
    if not isinstance(receipt, dict):
        raise WeightsError("the receipt is damaged", path, expected="a JSON object")
    previous = receipt.pop("previous", None)
    for entry in (receipt, previous):
        if isinstance(entry, dict) and entry.get("weights_sha256") == sha256:
            return entry
    raise WeightsError(
        "the receipt names other weights",
        path,
        expected=sha256,
        got=receipt.get("weights_sha256"),
        remedy="restore the weights that it was written for, or remove it",
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def is_number(value: object) -> bool:
    """Whether a value of a receipt is a finite number that fits a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_epoch(entry: object) -> bool:
    """Whether an entry of a receipt's history is one that `run` writes."""
    if not isinstance(entry, dict) or not is_number(entry.get("running_loss")):
        return False
    optional = (entry.get("validation_loss"), entry.get("validation_accuracy"))
    epoch = entry.get("epoch")
    return (
        isinstance(epoch, int)
        and 0 < epoch < 1 << 32
        and all(value is None or is_number(value) for value in optional)
    )


def _check_receipt(receipt: dict[str, Any], shape: tuple[int, ...], path: Path) -> None:
    """Refuse a receipt whose facts do not fit the weights or are not of the type that the program reads."""

    def is_count(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 32

    def is_strings(value: object) -> bool:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)

    def is_text_or_null(value: object) -> bool:
        return value is None or isinstance(value, str)

    checks: dict[str, Callable[[Any], bool]] = {
        "format": lambda value: value == RECEIPT_FORMAT,
        "dataset": lambda value: value is None or (isinstance(value, str) and value in DATASETS),
        "data_dir": is_text_or_null,
        "files": lambda value: isinstance(value, dict),
        "image_height": is_count,
        "image_width": is_count,
        "class_names": lambda value: is_strings(value) and len(value) == shape[1],
        "preprocessing": is_strings,
        "history": lambda value: isinstance(value, list) and all(map(_is_epoch, value)),
        "settings": lambda value: isinstance(value, dict),
    }
    if_there: dict[str, Callable[[Any], bool]] = {
        "versions": lambda value: isinstance(value, dict),
        "rows": is_count,
        "loss": is_number,
        "train_accuracy": is_number,
        "validation_accuracy": lambda value: value is None or is_number(value),
    }
    checks |= {key: fits for key, fits in if_there.items() if key in receipt}
    for key, fits in checks.items():
        if key not in receipt or not fits(receipt[key]):
            shown = json.dumps(receipt.get(key))[:60]
            raise WeightsError("the receipt is damaged", path, expected=f"another value of {key}", got=shown)
    pixels = receipt["image_height"] * receipt["image_width"]
    if shape[0] != pixels + 1:
        raise WeightsError(
            "the receipt does not fit the weights", path, expected=f"{pixels + 1} rows", got=shape[0]
        )
    unknown = [step for step in receipt["preprocessing"] if step not in STEPS]
    if unknown:
        raise WeightsError(
            "the weights need a preprocessing that this version does not know", path, got=unknown[0]
        )
