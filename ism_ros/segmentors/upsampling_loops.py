"""The loop that upsamples logits to masks on a CPU: row by row, between the first and the last value above."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ism_ros.runtime.compilation import HALF, ONE, Floats, compiled, compiled_part


class Axis(NamedTuple):
    """Where the L pixels of an axis of masks are among the size + 2 values of a padded image.

    Attributes:
        cell: (L,) int64, between which of the values: cell c is that from value c to c + 1.
        fraction: (L,) float32 in [0, 1], how far along its cell.
        first: (size + 1,) int64, the first pixel of each cell.
        number: (size + 1,) int64, the pixels of each cell.
    """

    cell: NDArray[np.int64]
    fraction: Floats
    first: NDArray[np.int64]
    number: NDArray[np.int64]


@compiled_part
def _between(first: Any, last: Any, share: Any) -> Any:
    """Interpolate, as PyTorch does, so that both ends are met exactly."""
    if share < HALF:
        return first + share * (last - first)
    return last - (last - first) * (ONE - share)


@compiled
def fill_masks(values: Floats, rows: Axis, columns: Axis, threshold: float, masks: NDArray[np.bool_]) -> None:
    """Set the pixels whose interpolated value is above the threshold.

    Args:
        values: (N, h + 2, w + 2), padded by their borders.
        rows: Of the masks.
        columns: Of the masks.
        threshold: Values above it are inside.
        masks: (N, H, W), all False; filled in.
    """
    height, width = values.shape[1:]
    line = np.empty(width, np.float32)
    begin, end = np.empty(height, np.int64), np.empty(height, np.int64)
    for n in range(len(values)):
        for r in range(height):
            begin[r], end[r] = width, -1
            for c in range(width):
                if values[n, r, c] > threshold:
                    begin[r], end[r] = min(begin[r], c), c
        for y in range(len(rows.cell)):
            r, down = rows.cell[y], rows.fraction[y]
            # pixels may be inside as far as the neighbours of the values that are
            first, last = max(min(begin[r], begin[r + 1]) - 1, 0), min(max(end[r], end[r + 1]), width - 2)
            if last < 0:
                continue
            for c in range(first, last + 2):
                line[c] = _between(values[n, r, c], values[n, r + 1, c], down)
            for x in range(columns.first[first], columns.first[last] + columns.number[last]):
                c = columns.cell[x]
                masks[n, y, x] = _between(line[c], line[c + 1], columns.fraction[x]) > threshold
