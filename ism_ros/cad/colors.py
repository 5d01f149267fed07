"""Colors as people and files write them, read as 8-bit sRGB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

Rgb = tuple[int, int, int]
"""Red, green and blue, sRGB 0 to 255."""


def parse_color(value: object) -> Rgb:
    """Read a color that a person wrote.

    Args:
        value: Three whole numbers 0 to 255 (a list, or text with commas), '#rrggbb', or a name of CSS ('steelblue').

    Returns:
        Its red, green and blue.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(value, str):
        numbers = value.strip().strip("[]()").replace(",", " ").split()
        if len(numbers) == 3 and all(number.isdecimal() for number in numbers):
            value = [int(number) for number in numbers]
        else:
            try:
                rgb = ImageColor.getrgb(value.strip())
                return rgb[0], rgb[1], rgb[2]
            except ValueError:
                pass
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3:
        red, green, blue = value
        if all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= 255 for one in value):
            return red, green, blue
    raise ValueError(
        f"color {value!r} is no color: give three whole numbers from 0 to 255 ([90, 120, 170]), '#5a78aa', or a name "
        "such as steelblue"
    )


def color_text(rgb: Rgb) -> str:
    """Write a color as '#rrggbb'.

    Args:
        rgb: The color.
    """
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def as_rgb8(colors: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert sRGB colors to bytes, whatever range a file keeps them in; only the first three columns.

    Args:
        colors: (N, 3 or more): bytes; 16-bit numbers of which any is above 255; or floats, of 0 to 1 where none is
            above 1, else of 0 to 255.

    Returns:
        (N, 3) uint8.
    """
    values = np.nan_to_num(np.asarray(colors)[:, :3].astype(np.float64))
    highest = float(values.max(initial=0.0))
    if colors.dtype.kind == "f" and highest <= 1:
        values *= 255
    elif highest > 255:
        values /= 257
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def srgb_of_linear(linear: NDArray[Any]) -> NDArray[np.float64]:
    """Convert linear light to sRGB (IEC 61966-2-1).

    Args:
        linear: In [0, 1]; what is outside is clipped.

    Returns:
        The same shape, in [0, 1].
    """
    linear = np.clip(np.asarray(linear, np.float64), 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def linear_of_srgb(srgb: NDArray[Any]) -> NDArray[np.float64]:
    """Convert sRGB to linear light (IEC 61966-2-1).

    Args:
        srgb: In [0, 1]; what is outside is clipped.

    Returns:
        The same shape, in [0, 1].
    """
    srgb = np.clip(np.asarray(srgb, np.float64), 0, 1)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def rgb_picture(picture: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit RGB; Pillow itself would clip 16-bit and float ones at 255.

    Args:
        picture: Of any mode.

    Returns:
        An image of mode RGB.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture)
        gray = as_rgb8(np.repeat(values.reshape(-1, 1), 3, axis=1)).reshape(*values.shape, 3)
        return Image.fromarray(gray)
    return picture.convert("RGB")
