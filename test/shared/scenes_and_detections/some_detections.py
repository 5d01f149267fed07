"""Detections of which a test says only what it is about."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.detections import Detections

Rectangle = tuple[int, int, int, int]
"""First and last column and row, x0, y0, x1, y1, both inclusive."""


def detections_of(
    rectangles: Sequence[Rectangle],
    scores: Sequence[float],
    objects: Sequence[int],
    size: tuple[int, int] = (60, 80),
) -> Detections:
    """One detection each of a rectangle, a score and the index of an object, in an image of `size` (height, width)."""
    count = len(rectangles)
    masks = torch.zeros((count, *size), dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, rectangles, strict=True):
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    score = torch.tensor(scores)
    return Detections(
        masks=masks,
        boxes_xyxy=boxes_from_masks(masks),
        object_index=torch.tensor(objects),
        template_index=torch.zeros(count, dtype=torch.int64),
        score=score,
        semantic_score=score,
        appearance_score=score,
        geometric_score=score,
        visible_ratio=score,
        rotation=torch.eye(3).expand(count, 3, 3),
        translation_m=torch.ones(count, 3),
        object_ids=tuple(f"object_{index}" for index in range(max(objects, default=-1) + 1)),
        category_ids=tuple(range(1, max(objects, default=-1) + 2)),
    )
