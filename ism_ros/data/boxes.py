"""Boxes of instance masks: tight boxes, areas, overlaps and the forms that files and messages have.

Boxes are (x_first, y_first, x_last, y_last), the first and last column and row of the mask, both inclusive. Areas
and overlaps of boxes are taken between these numbers as they are, which is what the reference does.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def boxes_from_masks(masks: Tensor) -> Tensor:
    """Tight boxes of masks (N, H, W) bool -> (N, 4) int64; an empty mask has the box (0, 0, 0, 0)."""
    count, height, width = masks.shape
    if count == 0 or height == 0 or width == 0:
        return torch.zeros((count, 4), dtype=torch.int64, device=masks.device)
    columns = _any_along(masks, 1)
    rows = _any_along(masks, 2)
    filled = columns.any(dim=1)
    x_first = columns.to(torch.uint8).argmax(dim=1)
    y_first = rows.to(torch.uint8).argmax(dim=1)
    x_last = width - 1 - columns.flip(1).to(torch.uint8).argmax(dim=1)
    y_last = height - 1 - rows.flip(1).to(torch.uint8).argmax(dim=1)
    return torch.stack([x_first, y_first, x_last, y_last], dim=1) * filled[:, None]


def _any_along(masks: Tensor, dim: int) -> Tensor:
    """masks.any(dim), by a maximum over bytes, which the CPU does several times faster than a boolean any."""
    return masks.view(torch.uint8).amax(dim=dim).bool()


def box_area(boxes_xyxy: Tensor) -> Tensor:
    """(N, 4) -> (N,), square pixels."""
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def box_iou(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast, (..., 4) with (..., 4) -> (...) float32; 0 if both are empty."""
    first, second = first_xyxy.float(), second_xyxy.float()
    top_left = torch.maximum(first[..., :2], second[..., :2])
    bottom_right = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    union = box_area(first) + box_area(second) - intersection
    return torch.where(union > 0, intersection / union.clamp(min=1e-9), torch.zeros_like(union))


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width, height of a mask (H, W) bool, pixels; all 0 where it is empty."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return left, top, width, height
