"""Greedy non-maximum suppression of boxes and of masks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ism_ros.data.boxes import box_iou

NMS_BLOCK = 1024
"""Number of boxes that are compared with the kept ones at a time."""
MASK_NMS_ROWS = 120
"""Rows or columns of a picture from which on masks are compared on a part of their pixels only."""

ROUNDS_PER_CHECK = 4
"""Rounds of a suppression after which it is checked whether the last one changed something: a check waits for a GPU."""


def nms(
    boxes_xyxy: Tensor,
    scores: Tensor,
    iou_threshold: float,
    group: Tensor | None = None,
    max_kept: int | None = None,
    block: int = NMS_BLOCK,
) -> Tensor:
    """Suppress boxes that overlap a better one.

    Memory grows with N x `block`, not with N x N.

    Args:
        boxes_xyxy: (N, 4), inclusive pixels.
        scores: (N,).
        iou_threshold: A box is dropped when its IoU with a kept better one is above this.
        group: (N,) int64; boxes suppress only boxes of their own group (the object). None = one group.
        max_kept: Keep only the best so many. None = all.
        block: Number of boxes that are compared at a time.

    Returns:
        (K,) int64, indices of the kept boxes, best score first.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    kept = order[:0]
    for rows in order.split(block):
        free = rows[~_overlapping(kept, rows, boxes_xyxy, iou_threshold, group).any(dim=0)]
        kept = torch.cat([kept, free[_greedy(_overlapping(free, free, boxes_xyxy, iou_threshold, group))]])
        if max_kept is not None and len(kept) >= max_kept:
            return kept[:max_kept]
    return kept


def _overlapping(
    first: Tensor, second: Tensor, boxes_xyxy: Tensor, iou_threshold: float, group: Tensor | None
) -> Tensor:
    """Tell which boxes of one group overlap too much: indices (A,) and (B,) -> (A, B) bool."""
    overlapping = box_iou(boxes_xyxy[first][:, None], boxes_xyxy[second][None]) > iou_threshold
    if group is not None:
        overlapping &= group[first][:, None] == group[second][None]
    return overlapping


def mask_nms(masks: Tensor, order: Tensor, iou_threshold: float) -> Tensor:
    """Suppress masks that overlap a better one.

    Overlaps are computed on every second to fourth row and column of large images, which is enough to tell two
    instances apart.

    Args:
        masks: (N, H, W) bool.
        order: (M,) int64, rows of `masks`, best first.
        iou_threshold: A mask is dropped when its IoU with a kept better one is above this.

    Returns:
        (K,) int64, those of `order` that are kept.
    """
    stride = max(1, min(masks.shape[1:]) // MASK_NMS_ROWS)
    pixels = _strided(masks, stride)[order].flatten(1)
    intersection = pixels @ pixels.T
    area = pixels.sum(dim=1)
    union = area[:, None] + area[None] - intersection
    return order[_greedy(intersection > iou_threshold * union)]


def _strided(masks: Tensor, stride: int) -> Tensor:
    """Take every `stride`-th row and column of masks (N, H, W) bool as float32; on the CPU by NumPy, twice as fast."""
    if masks.is_cuda:
        return masks[:, ::stride, ::stride].float()
    return torch.from_numpy(masks.numpy()[:, ::stride, ::stride].astype(np.float32))


def _greedy(suppresses: Tensor) -> Tensor:
    """Find the rows left when each of them, from the first on, drops the later ones it suppresses.

    The same as: for each row in order, if it is still there, drop the later ones that it suppresses. All rows are
    decided at once here, again and again until nothing changes: after k rounds what hangs on a chain of k suppressions
    is right, and chains are short.

    Args:
        suppresses: (N, N) bool.

    Returns:
        (K,) int64.
    """
    later = suppresses.triu(1).float()
    alive = before = later.new_ones(len(later))
    while True:
        for _ in range(ROUNDS_PER_CHECK):
            before, alive = alive, ((alive @ later) == 0).float()
        if torch.equal(before, alive):
            return torch.nonzero(alive)[:, 0]


def shared_mask_nms(masks: Tensor, scores: Tensor, group: Tensor, max_shared: float) -> Tensor:
    """Suppress masks that lie for some share of the smaller of both in a better one, and all but the best of a group.

    Args:
        masks: (M, H, W) bool.
        scores: (M,), the higher the more is kept.
        group: (M,) int64.
        max_shared: Share of the smaller mask from which on the worse one is dropped.

    Returns:
        (K,) int64, indices of the kept masks in the order of their groups; those without a pixel are dropped.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    flat = masks.flatten(1)[order].float()
    area, of = flat.sum(dim=1), group[order]
    share = flat @ flat.T / torch.minimum(area[:, None], area[None]).clamp(min=1)
    suppressed = ((share > max_shared) | (of[:, None] == of)).cpu().numpy()
    kept = np.zeros(len(order), bool)
    for index in range(len(order)):
        kept[index] = not (suppressed[index] & kept).any() and bool(area[index] > 0)
    left = order[torch.from_numpy(kept).to(order.device)]
    return left[group[left].argsort()]


def wholes_before_parts(
    masks: Tensor, scores: Tensor, group: Tensor, least_share: float, least_growth: float, least_ratio: float
) -> Tensor:
    """Raise the scores of masks that contain others of their group to just above these.

    Args:
        masks: (M, H, W) bool.
        scores: (M,), above 0.
        group: (M,) int64.
        least_share: Share of a mask that lies in another one from which on it is a part of it.
        least_growth: How many times as large the other one is at least.
        least_ratio: Least score of the other one, relative to that of the part.

    Returns:
        (M,) scores.
    """
    if not len(masks):
        return scores
    flat = masks.flatten(1).float()
    area, common = flat.sum(dim=1), flat @ flat.T
    contains = (common > least_share * area) & (area[:, None] > least_growth * area) & (group[:, None] == group)
    contains &= scores[:, None] >= least_ratio * scores
    return torch.maximum(scores, (contains * scores).amax(dim=1) * (1 + 1e-4))
