"""Pictures that show next to nothing: black ones and white ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.input_warnings import InputWarning

STRIDE_PX = 8
DARK, BRIGHT = 24, 250
"""Of 255. Below the one and above the other there is no texture to tell."""
DARK_SHARE, BRIGHT_SHARE = 0.99, 0.8
"""Of the picture. A bright wall or a lamp is not yet an exposure gone wrong."""


def exposure_warnings(rgb: NDArray[np.uint8]) -> tuple[InputWarning, ...]:
    """Doubt a picture that is black or white nearly everywhere.

    Args:
        rgb: (H, W, 3) colours.

    Returns:
        At most one warning, of the reason `exposure`.
    """
    # by planes: NumPy takes maxima along an axis of three a good deal slower
    red, green, blue = np.moveaxis(rgb[::STRIDE_PX, ::STRIDE_PX], 2, 0)
    brightest, darkest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    if (brightest < DARK).mean() >= DARK_SHARE:
        what = (
            "rgb is almost black: uncover the lens, give light or a longer exposure, and where it comes in 16 bits of "
            "which the camera fills fewer, publish 8 bits"
        )
    elif (darkest > BRIGHT).mean() >= BRIGHT_SHARE:
        what = "rgb is almost white: give less light or a shorter exposure"
    else:
        return ()
    return (InputWarning("exposure", what),)
