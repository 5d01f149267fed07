"""Masks measured at another size, without resizing their logits as a whole.

A bilinear resize, or one after another, is a product with a matrix from either side. What lies below the loosest
threshold all around stays below it, so only the part of each image is multiplied that may be above.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ism_ros.data.boxes import boxes_from_masks


class Measured(NamedTuple):
    """Masks at full size.

    Attributes:
        strict: (K,) int64, pixels above the higher level.
        loose: (K,) int64, pixels above the lower one.
        boxes_xyxy: (K, 4) int64, first and last column and row above 0; zeros where there are none.
    """

    strict: Tensor
    loose: Tensor
    boxes_xyxy: Tensor


@dataclass(frozen=True, eq=False)
class AxisResize:
    """A resize along one axis.

    Attributes:
        matrix: (L, length) float32; each row, a resized pixel, is zero but for a few neighbours.
    """

    matrix: Tensor

    @cached_property
    def _ends(self) -> tuple[Tensor, Tensor]:
        """(L,) each: the first and the last pixel that a resized one is made of, both ascending."""
        used = (self.matrix != 0).int()
        return used.argmax(dim=1), self.matrix.shape[1] - 1 - used.flip(1).argmax(dim=1)

    def reach(self, first: int, last: int) -> tuple[slice, slice] | None:
        """Tell which resized pixels any of the pixels from `first` to `last` go into, and which pixels those need; None
        where they go into none, as padding does.
        """
        begins, ends = self._ends
        low, high = int(torch.searchsorted(ends, first)), int(torch.searchsorted(begins, last, right=True))
        if high <= low:
            return None
        return slice(low, high), slice(int(begins[low]), int(ends[high - 1]) + 1)


def bilinear_matrix(length: int, before: int, scale: float | None = None) -> Tensor:
    """Make the matrix (length, before) float64 of a bilinear resize along one axis, corners not aligned.

    Args:
        length: Resized pixels.
        before: Pixels before.
        scale: Pixels before for one after; None = before / length.

    Returns:
        What torch.nn.functional.interpolate(mode="bilinear", align_corners=False) multiplies with.
    """
    place = ((torch.arange(length, dtype=torch.float64) + 0.5) * (scale or before / length) - 0.5).clamp(min=0)
    low = place.long().clamp(max=before - 1)
    share = place - low
    matrix = torch.zeros((length, before), dtype=torch.float64)
    matrix.scatter_add_(1, low[:, None], 1 - share[:, None])
    matrix.scatter_add_(1, (low + 1).clamp(max=before - 1)[:, None], share[:, None])
    return matrix


def measure_resized(logits: Tensor, rows: AxisResize, columns: AxisResize, offset: float) -> Measured:
    """Count and box the pixels above thresholds that images on the CPU have once they are resized.

    Args:
        logits: (K, h, w) float32.
        rows: The resize along h.
        columns: The resize along w.
        offset: The levels are this, its negative, and 0 for the boxes.

    Returns:
        The same numbers as of a whole resize, up to rounding.
    """
    above = logits > -offset
    in_rows, in_columns = above.any(dim=2), above.any(dim=1)
    strict, loose = torch.zeros((2, len(logits)), dtype=torch.int64)
    boxes = torch.zeros((len(logits), 4), dtype=torch.int64)
    ends = torch.stack([*_first_and_last(in_rows), *_first_and_last(in_columns)], dim=1)
    for k in torch.nonzero(in_rows.any(dim=1))[:, 0].tolist():
        top, bottom, left, right = ends[k].tolist()
        down, along = rows.reach(top, bottom), columns.reach(left, right)
        if down is None or along is None:
            continue
        (tall, from_rows), (wide, from_columns) = down, along
        part = logits[k, from_rows, from_columns]
        large = rows.matrix[tall, from_rows] @ part @ columns.matrix[wide, from_columns].T
        strict[k], loose[k] = (torch.count_nonzero(large > level) for level in (offset, -offset))
        mask = large > 0
        if mask.any():
            corner = torch.tensor([wide.start, tall.start, wide.start, tall.start])
            boxes[k] = boxes_from_masks(mask[None])[0] + corner
    return Measured(strict, loose, boxes)


def _first_and_last(there: Tensor) -> tuple[Tensor, Tensor]:
    """Of (K, n) that are true, (K,) each."""
    return there.int().argmax(dim=1), there.shape[1] - 1 - there.flip(1).int().argmax(dim=1)
