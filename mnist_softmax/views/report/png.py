"""Pictures as `data:` addresses for a page."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray


def png_address(image: NDArray[np.uint8]) -> str:
    """A `data:` address of a PNG: (H, W) uint8 grey, or (H, W, 4) uint8 red, green, blue, alpha."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def signed_colours(values: NDArray[Any], scale: float) -> NDArray[np.uint8]:
    """RGBA (H, W, 4) of signed values (H, W): orange above 0, blue below, opaque from `scale`, clear at 0.

    The background shows through, so the same image fits a light page and a dark one.
    """
    strength = np.clip(values / scale, -1, 1) if scale else np.zeros(values.shape)
    colours = np.where(strength[..., None] > 0, np.array(FOR), np.array(AGAINST))
    alpha = np.round(255 * np.abs(strength))[..., None]
    return np.concatenate([colours, alpha], axis=-1).astype(np.uint8)


#: RGB of what speaks for a class and against it, as in style.css on a light page.
FOR, AGAINST = (232, 93, 4), (37, 110, 219)
