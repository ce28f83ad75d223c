"""Read a picture as grey levels. Pillow comes with the extra ``images``."""

import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.errors import DataError, require

if TYPE_CHECKING:
    from PIL.Image import Image

# Without a handler its messages about damaged files would go to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

#: The formats that are read, as Pillow names them: no other decoder is called, since some start a program.
FORMATS = {
    name.upper().replace("PNM", "PPM"): name for name in ("PNG", "JPEG", "BMP", "GIF", "PNM", "TIFF", "WebP")
}
#: The most memory that reading may take, in bytes: the whole program then stays below 500 MB.
LARGEST = 384 << 20
_ALLOWED = f"at most {LARGEST >> 20} MiB of memory"
#: The most bytes of a file, which WebP's decoder holds three times, and of what comes before the pixels.
LARGEST_FILE, LARGEST_HEAD = 128 << 20, 32 << 20
#: Bytes a pixel that decoders beside libjpeg and libtiff take, without the picture. The last three are in
#: Python: they take 2 to 8 bytes, but a microsecond a level, and 40 keeps them to about ten seconds.
_WORKSPACE = {"webp": 16, "ppm": 40, "ppm_plain": 40, "bmp_rle": 40}
#: Side of the squares in which pictures are converted, in pixels.
_TILE = 512
_Place = tuple[slice, slice]
#: What Pillow's readers raise on damaged or malicious files.
_BROKEN: tuple[type[Exception], ...] = (OSError, ValueError, TypeError, ArithmeticError, LookupError)
_BROKEN += (AttributeError, RuntimeError, SyntaxError, EOFError, struct.error, zlib.error)


class NotAPictureError(DataError):
    """In none of the `FORMATS`, or not even a regular file."""


def check_installed() -> None:
    """Raise UsageError if Pillow is not installed."""
    require("PIL", "Pillow", "images")


def read_grey(file: BinaryIO, name: str) -> NDArray[np.uint8]:
    """The grey levels of a picture as a viewer shows it: (H, W) uint8, 0 is black.

    The orientation that a camera recorded is applied, transparency is laid over a contrasting ground, 16 bits
    are reduced to 8, and colours are weighted as in ITU-R 601-2.

    Parameters
    ----------
    file : open for reading; it is read from its beginning, or from where it is if it cannot seek.
    name : of the picture, for errors.

    Raises
    ------
    UsageError : Pillow is not installed.
    NotAPictureError : in none of the `FORMATS`.
    DataError : a damaged picture, more than one frame, or larger than `LARGEST` allows.
    """
    check_installed()
    from PIL import ExifTags, Image, UnidentifiedImageError

    if not file.seekable():
        file = io.BytesIO(file.read(LARGEST_FILE + 1))
    size = file.seek(0, os.SEEK_END)
    if size > LARGEST_FILE:
        raise _too_large(name, f"a file of at most {LARGEST_FILE >> 20} MiB")
    with warnings.catch_warnings(), _silent():
        warnings.simplefilter("ignore")  # about sizes, which are checked here, and harmless damage
        try:
            parts: Any = _Parts(file)
            with Image.open(parts, formats=tuple(FORMATS)) as picture:
                _check(picture, size, name)
                parts.start_pixels(in_python=picture.format in {"BMP", "PPM"})
                picture.load()
                orientation = picture.getexif().get(ExifTags.Base.Orientation)
                return _oriented(_grey(picture), orientation)
        except Image.DecompressionBombError as error:
            raise _too_large(name, _ALLOWED) from error
        except DataError:
            raise
        except UnidentifiedImageError as error:
            *most, last = FORMATS.values()
            expected = f"{', '.join(most)} or {last}"
            raise NotAPictureError("not a picture", name, expected=expected) from error
        except _BROKEN as error:
            reason = " ".join(str(error).split())[:100]
            raise DataError("the picture is damaged", name, got=reason or type(error).__name__) from error


class _Parts:
    """A file that gives at most so many bytes; a read counts as 32 more, since decoders keep each part."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left, self.longest = file, LARGEST_HEAD, LARGEST_FILE

    def start_pixels(self, *, in_python: bool) -> None:
        """Give what the pixels need. The time that a plain PNM takes grows with the square of a read."""
        self.left = LARGEST if in_python else LARGEST_FILE + LARGEST_HEAD
        self.longest = 4096 if in_python else LARGEST_FILE

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.longest)
        self.left -= max(size, 0) + 32
        if self.left < 0:
            raise ValueError("too many or too large parts beside the pixels")
        return self.file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what is written to file descriptor 2: libtiff prints its messages there."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check(picture: "Image", file_size: int, name: str) -> None:
    # The first frame of an MPO is the photograph; the others are a telephone's thumbnails and depth maps.
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise DataError("the picture is animated", name, expected="one frame")
    if file_size + _memory(picture) > LARGEST:
        picture.draft("L", None)  # a JPEG is then decoded without its colours
    needed = file_size + _memory(picture)
    if needed > LARGEST:
        got = f"{picture.width} x {picture.height} pixels, which need {needed / 2**20:.0f} MiB"
        raise _too_large(name, _ALLOWED, got)


def _too_large(name: str, expected: str, got: str | None = None) -> DataError:
    return DataError("the picture is too large", name, expected=expected, got=got, remedy="make it smaller")


def _memory(picture: Any) -> float:
    """The most bytes that reading an opened picture can take, without its file."""
    pixels: int = picture.width * picture.height
    stored = {"1": 1, "L": 1, "P": 1}.get(picture.mode, 2 if picture.mode.startswith("I;16") else 4)
    decoder = picture.tile[0][0] if picture.tile else "webp"
    workspace = pixels * _WORKSPACE.get(decoder, 0)
    if decoder == "jpeg":
        # A progressive JPEG's coefficients are all held, two bytes each, every colour as it is sampled.
        sampled = [(across, down) for _, across, down, _ in picture.layer]
        largest = max(across for across, _ in sampled) * max(down for _, down in sampled)
        workspace = 2 * pixels * sum(across * down for across, down in sampled) / largest
    elif decoder == "libtiff":
        # A strip or a tile at a time: its samples, and of JPEG's colours also RGBA and coefficients.
        tags, (_, _, width, height) = picture.tag_v2, picture.tile[0][1]
        part = tags.get(322, width) * tags.get(323, min(tags.get(278, height), height))
        is_jpeg = tags.get(262) == 6 or "jpeg" in picture.info["compression"]
        workspace = part * (tags.get(277, 1) * max(tags.get(258, (1,))) / 8 + (10 if is_jpeg else 0))
    # After decoding come the grey levels, and then the ink and a mask of the sure ink.
    return 500 * len(picture.tile) + max(float(pixels * stored + workspace), pixels * max(stored + 1, 3))


def _tiles(picture: "Image") -> Iterator[tuple[_Place, "Image"]]:
    """The parts of a loaded picture, each at most `_TILE` x `_TILE`, and where they are."""
    for top in range(0, picture.height, _TILE):
        for left in range(0, picture.width, _TILE):
            bottom, right = min(top + _TILE, picture.height), min(left + _TILE, picture.width)
            yield (slice(top, bottom), slice(left, right)), picture.crop((left, top, right, bottom))


def _grey(picture: "Image") -> NDArray[np.uint8]:
    """A loaded picture in grey; tile by tile, so that what is wider than a byte stays small."""
    grey = np.empty((picture.height, picture.width), np.uint8)
    if picture.mode == "F" or picture.mode.startswith("I"):
        low, high = _range(picture) if picture.mode == "F" else (0.0, 65535.0)
        for place, tile in _tiles(picture):
            scaled = (np.asarray(tile, np.float64) - low) * (255 / (high - low or 1.0))
            grey[place] = np.clip(np.floor(scaled + 0.5), 0, 255)
    elif picture.has_transparency_data:
        light = sum(int(((2 * level - 255) * alpha).sum()) for _, level, alpha in _layers(picture))
        ground = 0 if light > 0 else 255
        for place, level, alpha in _layers(picture):
            grey[place] = (2 * (level * alpha + ground * (255 - alpha)) + 255) // 510
    else:
        for place, tile in _tiles(picture):
            grey[place] = np.asarray(tile.convert("L"))
    return grey


def _range(picture: "Image") -> tuple[float, float]:
    """The lowest and the highest of the levels, floats of any range."""
    tiles = (np.asarray(tile) for _, tile in _tiles(picture))
    extremes = np.array([(tile.min(), tile.max()) for tile in tiles], np.float64)
    if not np.isfinite(extremes).all():
        raise ValueError("levels that are not finite")
    return float(extremes.min()), float(extremes.max())


def _layers(picture: "Image") -> Iterator[tuple[_Place, NDArray[np.int64], NDArray[np.int64]]]:
    """The grey levels, which ignore transparency, and the opacity of each tile; both 0 to 255."""
    for place, tile in _tiles(picture):
        with_alpha = tile.convert("RGBA")
        alpha = np.asarray(with_alpha.getchannel("A"), np.int64)
        yield place, np.asarray(with_alpha.convert("L"), np.int64), alpha


def _oriented(grey: NDArray[np.uint8], orientation: object) -> NDArray[np.uint8]:
    """Turned and mirrored as the number 1 to 8 of the EXIF tag says."""
    if orientation in (5, 6, 7, 8):
        grey = grey.T
    if orientation in (3, 4, 7, 8):
        grey = grey[::-1]
    return grey[:, ::-1] if orientation in (2, 3, 6, 7) else grey
