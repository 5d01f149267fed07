"""Greedy non-maximum suppression of boxes and of masks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ism_ros.data.boxes import box_iou

NMS_BLOCK = 1024
"""So many boxes at a time are held against the kept ones in non-maximum suppression."""


def nms(
    boxes_xyxy: Tensor,
    scores: Tensor,
    iou_threshold: float,
    group: Tensor | None = None,
    max_kept: int | None = None,
) -> Tensor:
    """Greedy non-maximum suppression: kept indices (K,) int64, best score first.

    boxes_xyxy: (N, 4). scores: (N,). group: (N,) int64, boxes suppress only boxes of their own group (the object),
    None = one group. A box is dropped when it overlaps a kept better one by more than `iou_threshold`. max_kept: the
    best so many of those kept, None = all. Memory grows with N x NMS_BLOCK, not with N x N.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    kept = order[:0]
    for block in order.split(NMS_BLOCK):
        free = block[~_overlapping(kept, block, boxes_xyxy, iou_threshold, group).any(dim=0)]
        kept = torch.cat([kept, free[_greedy(_overlapping(free, free, boxes_xyxy, iou_threshold, group))]])
        if max_kept is not None and len(kept) >= max_kept:
            return kept[:max_kept]
    return kept


def _overlapping(
    first: Tensor, second: Tensor, boxes_xyxy: Tensor, iou_threshold: float, group: Tensor | None
) -> Tensor:
    """Which boxes of one group overlap too much: indices (A,) and (B,) -> (A, B) bool."""
    overlapping = box_iou(boxes_xyxy[first][:, None], boxes_xyxy[second][None]) > iou_threshold
    if group is not None:
        overlapping &= group[first][:, None] == group[second][None]
    return overlapping


def mask_nms(masks: Tensor, order: Tensor, iou_threshold: float) -> Tensor:
    """Greedy suppression by mask overlap: those of `order` that are kept, (K,) int64.

    masks: (N, H, W) bool. order: (M,) int64, rows of `masks`, best first. A mask is dropped when its IoU with a kept
    better one is above `iou_threshold`. Overlaps are taken on every second to fourth pixel of large images, which is
    enough to tell two instances apart.
    """
    stride = max(1, min(masks.shape[1:]) // 120)
    pixels = _every_so_many(masks, stride)[order].flatten(1)
    intersection = pixels @ pixels.T
    area = pixels.sum(dim=1)
    union = area[:, None] + area[None] - intersection
    return order[_greedy(intersection > iou_threshold * union)]


def _every_so_many(masks: Tensor, stride: int) -> Tensor:
    """Every `stride`-th pixel of masks (N, H, W) bool, float32; on the CPU by NumPy, twice as fast on strides."""
    if masks.is_cuda:
        return masks[:, ::stride, ::stride].float()
    return torch.from_numpy(masks.numpy()[:, ::stride, ::stride].astype(np.float32))


def _greedy(suppresses: Tensor) -> Tensor:
    """Rows left when each of them, from the first on, drops the later ones it suppresses: (N, N) bool -> (K,) int64.

    All rows are decided at once, again and again until nothing changes: after k rounds what hangs on a chain of k
    suppressions is right, and chains are short.
    """
    later = suppresses.triu(1).float()
    alive = later.new_ones(len(later))
    while True:
        decided = ((alive @ later) == 0).float()
        if torch.equal(decided, alive):
            return torch.nonzero(alive)[:, 0]
        alive = decided
