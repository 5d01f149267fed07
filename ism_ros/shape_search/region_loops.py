"""The loop that grows regions of depth, cell by cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ism_ros.runtime.compilation import ONE, Float, Floats, compiled


@compiled
def grow_regions(
    points_m: Floats,
    is_left: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    radius_m: Float,
    behind_m: Float,
    regions: NDArray[np.bool_],
) -> None:
    """Grow a region from each of N cells: neighbours, side by side, that lie in the ball behind the first.

    Args:
        points_m: (H, W, 3) metres.
        is_left: (H, W), cells that may belong to a region.
        rows: (N,) of the cells.
        columns: (N,) of the cells.
        radius_m: Of the balls, metres.
        behind_m: How far behind the first cell's point the centre of its ball lies along the viewing ray, metres.
        regions: (N, H, W), all False; filled in.
    """
    height, width = is_left.shape
    waiting = np.empty((height * width, 2), np.int64)
    for n in range(len(rows)):
        first = points_m[rows[n], columns[n]]
        scale = ONE + behind_m / np.sqrt(first[0] * first[0] + first[1] * first[1] + first[2] * first[2])
        x, y, z = first[0] * scale, first[1] * scale, first[2] * scale
        waiting[0, 0], waiting[0, 1], count = rows[n], columns[n], 1
        regions[n, rows[n], columns[n]] = True
        while count > 0:
            count -= 1
            row, column = waiting[count, 0], waiting[count, 1]
            for side in range(4):
                r, c = row + (side == 0) - (side == 1), column + (side == 2) - (side == 3)
                if r < 0 or r >= height or c < 0 or c >= width or regions[n, r, c] or not is_left[r, c]:
                    continue
                dx, dy, dz = points_m[r, c, 0] - x, points_m[r, c, 1] - y, points_m[r, c, 2] - z
                if dx * dx + dy * dy + dz * dz < radius_m * radius_m:
                    regions[n, r, c] = True
                    waiting[count, 0], waiting[count, 1], count = r, c, count + 1


def compile_loops() -> None:
    """Have all that is compiled for the CPU ready, so that no frame waits for it: at the first start some seconds."""
    cell, regions = np.zeros(1, np.int64), np.zeros((1, 1, 1), bool)
    grow_regions(np.ones((1, 1, 3), np.float32), ~regions[0], cell, cell, ONE, ONE, regions)
