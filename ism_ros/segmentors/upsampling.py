"""Low-resolution logits upsampled to masks: bilinear interpolation and a threshold, computed where masks can be alone.

A bilinear value lies between those of its four neighbours. Where all four are above the threshold, or none is, there
is nothing to compute: operations of PyTorch interpolate the pixels between neighbours that disagree, loops on a CPU
those between the first and the last neighbour of a row that is above.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ism_ros.runtime.compilation import is_compiled_for
from ism_ros.runtime.threads import map_on_shares
from ism_ros.segmentors.upsampling_loops import Axis, fill_masks

PIXELS_PER_BATCH = 2**21
"""Interpolated pixels that are computed at once; each takes about 30 bytes meanwhile."""


def upsample_to_masks(values: Tensor, row_at: Tensor, column_at: Tensor, threshold: float) -> Tensor:
    """Upsample images bilinearly and compare them with a threshold.

    Equal to torch.nn.functional.interpolate(mode="bilinear") followed by a comparison, in a fraction of the time.

    Args:
        values: (N, h, w) float32.
        row_at: (H,) float64 ascending, position of each row of the masks in `values`: 0 = the centre of the first row.
            Beyond the first and last centre the border is replicated.
        column_at: (W,) float64 ascending, position of each column of the masks, likewise.
        threshold: Values above it are inside.

    Returns:
        (N, H, W) bool masks.
    """
    upsample = upsample_by_loops if is_compiled_for(values) else upsample_along_contours
    return upsample(values, row_at, column_at, threshold)


def upsample_by_loops(values: Tensor, row_at: Tensor, column_at: Tensor, threshold: float) -> Tensor:
    """Upsample to masks on a CPU, some images on each thread of the caller; as `upsample_to_masks`."""
    padded = F.pad(values[:, None], (1, 1, 1, 1), mode="replicate")[:, 0].numpy()
    rows, columns = (
        Axis(*(part.numpy() for part in (cell, fraction, *of)))
        for cell, fraction, of in (_cells(row_at, padded.shape[1]), _cells(column_at, padded.shape[2]))
    )
    masks = np.zeros((len(padded), len(row_at), len(column_at)), bool)

    def fill(first: int, last: int) -> None:
        fill_masks(padded[first:last], rows, columns, np.float32(threshold), masks[first:last])

    map_on_shares(fill, torch.get_num_threads(), len(masks))
    return torch.from_numpy(masks)


def compile_loops() -> None:
    """Have all that is compiled for the CPU ready, so that no frame waits for it: at the first start some seconds."""
    position = torch.zeros(1, dtype=torch.float64)
    upsample_to_masks(torch.zeros(1, 1, 1), position, position, 0.0)


def upsample_along_contours(
    values: Tensor, row_at: Tensor, column_at: Tensor, threshold: float, pixels_per_batch: int = PIXELS_PER_BATCH
) -> Tensor:
    """Upsample to masks by operations of PyTorch, `pixels_per_batch` at once; else as `upsample_to_masks`."""
    values = F.pad(values[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    row, row_fraction, rows_of = _cells(row_at, values.shape[1])
    column, column_fraction, columns_of = _cells(column_at, values.shape[2])
    above = values > threshold
    both, either = above[..., :-1] & above[..., 1:], above[..., :-1] | above[..., 1:]
    full = both[:, :-1] & both[:, 1:]
    mixed = (either[:, :-1] | either[:, 1:]) & ~full & (rows_of[1] > 0)[:, None] & (columns_of[1] > 0)
    masks = _repeat_columns(full, column)[:, row]
    image, cell_row, cell_column = mixed.nonzero(as_tuple=True)
    tall, wide = int(rows_of[1].max()), int(columns_of[1].max())
    at_once = max(1, pixels_per_batch // (tall * wide))
    for n, i, j in zip(image.split(at_once), cell_row.split(at_once), cell_column.split(at_once), strict=True):
        y = _members(i, rows_of, tall)
        x = _members(j, columns_of, wide)
        down, right = row_fraction[y], column_fraction[x]
        first = torch.lerp(values[n, i, j, None], values[n, i + 1, j, None], down)
        last = torch.lerp(values[n, i, j + 1, None], values[n, i + 1, j + 1, None], down)
        interpolated = torch.lerp(first[:, :, None], last[:, :, None], right[:, None, :])
        masks[n[:, None, None], y[:, :, None], x[:, None, :]] = interpolated > threshold
    return masks


def _repeat_columns(cells: Tensor, column: Tensor) -> Tensor:
    """cells[:, :, column], which the CPU does twice as fast by whole rows of the transposed image."""
    count, height, width = cells.shape
    rows = cells.view(count * height, width).T.contiguous().index_select(0, column).T.contiguous()
    return rows.view(count, height, len(column))


def _cells(at: Tensor, size: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Between which of an axis' `size` centres the positions (L,) are, the first and last centre being padding.

    Returns for each position its cell, c being that from centre c to c + 1, and how far along it is there, in [0, 1]
    float32; and for each of the size - 1 cells its first position and how many it has.
    """
    inside = (at + 1).clamp(0, size - 1)
    cell = inside.floor().long().clamp(max=size - 2)
    number = torch.bincount(cell, minlength=size - 1)
    return cell, (inside - cell).float(), (number.cumsum(0) - number, number)


def _members(cell: Tensor, of: tuple[Tensor, Tensor], most: int) -> Tensor:
    """The positions in each cell (K,) -> (K, most); one that has fewer repeats its last."""
    first, number = of[0][cell], of[1][cell]
    return first[:, None] + torch.minimum(torch.arange(most, device=cell.device), number[:, None] - 1)
