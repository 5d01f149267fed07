"""The cells of square windows: samples in them, and morphology, many times faster on the CPU than pooling.

H windows, G cells along each side, K samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ism_ros.data.masks import mask_areas


def splat_nearest(at: Tensor, depth_m: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Find the least depth of the samples in each cell.

    Args:
        at: (H, 2, K) columns and rows of the samples, cells; what lies beyond the window counts at its border.
        depth_m: (H, K) their depth, metres; +inf for those that are not seen.
        cells: Cells along each side, G.

    Returns:
        Least depth (H, G, G), +inf where there is none; and the cell of each sample (H, K) int64, row by row.
    """
    column, row = at.long().clamp_(0, cells - 1).unbind(dim=1)
    cell = row * cells + column
    nearest = depth_m.new_full((len(depth_m), cells * cells), torch.inf)
    return nearest.scatter_reduce(1, cell, depth_m, "amin").view(-1, cells, cells), cell


def closed(nearest: Tensor) -> Tensor:
    """Close holes between samples.

    A hole may be without any sample, or show the far side of something hollow through the near one.

    Args:
        nearest: (H, G, G) least depth, +inf where there is none.

    Returns:
        (H, G, G) depth, +inf beyond the silhouettes.
    """
    for join in (torch.minimum, torch.maximum):
        for axis in (1, 2):
            nearest = pooled(nearest, axis, 1, join)
    return nearest


def dilated(cells: Tensor, reach: int) -> Tensor:
    """Add what lies within some cells of a region, rows and columns alike.

    Args:
        cells: (H, G, G) bool.
        reach: Number of cells.

    Returns:
        (H, G, G) bool.
    """
    for axis in (1, 2):
        cells = pooled(cells, axis, reach, torch.logical_or)
    return cells


def eroded(cells: Tensor) -> Tensor:
    """Remove the outermost cells of a region; beyond the window is inside.

    Args:
        cells: (H, G, G) bool.

    Returns:
        (H, G, G) bool.
    """
    return ~dilated(~cells, 1)


def smoothed(values: Tensor, reach: int) -> Tensor:
    """Add up the values within some cells, rows and columns alike.

    Args:
        values: (H, G, G) float32.
        reach: Number of cells.

    Returns:
        (H, G, G) float32 sums; beyond the window is 0.
    """
    for axis in (1, 2):
        values = pooled(values, axis, reach, torch.add)
    return values


def mean_over(values: Tensor, cells: Tensor) -> Tensor:
    """Average values over regions.

    Args:
        values: (H, G, G) float32.
        cells: (H, G, G) bool.

    Returns:
        (H,) float32, 0 where a region has no cells.
    """
    return (values * cells).flatten(1).sum(dim=1) / mask_areas(cells).clamp(min=1)


def pooled(cells: Tensor, axis: int, reach: int, join: Callable[..., Tensor]) -> Tensor:
    """Join each cell with those up to `reach` before and after it.

    Args:
        cells: (H, G, G).
        axis: 1 along columns, 2 along rows.
        reach: Number of cells.
        join: Function of two tensors with `out`, such as `torch.minimum`.

    Returns:
        (H, G, G).
    """
    joined = cells.clone()
    for shift in range(1, reach + 1):
        count = cells.shape[axis] - shift
        for to, source in ((shift, 0), (0, shift)):
            part = joined.narrow(axis, to, count)
            join(part, cells.narrow(axis, source, count), out=part)
    return joined
