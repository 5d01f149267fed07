"""Decoding of image files into pixels as they are stored, whatever EXIF or TIFF says of the camera's orientation.

Depth, masks and the camera matrix belong to the stored pixels; a color image that is turned upright no longer fits.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

_TIFF_ORIENTATION = 274
_UPRIGHT = 1


def decode_color(content: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Decode an image file as color.

    Args:
        content: (N,) uint8, the bytes of the file.

    Returns:
        (H, W, 3) uint8 RGB, not turned; None where this is no image that can be read.
    """
    image = _decoded(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_unchanged(content: NDArray[np.uint8]) -> NDArray[Any] | None:
    """Decode an image file with its channels and every bit of them.

    Args:
        content: (N,) uint8, the bytes of the file.

    Returns:
        (H, W) or (H, W, C) of the type that is stored, not turned; None where this is no image that can be read.
    """
    return _decoded(content, cv2.IMREAD_UNCHANGED)


def _decoded(content: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(_without_tiff_orientation(content), flags) if content.size else None
    except cv2.error:
        return None


def _without_tiff_orientation(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mark the first image of a TIFF as upright; other files stay as they are.

    OpenCV turns images of TIFF files whatever its flags say.
    """
    head = content[:8].tobytes()
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    if head[:2] not in (b"II", b"MM") or int.from_bytes(head[2:4], order) not in (42, 43):
        return content
    # TIFF 6.0, and BigTIFF with longer offsets and counts
    big = int.from_bytes(head[2:4], order) == 43
    at_offset, offset_bytes, count_bytes, entry_bytes = (8, 8, 8, 20) if big else (4, 4, 2, 12)

    def number(at: int, size: int) -> int:
        return int.from_bytes(content[at : at + size].tobytes(), order)

    first = number(at_offset, offset_bytes)
    for k in range(min(number(first, count_bytes), 4096)):
        at = first + count_bytes + k * entry_bytes
        if number(at, 2) == _TIFF_ORIENTATION and at + entry_bytes <= content.size:
            upright = content.copy()
            value = at + entry_bytes - offset_bytes
            upright[value : value + 2] = np.frombuffer(_UPRIGHT.to_bytes(2, order), np.uint8)
            return upright
    return content
