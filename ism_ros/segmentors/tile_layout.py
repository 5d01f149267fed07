"""Where tiles lie in a frame: how many there are, by its size and that of the objects, and what is seen in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

import numpy as np

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame

MIN_LARGE_PIXELS = 1_500_000
"""Pixels of a frame from which on `auto` makes tiles: more than those of 1280 x 720."""
MIN_OBJECT_RATIO = 0.115
"""Size of the smallest known object, as a ratio of a frame's side (the root of its area), below which `auto` makes
tiles of any frame: 32 of the 320 x 240 pixels that `tiny` sees. It is the diagonal of the object's box; what a picture
shows of it is half of that at times."""
MAX_TILES_FOR_OBJECTS = 3
"""Most tiles along each side for the sake of small objects."""
NEAR_SHARE = 0.25
"""Share of a frame's depth that is nearer than where objects are supposed to be."""
DEPTH_STEP_PX = 8
"""Rows and columns of depth of which one is looked at for that."""
MIN_TILE_SIDE_PX = 64
"""Least side of a tile; smaller frames have fewer tiles than were asked for."""
OVERLAP_RATIO = 0.2
"""Overlap of neighbouring tiles, as a ratio of the side of a tile. What is larger than that is large enough to be seen
in the whole frame."""

Box = tuple[int, int, int, int]
"""First column and row, and the ones past the last."""


def expected_size_px(frame: Frame, diameter_m: float) -> float | None:
    """Estimate how large an object would be seen in a frame: at the depth of what is near in it.

    Args:
        frame: The frame.
        diameter_m: Of the object, metres.

    Returns:
        Pixels; None without depth.
    """
    if frame.depth_m is None:
        return None
    depth_m = frame.depth_m[::DEPTH_STEP_PX, ::DEPTH_STEP_PX]
    depth_m = depth_m[depth_m > 0]
    if not len(depth_m):
        return None
    focal_px = (frame.camera.fx * frame.camera.fy) ** 0.5
    return float(focal_px * diameter_m / np.quantile(depth_m, NEAR_SHARE))


def tiles_per_side(height: int, width: int, tiles: str, tile_pixels: int | None, object_px: float | None = None) -> int:
    """Decide into how many tiles along each side a frame is divided.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        tiles: auto, off, or the number.
        tile_pixels: Area of the tiles of `auto`, about; None = no tiles then.
        object_px: Size of the smallest object that is looked for, pixels; None = not known.

    Returns:
        The number; 1 = none.
    """
    most = max(1, min(height, width) // MIN_TILE_SIDE_PX)
    if tiles.isdigit():
        return min(int(tiles), most)
    if tiles != "auto" or tile_pixels is None:
        return 1
    of_size, of_object = (1.0 if height * width < MIN_LARGE_PIXELS else (height * width / tile_pixels) ** 0.5), 1.0
    if object_px is not None:
        of_object = MIN_OBJECT_RATIO * (height * width) ** 0.5 / max(object_px, 1e-6)
    wanted = max(_tiles_of_share(of_size), min(_tiles_of_share(of_object), MAX_TILES_FOR_OBJECTS))
    return min(wanted, most)


def _tiles_of_share(times: float) -> int:
    """Number of tiles along a side that is `times` as long as each of them: 1, or 2 and more."""
    # n tiles that overlap by r are each 1 / (n - r (n - 1)) of the side
    return max(2, round((times - OVERLAP_RATIO) / (1 - OVERLAP_RATIO))) if times > 1 else 1


def tile_boxes(height: int, width: int, per_side: int) -> Iterator[Box]:
    """Divide a frame into tiles of one size that overlap by OVERLAP_RATIO.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        per_side: Tiles along each side.

    Yields:
        The tiles, row by row.
    """
    rows, columns = (list(_spans(length, per_side)) for length in (height, width))
    for y_first, y_end in rows:
        for x_first, x_end in columns:
            yield x_first, y_first, x_end, y_end


def _spans(length: int, count: int) -> Iterator[tuple[int, int]]:
    """Divide a length, pixels, into overlapping spans (first, end) of one size."""
    side = min(length, ceil(length / (count - OVERLAP_RATIO * (count - 1))))
    for number in range(count):
        first = round(number * (length - side) / max(count - 1, 1))
        yield first, first + side


def frame_of_tile(frame: Frame, tile: Box) -> Frame:
    """Crop a frame and shift its camera.

    Args:
        frame: The frame.
        tile: Where to.

    Returns:
        What the same camera sees there.
    """
    x_first, y_first, x_end, y_end = tile
    window = slice(y_first, y_end), slice(x_first, x_end)
    intrinsics = frame.camera.intrinsics.copy()
    intrinsics[:2, 2] -= x_first, y_first
    return replace(
        frame,
        rgb=np.ascontiguousarray(frame.rgb[window]),
        depth_m=None if frame.depth_m is None else np.ascontiguousarray(frame.depth_m[window]),
        camera=Camera(intrinsics, x_end - x_first, y_end - y_first, is_cropped=True),
    )
