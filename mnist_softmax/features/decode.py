"""Read a picture, in any format that Pillow knows, as grey levels. Pillow comes with the extra ``images``."""

import logging
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.errors import DataError, require

if TYPE_CHECKING:
    from PIL.Image import Image

# Without a handler its messages about damaged files would go to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

#: The most pixels that are decoded: a photograph of 50 megapixels takes 200 MB as RGBA.
LARGEST_PICTURE = 50_000_000
#: What Pillow's readers raise on damaged or malicious files.
_BROKEN = (
    OSError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
)


def check_installed() -> None:
    """Raise UsageError if Pillow is not installed."""
    require("PIL", "Pillow", "images")


def read_grey(file: BinaryIO, name: str) -> NDArray[np.uint8]:
    """The grey levels of a picture as a viewer shows it: (H, W) uint8, 0 is black.

    The orientation that a camera recorded is applied, transparency is laid over a contrasting ground, 16 bits
    are reduced to 8, and colours are weighted as in ITU-R 601-2.

    Parameters
    ----------
    file : open for reading; Pillow reads from the current position and may seek.
    name : of the picture, for errors.

    Raises
    ------
    UsageError : Pillow is not installed.
    DataError : not a picture, a damaged one, more than one frame, or more than `LARGEST_PICTURE` pixels.
    """
    check_installed()
    from PIL import Image, ImageOps, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes, which are checked here, and harmless damage
        try:
            with Image.open(file) as picture:
                _check(picture, name)
                return _grey(ImageOps.exif_transpose(picture))
        except Image.DecompressionBombError as error:
            raise _too_large(name, None) from error
        except DataError:
            raise
        except UnidentifiedImageError as error:
            raise DataError(
                "not a picture", name, expected="PNG, JPEG or another format that Pillow reads"
            ) from error
        except _BROKEN as error:
            reason = " ".join(str(error).split())[:100]
            raise DataError("the picture is damaged", name, got=reason or type(error).__name__) from error


def _check(picture: "Image", name: str) -> None:
    if picture.width * picture.height > LARGEST_PICTURE:
        raise _too_large(name, picture)
    frames = getattr(picture, "n_frames", 1)
    # The first frame of an MPO is the photograph; the others are a telephone's thumbnails and depth maps.
    if frames > 1 and picture.format != "MPO":
        raise DataError("the picture is animated", name, expected="one frame", got=frames)


def _too_large(name: str, picture: "Image | None") -> DataError:
    return DataError(
        "the picture is too large",
        name,
        expected=f"at most {LARGEST_PICTURE} pixels",
        got=f"{picture.width} x {picture.height}" if picture else None,
        remedy="make it smaller",
    )


def _grey(picture: "Image") -> NDArray[np.uint8]:
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _eight_bits(np.asarray(picture, np.float64), is_float=picture.mode == "F")
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("L"))
    with_alpha = picture.convert("RGBA")
    level = np.asarray(with_alpha.convert("L")).astype(np.int64)  # ignores alpha
    alpha = np.asarray(with_alpha.getchannel("A")).astype(np.int64)
    light = 2 * int((level * alpha).sum()) > 255 * int(alpha.sum())
    ground = 0 if light else 255
    return ((2 * (level * alpha + ground * (255 - alpha)) + 255) // 510).astype(np.uint8)


def _eight_bits(levels: NDArray[np.float64], *, is_float: bool) -> NDArray[np.uint8]:
    """16-bit levels, or floats of any range, as 8 bits."""
    low, high = (float(levels.min()), float(levels.max())) if is_float else (0.0, 65535.0)
    if not np.isfinite([low, high]).all():
        raise ValueError("levels that are not finite")
    scaled = (levels - low) * (255 / (high - low or 1.0))
    return np.clip(np.floor(scaled + 0.5), 0, 255).astype(np.uint8)
