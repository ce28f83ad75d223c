"""Write PNG images, as `data:` addresses for a page."""

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GREY, _RGBA = 0, 6


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image: (H, W) uint8 grey, or (H, W, 4) uint8 red, green, blue, alpha.

    Source: W3C, "Portable Network Graphics (PNG) Specification", 2003; no filter, no interlacing.
    """
    height, width = image.shape[:2]
    colour = _GREY if image.ndim == 2 else _RGBA
    lines = np.zeros((height, 1 + image[0].size), np.uint8)  # each line begins with its filter, 0 for none
    lines[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_address(image: NDArray[np.uint8]) -> str:
    """A `data:` address of the PNG of an image; see `png`."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def signed_colours(values: NDArray[Any], scale: float) -> NDArray[np.uint8]:
    """RGBA (H, W, 4) of signed values (H, W): orange above 0, blue below, opaque from `scale`, clear at 0.

    The background shows through, so the same image fits a light page and a dark one.
    """
    strength = np.clip(values / scale, -1, 1) if scale else np.zeros(values.shape)
    colours = np.where(strength[..., None] > 0, np.array(FOR), np.array(AGAINST))
    alpha = np.round(255 * np.abs(strength))[..., None]
    return np.concatenate([colours, alpha], axis=-1).astype(np.uint8)


#: RGB of what speaks for a class and against it; page.js has the same.
FOR, AGAINST = (232, 93, 4), (37, 110, 219)
