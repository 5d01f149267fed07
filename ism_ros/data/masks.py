"""Areas of instance masks, and the filter of those too small to be proposals."""

from __future__ import annotations

import torch
from torch import Tensor

from ism_ros.data.boxes import box_area

MIN_BOX_SIDE = 0.05
"""Side of the smallest square box that counts as a proposal, as a fraction of the image's side (SAM-6D)."""
MIN_MASK_AREA = 3e-4
"""Area of the smallest mask that counts as a proposal, as a fraction of the image's (SAM-6D)."""


def large_enough(
    masks: Tensor,
    boxes_xyxy: Tensor,
    min_box_side: float = MIN_BOX_SIDE,
    min_mask_area: float = MIN_MASK_AREA,
    areas: Tensor | None = None,
) -> Tensor:
    """Tell which proposals are not too small.

    Args:
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) int64, inclusive pixels.
        min_box_side: Square root of the box's least area, as a fraction of the square root of the image's.
        min_mask_area: The mask's least area, as a fraction of the image's.
        areas: (N,) of `mask_areas(masks)`, where that is known already.

    Returns:
        (N,) bool.
    """
    image_area = masks.shape[1] * masks.shape[2]
    box_fraction = box_area(boxes_xyxy).float() / image_area
    mask_fraction = (mask_areas(masks) if areas is None else areas).float() / image_area
    return (box_fraction > min_box_side**2) & (mask_fraction > min_mask_area)


def mask_areas(masks: Tensor) -> Tensor:
    """Count the pixels of each mask.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N,) int64.
    """
    flat = masks.flatten(1)
    if masks.is_cuda:
        return flat.sum(dim=1, dtype=torch.int64)
    # the same as flat.sum(dim=1), but PyTorch widens booleans one by one: eight of them read as one integer can be
    # added together a hundred times faster, as long as none of the eight bytes overflows, so at most 128 at a time
    if missing := -flat.shape[1] % 1024:
        flat = torch.nn.functional.pad(flat, (0, missing))
    flat = flat.contiguous()
    packed = flat.view(torch.int64).view(len(flat), flat.shape[1] // 1024, 128)
    return packed.sum(dim=2).view(torch.uint8).sum(dim=1, dtype=torch.int64)
