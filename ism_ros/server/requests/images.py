"""Images in requests: checked by their first bytes before they are decoded."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ism_ros.checks.depth_checks import depth_format_error, depth_in_metres
from ism_ros.io.image_decoding import decode_color, decode_unchanged
from ism_ros.server.errors import RequestError

Pixel = TypeVar("Pixel", bound=Any)

RGB_FORMATS = ("PNG", "JPEG")
"""Formats of color images, as Pillow calls them."""
DEPTH_FORMATS = ("PNG",)
"""Formats of depth images, as Pillow calls them."""


def decode_base64(text: str, what: str) -> bytes:
    """Decode base64 text; a data-URL prefix and line breaks are allowed.

    Args:
        text: The text.
        what: The field it is from, for error messages.

    Returns:
        The bytes.

    Raises:
        RequestError: 400 where it is no base64.
    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise RequestError(400, f"{what} is a data URL without ';base64,': send base64")
    try:
        data = text.encode("ascii").translate(None, b" \t\r\n\v\f")
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(400, f"{what} is not base64: send the bytes of a PNG or JPEG file in base64") from None


def decode_rgb(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a color image, its pixels as they are stored (EXIF rotates nothing).

    Args:
        data: A PNG or JPEG file.
        max_pixels: Most pixels that are decoded.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        RequestError: 400 where it cannot be decoded, 413 where it is too large.
    """
    check_image(data, "rgb_image", max_pixels, RGB_FORMATS)
    return _checked_whole(decode_color(np.frombuffer(data, dtype=np.uint8)), "rgb_image")


def decode_depth_m(data: bytes, depth_scale: float, max_pixels: int) -> NDArray[np.float32]:
    """Decode a depth image.

    Args:
        data: A 16-bit PNG file with one channel.
        depth_scale: Millimetres a unit: metres = number * depth_scale / 1000.
        max_pixels: Most pixels that are decoded.

    Returns:
        (H, W) float32, metres; 0 = no reading.

    Raises:
        RequestError: 400 where it cannot be decoded, 413 where it is too large.
    """
    check_image(data, "depth_image", max_pixels, DEPTH_FORMATS)
    image = _checked_whole(decode_unchanged(np.frombuffer(data, dtype=np.uint8)), "depth_image")
    if found := depth_format_error(image):
        raise RequestError(400, f"depth_image has {found}; send a 16-bit PNG with one channel")
    return depth_in_metres(image, depth_scale / 1000.0)


def check_image(data: bytes, what: str, max_pixels: int, formats: tuple[str, ...]) -> None:
    """Check format and size by the file's first bytes, so that nothing large is ever decoded.

    Args:
        data: The file.
        what: The field it is from, for error messages.
        max_pixels: Most pixels that are allowed.
        formats: Formats that are allowed, as Pillow calls them.

    Raises:
        RequestError: 400 for another format, 413 for too many pixels.
    """
    if not data:
        raise RequestError(400, f"{what} is empty")
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise RequestError(400, f"{what} is no image that can be read: send a {' or '.join(formats)}") from None
    except Image.DecompressionBombError:
        raise RequestError(413, f"{what} has too many pixels: at most {max_pixels} are taken") from None
    if width * height > max_pixels:
        raise RequestError(413, f"{what} is {width} x {height} pixels; at most {max_pixels} pixels are taken")


def _checked_whole(image: NDArray[Pixel] | None, what: str) -> NDArray[Pixel]:
    if image is None:
        raise RequestError(400, f"{what} is damaged: it starts like an image but cannot be decoded")
    return image
