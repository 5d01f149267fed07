"""Stability of masks, and their boxes, from the small logits of a mask decoder."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from ism_ros.data.masks import mask_areas
from ism_ros.segmentors.sam.image_crops import Size

STABILITY_OFFSET = 1.0
"""How far the threshold of the logits is moved up and down to see whether a mask is stable."""


def valid_region(logits: Tensor, extent: tuple[float, float]) -> Tensor:
    """The rows and columns of small logits (N, h, w) that show the image."""
    return logits[:, : ceil(extent[0]), : ceil(extent[1])]


def stability_score(logits: Tensor) -> Tensor:
    """IoU of each mask with a stricter threshold and with a looser one, (N, h, w) -> (N,) float32."""
    # as many at once as stay in the processor's cache between the two comparisons
    areas = [(mask_areas(part > STABILITY_OFFSET), mask_areas(part > -STABILITY_OFFSET)) for part in logits.split(64)]
    strict, loose = (torch.cat(column) for column in zip(*areas, strict=True))
    return strict / loose.clamp(min=1)


def stability_bounds(
    logits: Tensor, rows: Tensor, extent: tuple[float, float], size: Size, margin: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Between what values the stability at full size lies, from the small logits.

    Wherever neighbouring small pixels lie on different sides of a threshold, the outline is somewhere between them: at
    most half a small pixel from where counting small pixels puts it, and at most half a large one from where counting
    large ones does. So the error of an area is at most that times the rows or columns that the outline crosses, which
    is much of a small mask's area and little of a large one's.

    Args:
        logits: (N, h, w), of which only `rows` (K,) are looked at.
        rows: Which ones, (K,) int64.
        extent: Rows and columns of the small logits that show the image.
        size: Height and width of the image.
        margin: How many times these errors are allowed for.

    Returns:
        The least and the largest value that the stability at full size may have, both (K,).
    """
    pixel = max(part / length for part, length in zip(extent, size, strict=True))
    margin = min(margin, 1e9)  # infinity times an outline of length 0 is no number
    empty = logits.new_zeros(0)
    least, most = [empty], [empty]
    # as many at once as stay in the processor's cache between the comparisons
    for some in rows.split(64):
        part = valid_region(logits[some], extent)
        (strict, strict_error), (loose, loose_error) = (
            _area_and_error(part > level, pixel) for level in (STABILITY_OFFSET, -STABILITY_OFFSET)
        )
        strict_error, loose_error = margin * strict_error, margin * loose_error
        least.append((strict - strict_error).clamp(min=0) / (loose + loose_error).clamp(min=1e-6))
        most.append((strict + strict_error) / (loose - loose_error).clamp(min=1e-6))
    return torch.cat(least), torch.cat(most)


def _area_and_error(masks: Tensor, pixel: float) -> tuple[Tensor, Tensor]:
    """Small pixels of masks (N, h, w) bool, and by how many that may be wrong. pixel: side of a large one."""
    along_rows = mask_areas(masks[:, :, 1:] ^ masks[:, :, :-1])
    along_columns = mask_areas(masks[:, 1:] ^ masks[:, :-1])
    crossings = torch.maximum(along_rows, along_columns).float()
    return mask_areas(masks).float(), 0.5 * (1 + pixel) * crossings


def boxes_of_logits(logits: Tensor, extent: tuple[float, float], size: Size) -> Tensor:
    """Boxes (N, 4) int64 that masks will have at `size`, from small logits (N, h, w) that show it up to `extent`.

    Where a mask ends between two small pixels is taken from where a line between their logits is 0.
    """
    columns, rows = logits.amax(dim=1), logits.amax(dim=2)
    x_first, x_last = _ends(columns, extent[1], size[1])
    y_first, y_last = _ends(rows, extent[0], size[0])
    filled = rows.amax(dim=1) > 0
    return torch.stack([x_first, y_first, x_last, y_last], dim=1) * filled[:, None]


def _ends(profile: Tensor, extent: float, length: int) -> tuple[Tensor, Tensor]:
    """The first and the last of `length` pixels that is above 0, from values (N, w) at the middles of w cells."""
    first = length - 1 - _last(profile.flip(1), profile.shape[1] - extent, extent, length)
    return first, _last(profile, 0.0, extent, length)


def _last(profile: Tensor, skipped: float, extent: float, length: int) -> Tensor:
    """The last pixel above 0; `skipped` cells before the first one that shows the image."""
    count = profile.shape[1]
    last = count - 1 - (profile > 0).flip(1).to(torch.uint8).argmax(dim=1)
    here = profile.gather(1, last[:, None])[:, 0]
    there = profile.gather(1, (last + 1).clamp(max=count - 1)[:, None])[:, 0]
    beyond = torch.where(last + 1 < count, here / (here - there).clamp(min=1e-6), torch.full_like(here, float(count)))
    pixel = ((last + beyond + 0.5 - skipped) * (length / extent) - 0.5).floor()
    return pixel.clamp(0, length - 1).long()
