"""Followed instances as detections, as the search gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.objects.library import ObjectLibrary
from ism_ros.refinement.covariance import at_origin
from ism_ros.tracking.followed_instance import FollowedInstance
from ism_ros.verification.evidence.terms import CELLS, Evidence
from ism_ros.verification.silhouette_masks import silhouette_mask


def tracked_detections(
    instances: Sequence[FollowedInstance],
    evidence: Evidence | None,
    rows: Sequence[int],
    frame: Frame,
    library: ObjectLibrary,
) -> Detections:
    """Make the detections of a frame.

    Args:
        instances: N instances that are followed.
        evidence: That has their silhouettes, None where N is 0.
        rows: (N,) where.
        frame: The frame.
        library: The known objects.

    Returns:
        N detections, best first: masks, boxes and poses of this frame, scores of the search that found each last.
    """
    empty = replace(
        Detections.empty(frame.height, frame.width),
        object_ids=library.ids,
        category_ids=library.category_ids,
        instance_id=torch.zeros(0, dtype=torch.int64),
        pose_covariance=torch.zeros(0, 6, 6),
        model_box_m=torch.zeros(0, 2, 3),
    )
    if evidence is None or not instances:
        return empty
    order = sorted(range(len(instances)), key=lambda index: -float(instances[index].detection.score[0]))
    instances, rows = [instances[index] for index in order], [rows[index] for index in order]
    masks, boxes_xyxy = _masks_and_boxes(evidence, rows, frame)
    object_index = [library.ids.index(one.class_id) for one in instances]
    translations, covariances, boxes = [], [], []
    for one, index in zip(instances, object_index, strict=True):
        known = library.objects[index]
        arm_m = one.motion.rotation @ known.centre_m.numpy()
        translations.append(one.motion.centre_m - arm_m)
        covariances.append(at_origin(one.covariance, arm_m))
        boxes.append(torch.full((2, 3), torch.nan) if known.box_m is None else known.box_m.float())

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(one.detection, name) for one in instances])

    return replace(
        empty,
        masks=masks,
        boxes_xyxy=boxes_xyxy,
        object_index=torch.tensor(object_index, dtype=torch.int64),
        template_index=joined("template_index"),
        score=joined("score"),
        semantic_score=joined("semantic_score"),
        appearance_score=joined("appearance_score"),
        geometric_score=joined("geometric_score"),
        visible_ratio=joined("visible_ratio"),
        fit_score=joined("fit_score"),
        rotation=torch.from_numpy(np.stack([one.motion.rotation for one in instances])).float(),
        translation_m=torch.from_numpy(np.stack(translations)).float(),
        pose_covariance=torch.from_numpy(np.stack(covariances)).float(),
        model_box_m=torch.stack(boxes),
        instance_id=torch.tensor([one.id for one in instances], dtype=torch.int64),
    )


def _masks_and_boxes(evidence: Evidence, rows: Sequence[int], frame: Frame) -> tuple[Tensor, Tensor]:
    """Draw silhouettes, each in its own window of the image: masks (N, H, W) bool and boxes (N, 4) xyxy."""
    masks = np.zeros((len(rows), frame.height, frame.width), bool)
    boxes_xyxy = torch.zeros((len(rows), 4), dtype=torch.int64)
    corners, sides_px = evidence.origin[rows].tolist(), evidence.cell_px[rows].tolist()
    silhouettes = evidence.visible[rows].numpy().astype(np.float32)
    for number, ((x_px, y_px), side_px) in enumerate(zip(corners, sides_px, strict=True)):
        left, top = max(math.floor(x_px), 0), max(math.floor(y_px), 0)
        right = min(math.ceil(x_px + CELLS * side_px), frame.width)
        bottom = min(math.ceil(y_px + CELLS * side_px), frame.height)
        if left >= right or top >= bottom:
            continue
        size = bottom - top, right - left
        part = silhouette_mask(silhouettes[number], x_px - left, y_px - top, side_px, size)
        masks[number, top:bottom, left:right] = part
        x, y, width, height = cv2.boundingRect(part.view(np.uint8))
        if width:
            boxes_xyxy[number] = torch.tensor([left + x, top + y, left + x + width - 1, top + y + height - 1])
    return torch.from_numpy(masks), boxes_xyxy
