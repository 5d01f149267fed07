"""The loop that grows regions of depth, cell by cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ism_ros.runtime.compilation import ONE, Float, Floats, compiled

HASH_FACTOR, HASH_MODULUS = 48_271, 2_147_483_647
"""Of the numbers whose sum tells regions of the same cells (Park and Miller, 1988)."""


@compiled
def grow_regions(
    points_m: Floats,
    is_left: NDArray[np.bool_],
    places: NDArray[np.int64],
    radius_m: Float,
    behind_m: Float,
    min_cells: int,
    cells: NDArray[np.int64],
    ends: NDArray[np.int64],
    cuts: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> int:
    """Grow a region from each of N cells: neighbours, side by side, that lie in the ball behind the first.

    Args:
        points_m: (H, W, 3) metres.
        is_left: (H, W), cells that may belong to a region.
        places: (N, 2) rows and columns of the first cells.
        radius_m: Of the balls, metres.
        behind_m: How far behind the first cell's point the centre of its ball lies along the viewing ray, metres.
        min_cells: Least cells of a region.
        cells: (C,) filled in with the cells of all regions, row by row of the grid; those beyond C are left out.
        ends: (N,) filled in with the end of each region in `cells`.
        cuts: (N,) filled in with the neighbours of each region that would belong to it but for the ball.
        sums: (N,) working memory.

    Returns:
        How many regions there are; none is there twice.
    """
    height, width = is_left.shape
    stamp = np.full((height, width), -1, np.int64)
    count, first = 0, 0
    for n in range(len(places)):
        start = points_m[places[n, 0], places[n, 1]]
        scale = ONE + behind_m / np.sqrt(start[0] * start[0] + start[1] * start[1] + start[2] * start[2])
        x, y, z = start[0] * scale, start[1] * scale, start[2] * scale
        stamp[places[n, 0], places[n, 1]] = n
        # what is found waits for its turn in the list itself
        cells[first], at, last, total = places[n, 0] * width + places[n, 1], first, first + 1, 0
        cut = 0
        while at < last:
            row, column = cells[at] // width, cells[at] % width
            total += (cells[at] + 1) * HASH_FACTOR % HASH_MODULUS * (cells[at] + 1)
            at += 1
            for side in range(4):
                r, c = row + (side == 0) - (side == 1), column + (side == 2) - (side == 3)
                if r < 0 or r >= height or c < 0 or c >= width or stamp[r, c] == n or not is_left[r, c]:
                    continue
                stamp[r, c] = n
                dx, dy, dz = points_m[r, c, 0] - x, points_m[r, c, 1] - y, points_m[r, c, 2] - z
                if dx * dx + dy * dy + dz * dz >= radius_m * radius_m:
                    cut += 1
                elif last < len(cells):
                    cells[last] = r * width + c
                    last += 1
        is_new = last - first >= min_cells
        for other in range(count):
            is_new = is_new and sums[other] != total
        if is_new:
            sums[count], ends[count], cuts[count], first = total, last, cut, last
            count += 1
        if first >= len(cells):
            break
    return count


def compile_loops() -> None:
    """Have all that is compiled for the CPU ready, so that no frame waits for it: at the first start some seconds."""
    numbers = np.zeros(1, np.int64)
    is_left = np.ones((1, 1), bool)
    place = np.zeros((1, 2), np.int64)
    grow_regions(np.ones((1, 1, 3), np.float32), is_left, place, ONE, ONE, 1, numbers, numbers, numbers, numbers)
