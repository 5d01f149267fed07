"""Boxes of instance masks: tight boxes, areas, overlaps, and the forms that files and messages have.

The conventions, all in pixels:

- `xyxy`, everywhere within this package: (x_first, y_first, x_last, y_last), the first and last column and row of the
  mask, both inclusive. `box_area` and `box_iou` take these numbers as they are, last minus first, which is what the
  reference (SAM-6D) does.
- `xywh`: (x, y, width, height), the first column and row, and the number of columns and rows: COCO, BOP and
  vision_msgs.
- `sam6d_xywh`: the same with width and height one less, last minus first, as SAM-6D writes `bbox` into
  detection_ism.json and the server into its answers.

A mask of columns 10 to 19 and rows 20 to 39 has the box (10, 20, 19, 39) as `xyxy`, (10, 20, 10, 20) as `xywh` and
(10, 20, 9, 19) as `sam6d_xywh`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def boxes_from_masks(masks: Tensor) -> Tensor:
    """Compute the tight boxes of masks.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) int64 xyxy, on the masks' device; (0, 0, 0, 0) for an empty mask.
    """
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
    """Compute masks.any(dim) by a maximum over bytes, which the CPU does several times faster than a boolean any."""
    return masks.view(torch.uint8).amax(dim=dim).bool()


def box_area(boxes_xyxy: Tensor) -> Tensor:
    """Compute areas, last minus first in both directions.

    Args:
        boxes_xyxy: (..., 4).

    Returns:
        (...), square pixels.
    """
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def box_iou(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """Compute the intersection over union of boxes.

    Args:
        first_xyxy: (..., 4).
        second_xyxy: (..., 4), which broadcasts with the first.

    Returns:
        (...) float32; 0 where both boxes are empty.
    """
    first, second = first_xyxy.float(), second_xyxy.float()
    top_left = torch.maximum(first[..., :2], second[..., :2])
    bottom_right = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    union = box_area(first) + box_area(second) - intersection
    return torch.where(union > 0, intersection / union.clamp(min=1e-9), torch.zeros_like(union))


def mask_to_xywh(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Compute the tight box of one mask.

    Args:
        mask: (H, W) bool, contiguous.

    Returns:
        x, y, width, height; all 0 where the mask is empty.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return x, y, width, height


def xyxy_to_xywh(box_xyxy: Sequence[int]) -> list[int]:
    """Convert an inclusive box to its first pixel and the number of its columns and rows.

    Args:
        box_xyxy: First and last column and row.

    Returns:
        [x, y, width, height].
    """
    x_first, y_first, x_last, y_last = box_xyxy
    return [x_first, y_first, x_last - x_first + 1, y_last - y_first + 1]


def xyxy_to_sam6d_xywh(box_xyxy: Sequence[int]) -> list[int]:
    """Convert an inclusive box to the form that SAM-6D writes, with last minus first as width and height.

    Args:
        box_xyxy: First and last column and row.

    Returns:
        [x, y, width, height], the latter two one less than the number of columns and rows.
    """
    x_first, y_first, x_last, y_last = box_xyxy
    return [x_first, y_first, x_last - x_first, y_last - y_first]


def sam6d_xywh_to_xyxy(box_xywh: Sequence[int]) -> tuple[int, int, int, int]:
    """Convert a box from the form that SAM-6D writes.

    Args:
        box_xywh: As of `xyxy_to_sam6d_xywh`.

    Returns:
        First and last column and row, both inclusive.
    """
    x, y, width, height = box_xywh
    return x, y, x + width, y + height
