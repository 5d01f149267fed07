"""What followed poses are refined against: the depth image, and outlines of what is the instance in its window.

Around each predicted pose, a window of cells is divided into the instance and what is not, by depth (nearer, farther
or as predicted), by the colors that the instance and its surroundings had so far, and by the predicted silhouette where
both say nothing. `pose.refinement` draws the rims of the views to the outlines of these regions.

H instances, K samples of an object, G cells of the coarse silhouette along a side, C cells of the window
(refinement.observed_masks.CELLS).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.refinement.depth_noise import depth_noise_m
from ism_ros.refinement.observed_masks import (
    CELLS,
    WINDOW_MARGIN,
    ObservedMasks,
    nearest_pixels,
    signed_distance,
    values_at,
    window_pixels,
)
from ism_ros.refinement.pose_batch import PoseBatch
from ism_ros.refinement.step_limits import MIN_DEPTH_M
from ism_ros.tracking.region_colors import RegionColors, histograms, log_odds
from ism_ros.verification.evidence.terms import TOLERANCE_DEVIATIONS, ObjectSamples
from ism_ros.verification.window_cells import closed, dilated, pooled, splat_nearest

COARSE = 48
"""Cells along a side of the grid that silhouettes are predicted in, G; a divisor of C."""
SPREAD_CELLS = 6
"""How far beyond the predicted silhouette the model's depth is continued, coarse cells."""
FARTHER, AS_PREDICTED = -1.5, 0.3
"""Log-odds of a cell whose reading is farther away than the instance, and of one whose reading is as predicted."""
PREDICTED_PX, MAX_PREDICTED = 8.0, 0.3
"""Distance to the predicted outline, pixels, and the log-odds that it counts for there and beyond."""
SMOOTHING_CELLS = 1.2
"""Standard deviation over which log-odds are smoothed, cells."""
UNKNOWN_CELLS = 2
"""How far what hides an outline reaches into its surroundings, cells."""
REACH_CELLS = 10
"""How far from the predicted silhouette the region is looked at for its shift, cells."""
MIN_SHIFT_CELLS, MIN_GAIN = 0.7, 0.02
"""Least shift of a predicted silhouette upon its region, cells, and the least IoU that it gains."""
SEVERAL = 255
"""Label of pixels in the silhouettes of several instances."""
SURE_PX, SURE_CELLS = 3.0, 1.0
"""Distance to the predicted outline from which on colors are learned, pixels and coarse cells: the larger one."""


@dataclass(frozen=True)
class ObservedRegions:
    """Windows around H predicted poses.

    Attributes:
        masks: Depth and outlines, as the refinement takes them; instance i is mask i.
        background: (H, BINS^3) cells of each color that are not of the instance for sure, if the prediction is right.
        shift_px: (H, 2) columns and rows by which the predicted silhouettes are to be moved upon the regions.
    """

    masks: ObservedMasks
    background: Tensor
    shift_px: Tensor


def observe_regions(
    poses: PoseBatch,
    objects: ObjectSamples,
    instances: Sequence[int],
    colors: Sequence[RegionColors],
    depth_m: Tensor,
    color_image: Tensor,
    intrinsics: tuple[float, float, float, float],
    inverse_noise: float,
) -> ObservedRegions:
    """Divide the windows around predicted poses.

    Args:
        poses: H predicted poses, pose i under mask i.
        objects: Samples of their objects.
        instances: (H,) number of the instance that each pose is of.
        colors: H histograms; where they are unknown, those at the predicted pose count.
        depth_m: (H, W) metres, 0 = no reading.
        color_image: (H, W) bins of the colors, of `region_colors.color_bins`.
        intrinsics: fx, fy, cx, cy, pixels.
        inverse_noise: Standard deviation of inverse depth, 1/m.

    Returns:
        The regions.
    """
    nearest, farthest, origin, cell_px = _predicted(poses, objects, intrinsics)
    index, in_image = window_pixels(origin, cell_px, CELLS, depth_m.shape)
    depth = values_at(depth_m.flatten(), index) * in_image
    color = values_at(color_image.flatten(), index).flatten(1).long()
    silhouette = nearest.isfinite()
    low, high = _continued(nearest, silhouette), -_continued(-farthest, silhouette)
    tolerance = TOLERANCE_DEVIATIONS * depth_noise_m(high.where(high.isfinite(), 1.0), inverse_noise)
    scale = CELLS // COARSE
    low, high = (_enlarged(part, scale) for part in (low - tolerance, high + tolerance))
    read = depth > 0
    farther, nearer = read & (depth > high), read & (depth < low)
    predicted = _enlarged(_distances(silhouette.numpy()), scale) * (scale * cell_px)[:, None, None]
    sure_px = (SURE_CELLS * scale * cell_px).clamp(min=SURE_PX)[:, None, None]
    is_background = in_image & ~nearer & ((predicted < -sure_px) | farther)
    background = histograms(color, is_background.flatten(1))
    if not all(one.is_known for one in colors):
        surfaces = surface_colors(poses, objects, depth_m, color_image, intrinsics, inverse_noise)
        colors = [
            one if one.is_known else one.updated(surface, around)
            for one, surface, around in zip(colors, surfaces, background, strict=True)
        ]
    by_color = log_odds(colors).gather(1, color).view(index.shape)
    odds = by_color + (predicted / PREDICTED_PX).clamp(-1, 1) * MAX_PREDICTED
    odds = odds + AS_PREDICTED * (read & ~farther & ~nearer) + FARTHER * farther
    # what is before the instance, and the border of the image, hide where it ends: no distance, no slope
    others = _covered_by_others(silhouette, origin, cell_px, instances, index, depth_m.shape)
    unknown = nearer | ~in_image | (others & (predicted < 0))
    odds = torch.where(unknown, predicted.sign(), odds)
    regions = [cv2.GaussianBlur(one, (0, 0), SMOOTHING_CELLS) > 0 for one in odds.numpy()]
    hidden = dilated(unknown, UNKNOWN_CELLS)
    distance = _distances(regions).masked_fill(hidden, 0.0)
    nothing = torch.zeros(len(poses))
    masks = ObservedMasks(depth_m, intrinsics, distance, origin, cell_px, nothing, nothing, inverse_noise)
    shift_px = _shifts(predicted, regions, hidden, cell_px)
    return ObservedRegions(masks, background, shift_px)


def _shifts(predicted: Tensor, regions: Sequence[NDArray[np.bool_]], unknown: Tensor, cell_px: Tensor) -> Tensor:
    """Find the shifts (H, 2), pixels, from the centroids of predicted silhouettes to those of regions.

    Rims are drawn to outlines that are near; this brings them near. Only what overlaps more after it is shifted.
    """
    shifts = np.zeros((len(regions), 2), np.float32)
    for row, region in enumerate(regions):
        hidden = unknown[row].numpy()
        silhouette = predicted[row].numpy() > 0
        near = cv2.dilate(silhouette.view(np.uint8), np.ones((2 * REACH_CELLS + 1,) * 2, np.uint8)).astype(bool)
        seen, model = region & near & ~hidden, silhouette & ~hidden
        if not seen.any() or not model.any():
            continue
        shift = _centroid(seen) - _centroid(model)
        if np.abs(shift).max() < MIN_SHIFT_CELLS:
            continue
        move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
        shifted = cv2.warpAffine(silhouette.view(np.uint8), move, (CELLS, CELLS)).astype(bool) & ~hidden
        if _iou(seen, shifted) > _iou(seen, model) + MIN_GAIN:
            shifts[row] = shift
    return torch.from_numpy(shifts) * cell_px[:, None]


def _centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
    return np.array([moments["m10"], moments["m01"]]) / max(float(moments["m00"]), 1.0)


def _iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(first & second)) / max(int(np.count_nonzero(first | second)), 1)


def _covered_by_others(
    silhouette: Tensor, origin: Tensor, cell_px: Tensor, instances: Sequence[int], index: Tensor, size: torch.Size
) -> Tensor:
    """Find the cells (H, C, C) whose pixels `index` lie in the predicted silhouettes (H, G, G) of other instances."""
    image = np.zeros((int(size[0]), int(size[1])), np.uint8)
    labels = np.array([1 + instance % (SEVERAL - 1) for instance in instances], np.uint8)
    for mask, corner, side, label in zip(
        silhouette.numpy().view(np.uint8), origin.tolist(), (cell_px * CELLS).tolist(), labels.tolist(), strict=True
    ):
        left, top, length = round(corner[0]), round(corner[1]), max(round(side), 1)
        first_row, first_column = max(top, 0), max(left, 0)
        part = image[first_row : max(top + length, 0), first_column : max(left + length, 0)]
        if part.size:
            large = cv2.resize(mask, (length, length), interpolation=cv2.INTER_NEAREST)
            seen = large[first_row - top :, first_column - left :][: part.shape[0], : part.shape[1]]
            # where another one is already it is of several, else of this one
            others = (part != 0) & (part != label) & (seen != 0)
            np.maximum(part, seen * np.uint8(label), out=part)
            part[others] = SEVERAL
    there = values_at(torch.from_numpy(image).flatten(), index)
    return (there != 0) & (there != torch.from_numpy(labels)[:, None, None])


def surface_colors(
    poses: PoseBatch,
    objects: ObjectSamples,
    depth_m: Tensor,
    color_image: Tensor,
    intrinsics: tuple[float, float, float, float],
    inverse_noise: float,
) -> Tensor:
    """Read the colors of surfaces in the image.

    Args:
        poses: H poses.
        objects: Samples of their objects.
        depth_m: (H, W) metres, 0 = no reading.
        color_image: (H, W) bins of the colors, of `region_colors.color_bins`.
        intrinsics: fx, fy, cx, cy, pixels.
        inverse_noise: Standard deviation of inverse depth, 1/m.

    Returns:
        (H, BINS^3) how many of the samples that face the camera, and whose reading agrees, have each color.
    """
    uv, z, faces = _projected(poses, objects, intrinsics)
    index, inside = nearest_pixels(uv[:, 0], uv[:, 1], depth_m.shape)
    depth = values_at(depth_m.flatten(), index)
    agrees = (depth - z).abs() < TOLERANCE_DEVIATIONS * depth_noise_m(z, inverse_noise)
    return histograms(values_at(color_image.flatten(), index).long(), faces & inside & agrees)


def _predicted(
    poses: PoseBatch, objects: ObjectSamples, intrinsics: tuple[float, float, float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Render the samples of poses.

    Returns:
        Least and largest depth (H, G, G) of the near surface in coarse cells, metres, +inf and -inf where there is
        none; corner of the window (H, 2) and side (H,) of its C cells, pixels.
    """
    uv, z, faces = _projected(poses, objects, intrinsics)
    first, last = uv.aminmax(dim=2)
    side = (last - first).amax(dim=1).clamp(min=4.0) * (1 + 2 * WINDOW_MARGIN)
    origin = (first + last - side[:, None]) / 2
    at = (uv - origin[:, :, None]) / side[:, None, None] * COARSE
    nearest = closed(splat_nearest(at, z.where(faces, torch.inf), COARSE)[0])
    farthest = nearest.where(nearest.isfinite(), -torch.inf)
    return nearest, farthest, origin, side / CELLS


def _projected(
    poses: PoseBatch, objects: ObjectSamples, intrinsics: tuple[float, float, float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Project samples: pixels (H, 2, K), depth (H, K), metres, and whether they face the camera (H, K)."""
    fx, fy, cx, cy = intrinsics
    point = poses.rotation @ objects.points_m + poses.centre_m[:, :, None]
    x, y, z = point.unbind(dim=1)
    z = z.clamp(min=MIN_DEPTH_M)
    faces = ((poses.rotation @ objects.normals) * point).sum(dim=1) < 0
    return torch.stack([x / z * fx + cx, y / z * fy + cy], dim=1), z, faces


def _continued(depth: Tensor, silhouette: Tensor) -> Tensor:
    """Take the least depth of the neighbours, and beyond the silhouette that within SPREAD_CELLS."""
    near = far = depth
    for axis in (1, 2):
        near, far = pooled(near, axis, 1, torch.minimum), pooled(far, axis, SPREAD_CELLS, torch.minimum)
    return near.where(silhouette, far)


def _enlarged(cells: Tensor, scale: int) -> Tensor:
    return cells.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


def _distances(masks: Iterable[NDArray[np.bool_]]) -> Tensor:
    """Signed distances to the outlines of masks, at most CELLS, as where there is no other side."""
    return torch.from_numpy(np.stack([signed_distance(one.view(np.uint8)).clip(-CELLS, CELLS) for one in masks]))
