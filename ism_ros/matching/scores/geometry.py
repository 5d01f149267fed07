"""Geometric verification: the geometric score of SAM-6D (Lin et al., CVPR 2024, section 3.1) and the pose behind it.

The pose is the rotation of the best template at the mean of the visible surface, or the one that the matcher refined.
N proposals, K points of a CAD model.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ism_ros.data.boxes import box_iou, boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.matching.base import Matches
from ism_ros.matching.scores.in_plane_rotation import rotate_in_plane, silhouette_profiles
from ism_ros.objects.library import ObjectLibrary

PIXELS_PER_BATCH = 2**24
"""Pixels of masks that are converted to float32 at once on a GPU."""

SILHOUETTE_CORNERS = 200
"""Corners of an object's convex hull by which its silhouette is approximated."""


@dataclass(frozen=True)
class Geometry:
    """Geometry of N matched proposals.

    Attributes:
        score: (N,) geometric score in [0, 1]; 0 where there is no depth, no template pose or no CAD geometry.
        visible_ratio: (N,) visible ratio in [0, 1]; 0 where there is no geometric score.
        rotation: (N, 3, 3) object-to-camera; NaN where the templates have no poses.
        translation_m: (N, 3) position of the object's origin in the camera frame, metres; NaN where it is unknown.
    """

    score: Tensor
    visible_ratio: Tensor
    rotation: Tensor
    translation_m: Tensor


def verify_geometry(
    frame: Frame,
    proposals: Proposals,
    crop_masks: Tensor,
    library: ObjectLibrary,
    matches: Matches,
    rotation_sensitive: bool,
) -> Geometry:
    """Pose the matched objects and compare their projections with the proposals.

    Where the matcher refined a pose, that one is projected, else the best template at the mean of the visible surface.

    Args:
        frame: The frame.
        proposals: The N matched ones.
        crop_masks: (N, S, S) bool, masks of their crops.
        library: The objects.
        matches: Of these proposals.
        rotation_sensitive: Whether the best template determines the in-plane rotation; where it does not, that rotation
            is estimated from the silhouettes (the reference has no such step).

    Returns:
        Scores and poses.
    """
    object_index, device = matches.object_index, proposals.masks.device
    rotation = library.rotations_of(object_index, matches.template_index)
    translation_m = rotation.new_full((len(proposals), 3), float("nan"))
    score = torch.zeros_like(matches.visible_ratio)
    intrinsics = torch.from_numpy(frame.camera.intrinsics).to(device, torch.float32)
    refined = matches.is_posed
    if frame.depth_m is not None and frame.has_depth and not refined.all():
        depth_m = torch.from_numpy(frame.depth_m).to(device)
        boxes = proposals.boxes_xyxy if proposals.boxes_are_tight else None
        translation_m, _ = mean_position_m(proposals.masks, depth_m, frame.camera, boxes)
    posed = refined | (torch.isfinite(rotation).all(dim=(1, 2)) & torch.isfinite(translation_m).all(dim=1))
    turned = posed & ~refined
    profiles = None if rotation_sensitive or not turned.any() else silhouette_profiles(crop_masks)
    for index in object_index[posed].unique().tolist():
        known = library.objects[index]
        rows = torch.nonzero(posed & (object_index == index))[:, 0]
        if known.corners_m is None:
            posed[rows] = False
            continue
        centre_m = known.centre_m.to(device)
        if matches.verified is not None:
            own = rows[refined[rows]]
            rotation[own] = matches.verified.rotation[own]
            translation_m[own] = matches.verified.translation_m[own] + (rotation[own].double() @ centre_m).float()
        if profiles is not None:
            own = rows[turned[rows]]
            corners_m = known.corners_m[:: 1 + len(known.corners_m) // SILHOUETTE_CORNERS]
            rotation[own] = rotate_in_plane(rotation[own], profiles[own], corners_m, translation_m[own], intrinsics)
        projected = projected_boxes(
            known.corners_m, rotation[rows], translation_m[rows], intrinsics, (frame.height, frame.width)
        )
        score[rows] = geometric_score(projected, proposals.boxes_xyxy[rows])
        # so far the position of the object's centre: the visible surface is near it, wherever the origin may be
        translation_m[rows] -= (rotation[rows].double() @ centre_m).float()
    return Geometry(score, matches.visible_ratio * posed, rotation, translation_m)


def mean_position_m(
    masks: Tensor, depth_m: Tensor, camera: Camera, boxes_xyxy: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Average the back-projected depth inside each mask.

    Args:
        masks: (N, H, W) bool.
        depth_m: (H, W) metres, 0 = no reading.
        camera: Of the depth image.
        boxes_xyxy: (N, 4) int64 tight boxes of the masks, where they are known.

    Returns:
        Positions (N, 3) in the camera frame, metres, NaN where no pixel of the mask has depth; and the number of such
        pixels (N,) int64.
    """
    rows, columns = (torch.arange(side, device=depth_m.device) for side in depth_m.shape)
    valid = depth_m > 0
    positions = camera.back_project(columns, rows[:, None], depth_m)
    if masks.is_cuda:
        return _mean_by_products(masks, torch.cat([positions, valid[:, :, None]], dim=2).flatten(0, 1))
    boxes = boxes_from_masks(masks) if boxes_xyxy is None else boxes_xyxy
    return _mean_inside(masks, valid, positions, boxes)


def _mean_by_products(masks: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Average the first three columns of `values` (H * W, 4) over each mask, with the last as weight, and sum the last.

    A few masks at a time, as they are four times as large in float32.
    """
    batch = max(1, PIXELS_PER_BATCH // len(values))
    sums = torch.cat([some.flatten(1).float() @ values for some in masks.split(batch)])
    return sums[:, :3] / sums[:, 3:], sums[:, 3].long()


def _mean_inside(masks: Tensor, valid: Tensor, values: Tensor, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Average `values` (H, W, 3) over the valid pixels of each mask, and count these.

    On the CPU, where using only each mask's box is many times faster than one product over the whole image.
    """
    mean = np.full((len(masks), 3), np.nan)
    number = np.zeros(len(masks), np.int64)
    inside, readings, images = masks.numpy().view(np.uint8), valid.numpy().view(np.uint8), values.numpy()
    for row, (left, top, right, bottom) in enumerate(boxes_xyxy.tolist()):
        box = slice(top, bottom + 1), slice(left, right + 1)
        pixels = cv2.bitwise_and(inside[row][box], readings[box])
        number[row] = cv2.countNonZero(pixels)
        if number[row]:
            mean[row] = cv2.mean(images[box], pixels)[:3]
    return torch.from_numpy(mean).float(), torch.from_numpy(number)


def projected_boxes(
    points_m: Tensor, rotation: Tensor, translation_m: Tensor, intrinsics: Tensor, size: tuple[int, int]
) -> Tensor:
    """Project posed points and take the box around their pixels.

    Args:
        points_m: (K, 3), shared by all poses, or (N, K, 3); object frame, metres.
        rotation: (N, 3, 3) object-to-camera.
        translation_m: (N, 3) object-to-camera, metres.
        intrinsics: (3, 3), pixels.
        size: Height and width of the image, pixels.

    Returns:
        (N, 4) int64, inclusive pixels, truncated and clamped to the image as the reference does.
    """
    homogeneous = intrinsics @ (rotation @ points_m.transpose(-1, -2) + translation_m[:, :, None])
    uv = (homogeneous[:, :2] / homogeneous[:, 2:].clamp(min=1e-6)).nan_to_num(0.0, 0.0, 0.0)
    limit = uv.new_tensor([size[1] - 1, size[0] - 1])
    # truncating and clamping keep the order of numbers, so only the outermost need it
    ends = [torch.minimum(end.trunc().clamp(min=0), limit) for end in uv.aminmax(dim=2)]
    return torch.cat(ends, dim=1).long()


def geometric_score(projected_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Compute the IoU of each proposal's box with the box around its projected CAD points.

    One disjoint pair leaves the others as they are (the reference sets all to 0 then).

    Args:
        projected_xyxy: (N, 4) int64, inclusive pixels.
        boxes_xyxy: (N, 4) int64, inclusive pixels.

    Returns:
        (N,) in [0, 1].
    """
    return box_iou(projected_xyxy, boxes_xyxy)
