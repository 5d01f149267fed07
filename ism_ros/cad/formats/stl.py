"""Colors of binary STL files, which trimesh does not read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TRIANGLE = np.dtype([("geometry", "V48"), ("attribute", "<u2")])


def stl_colors(content: bytes) -> NDArray[np.uint8] | None:
    """Read the colors of the triangles of a binary STL.

    Two conventions use the two bytes after each triangle: VisCAM and SolidView (bit 15 set = its own color, blue in
    the lowest bits), and Materialise Magics (COLOR= in the header is the color of the whole, bit 15 not set = its own,
    red in the lowest bits).

    Args:
        content: Of the file.

    Returns:
        (F, 3) uint8, or None where it has none.
    """
    if len(content) < 84:
        return None
    count = int.from_bytes(content[80:84], "little")
    if count == 0 or len(content) != 84 + 50 * count:
        return None
    bits = np.frombuffer(content, _TRIANGLE, offset=84)["attribute"].astype(np.int64)
    low, middle, high = ((bits >> shift & 31) * 255 // 31 for shift in (0, 5, 10))
    marked = (bits & 0x8000) > 0
    at = content[:80].find(b"COLOR=")
    if at >= 0 and at + 10 <= 80:
        whole = np.frombuffer(content[at + 6 : at + 9], np.uint8)
        own = ~marked & (bits > 0).any()
        return np.where(own[:, None], np.column_stack([low, middle, high]), whole).astype(np.uint8)
    if not marked.any():
        return None
    colors = np.column_stack([high, middle, low])
    return np.where(marked[:, None], colors, np.full(3, 160)).astype(np.uint8)
