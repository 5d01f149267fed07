"""The loop that looks at masks through their windows, on a CPU."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ism_ros.runtime.compilation import HALF, Float, Floats, compiled


@compiled
def sample_windows(
    masks: NDArray[np.bool_],
    depth_m: Floats,
    origin: Floats,
    cell_px: Floats,
    covered: NDArray[np.uint8],
    read_share: Floats,
) -> None:
    """Read masks at the pixels in the middle of the cells of their windows, as of `observed_masks.window_pixels`.

    Args:
        masks: (N, H, W).
        depth_m: (H, W) metres, 0 = no reading.
        origin: (N, 2) x and y of the windows' corners, pixels.
        cell_px: (N,) side of a cell, pixels.
        covered: (N, C, C), all 0; 1 where the mask is.
        read_share: (N,) filled in with the share of these cells that have a reading.
    """
    height, width = depth_m.shape
    cells = covered.shape[1]
    columns = np.empty(cells, np.int64)
    for n in range(len(masks)):
        for c in range(cells):
            columns[c] = math.floor(origin[n, 0] + (Float(c) + HALF) * cell_px[n] + HALF)
        area, readings = 0, 0
        for r in range(cells):
            row = math.floor(origin[n, 1] + (Float(r) + HALF) * cell_px[n] + HALF)
            if row < 0 or row >= height:
                continue
            for c in range(cells):
                column = columns[c]
                if 0 <= column < width and masks[n, row, column]:
                    covered[n, r, c] = 1
                    area += 1
                    readings += depth_m[row, column] > 0
        read_share[n] = Float(readings) / Float(max(area, 1))
