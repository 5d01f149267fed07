"""Checks of color images: exposure, and whether there are colors at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.input_warnings import InputWarning

STRIDE_PX = 8
"""Step between the rows and columns that are checked for exposure."""
DARK, BRIGHT = 24, 250
"""Levels of 255 below and above which there is no texture to recognise."""
DARK_FRACTION, BRIGHT_FRACTION = 0.99, 0.8
"""Fractions of the picture from which on its exposure is wrong; a bright wall or a lamp alone is not."""
GRAY_TOLERANCE = 3
"""Levels of 255 by which the channels of a picture without colors differ at most, after JPEG. A camera that has
colors is noisier than that in some of its pixels, whatever it looks at."""
GRAY_FRACTION = 0.999
"""Fraction of the pixels that have to be as gray as that: single ones may be drawn over, as by a time stamp."""
MIN_CONTRAST = 4.0
"""Standard deviation of a picture's gray levels below which it shows nothing, in color or without."""
GRAY_STRIDE_PX = 4
"""Step between the rows and columns that are checked for colors first."""


def exposure_warnings(rgb: NDArray[np.uint8]) -> tuple[InputWarning, ...]:
    """Check for a picture that is black or white nearly everywhere.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        At most one warning, of the reason `exposure`.
    """
    # by planes: NumPy takes maxima along an axis of three a good deal slower
    red, green, blue = np.moveaxis(rgb[::STRIDE_PX, ::STRIDE_PX], 2, 0)
    brightest, darkest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    if (brightest < DARK).mean() >= DARK_FRACTION:
        what = (
            "rgb is almost black: uncover the lens, give light or a longer exposure, and where it comes in 16 bits of "
            "which the camera fills fewer, publish 8 bits"
        )
    elif (darkest > BRIGHT).mean() >= BRIGHT_FRACTION:
        what = "rgb is almost white: give less light or a shorter exposure"
    else:
        return ()
    return (InputWarning("exposure", what),)


def has_no_colors(rgb: NDArray[np.uint8]) -> bool:
    """Tell whether a picture has no colors at all, as of a monochrome camera or after a conversion to mono8.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        True where its channels are alike and it shows something.
    """
    return _is_gray(rgb[::GRAY_STRIDE_PX, ::GRAY_STRIDE_PX]) and _is_gray(rgb)


def _is_gray(rgb: NDArray[np.uint8]) -> bool:
    red, green, blue = (rgb[..., channel].astype(np.int16) for channel in range(3))
    differences = np.maximum(np.abs(red - green), np.abs(green - blue))
    colored = np.count_nonzero(differences > GRAY_TOLERANCE)
    return colored <= (1 - GRAY_FRACTION) * differences.size and float(green.std()) > MIN_CONTRAST
