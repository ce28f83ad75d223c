"""Pictures of weights as numbers; `terminal` and `report` each give them their own colours."""

import numpy as np
from numpy.typing import NDArray


def templates(parameters: NDArray[np.float32], height: int, width: int) -> tuple[NDArray[np.float32], float]:
    """The weights as pictures (L, height, width), and a scale for all of them: 99 % lie within it.

    What is the same for every class has no effect on S, so each pixel's mean over the classes is subtracted.
    (After training from W = 0 it is 0, because the gradient's sum over the classes is.)
    """
    W = parameters[: height * width]
    pictures = (W - W.mean(axis=1, keepdims=True)).T.reshape(-1, height, width)
    seen = np.abs(pictures[:, np.abs(pictures).max(axis=0) > 0])
    return pictures, float(np.quantile(seen, 0.99)) if seen.size else 0.0
