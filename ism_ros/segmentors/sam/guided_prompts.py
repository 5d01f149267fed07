"""Guided prompts: points and boxes of what could be an object, and a coarse grid of points for the rest.

A grid asks the decoder everywhere alike, and most of its points get the same few masks. Here the proposals of another,
small segmentor ask for what they show, by their boxes and by a point in each; places that are nearer to the camera
than their surroundings ask by a point; and between them are the points of a coarse grid. (Boxes of a detector in the
place of a grid: Zhang et al., MobileSAMv2, 2023.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.boxes import mask_to_xywh
from ism_ros.data.frame import Frame
from ism_ros.segmentors.base import Segmentor
from ism_ros.segmentors.sam.image_crops import Crop, Size, point_grid
from ism_ros.segmentors.sam.promptable import CropPrompts, Prompts

COARSER = 4
"""Factor by which the grid has fewer points along each side than the one of `grid`."""
MAX_COVERING_RATIO = 0.1
"""Area of a guide, as a ratio of the frame's, up to which there are no points of the grid in it: in larger ones, such
as the top of a table, there may be objects that no guide shows."""
MAX_PROMPTS = 128
"""Prompts of a crop, an eighth of the usual grid's: boxes beyond it, the least confident ones, are left out."""

DEPTH_SIDE_PX = 320
"""Longer side to which depth is scaled down to look for regions, pixels."""
WINDOW_RATIO = 0.3
"""Side of the window of a pixel's surroundings, as a ratio of that side."""
MIN_RELIEF_M, MIN_RELIEF_RATIO = 0.006, 0.01
"""Distance by which a region is nearer than its surroundings, metres and as a ratio of its depth: the larger counts."""
MIN_STEP_RATIO = 0.015
"""Step between neighbouring pixels that is the border of a region, as a ratio of the depth."""
MIN_REGION_PX, MAX_REGION_RATIO, MAX_REGIONS = 20, 0.25, 12
"""Least area of a region, pixels of the scaled depth; largest area of its box, as a ratio of the frame's; most
regions, the largest ones."""
SAME_REGION_IOU = 0.5
"""IoU with a proposal from which on a region asks for nothing new."""


@dataclass(frozen=True)
class Guides:
    """What could be an object in a frame.

    Attributes:
        points_xy: (N, 2) float32, pixels of the frame, in proposals and in regions of the depth.
        boxes_xyxy: (M, 4) float32, first and last column and row of proposals, pixels of the frame, the most confident
            first.
        covered: (H, W) bool, where no points of the grid are needed.
        grid_per_side: Points along each side of the grid of a crop.
    """

    points_xy: Tensor
    boxes_xyxy: Tensor
    covered: NDArray[np.bool_]
    grid_per_side: int

    def in_crop(self, crop: Crop, image_size: Size) -> Prompts:
        """Make the prompts of a crop.

        Args:
            crop: Of the frame at `image_size`.
            image_size: Height and width of the image that the frame was scaled to, pixels.

        Returns:
            Guides that lie in the crop, boxes as a whole, and points of the grid that lie in none of them; as many
            boxes as MAX_PROMPTS leaves.
        """
        frame_size = self.covered.shape
        scale = torch.tensor([image_size[1] / frame_size[1], image_size[0] / frame_size[0]])
        origin = torch.tensor([crop.x_first, crop.y_first], dtype=torch.float32)
        end = torch.tensor([crop.size[1], crop.size[0]], dtype=torch.float32) - 0.5
        points = _scaled(self.points_xy, scale) - origin
        boxes = _scaled(self.boxes_xyxy.view(-1, 2, 2), scale) - origin
        grid = point_grid(self.grid_per_side, crop.size)
        column, row = _scaled(grid + origin, 1 / scale).round().long().unbind(dim=1)
        limits = (row.clamp(0, frame_size[0] - 1).numpy(), column.clamp(0, frame_size[1] - 1).numpy())
        free = torch.from_numpy(~self.covered[limits])
        inside, whole = (((at >= -0.5) & (at <= end)).flatten(1).all(dim=1) for at in (points, boxes))
        asked = torch.cat([points[inside], grid[free]])
        return Prompts(asked, boxes[whole].flatten(1)[: max(0, MAX_PROMPTS - len(asked))])


class GuidedPrompter:
    """Makes guided prompts of frames."""

    def __init__(self, guide: Segmentor, points_per_side: int = 32) -> None:
        """Take a guide.

        Args:
            guide: The segmentor whose proposals ask.
            points_per_side: Points along each side of the grid that is replaced.
        """
        self._guide = guide
        self._grid_per_side = max(1, points_per_side // COARSER)

    def guides(self, frame: Frame) -> Guides:
        """Find what could be an object.

        Args:
            frame: The frame, with or without depth.

        Returns:
            Its guides.
        """
        proposals = self._guide.propose(frame)
        masks = proposals.masks.cpu().numpy()
        shapes = [*masks, *regions_of_depth(frame, masks)]
        size = frame.height, frame.width
        covering = [mask for mask in shapes if mask.mean() <= MAX_COVERING_RATIO]
        return Guides(
            torch.tensor(points_in_each(shapes), dtype=torch.float32).view(-1, 2),
            proposals.boxes_xyxy.cpu().float(),
            np.any(covering, axis=0) if covering else np.zeros(size, bool),
            self._grid_per_side,
        )

    def __call__(self, frame: Frame) -> CropPrompts:
        """Make the prompts of each crop of a frame."""
        return self.guides(frame).in_crop


def points_in_each(masks: Sequence[NDArray[np.bool_]]) -> list[tuple[int, int]]:
    """Choose points so that each mask has one.

    Args:
        masks: (H, W) bool each, none empty, the most important first.

    Returns:
        Columns and rows: of each mask in which none of the earlier points lies, the pixel that is farthest from its
        border. So an object and a part of it may share a point, for which SAM predicts masks of several sizes.
    """
    points: list[tuple[int, int]] = []
    for mask in masks:
        if not any(mask[row, column] for column, row in points):
            points.append(_innermost(mask))
    return points


def regions_of_depth(frame: Frame, proposals: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Find regions that are nearer to the camera than their surroundings.

    Args:
        frame: The frame.
        proposals: (N, H, W) bool, masks of which no region is the same.

    Returns:
        Masks (H, W), the largest first; none without depth.
    """
    if frame.depth_m is None or not frame.has_depth:
        return []
    scale = min(1.0, DEPTH_SIDE_PX / max(frame.height, frame.width))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    depth_m = np.asarray(cv2.resize(frame.depth_m, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(_in_relief(depth_m).view(np.uint8), connectivity=4)
    area, box_area = stats[:, cv2.CC_STAT_AREA], stats[:, cv2.CC_STAT_WIDTH] * stats[:, cv2.CC_STAT_HEIGHT]
    fitting = (area >= MIN_REGION_PX) & (box_area <= MAX_REGION_RATIO * depth_m.size)
    fitting[0] = False  # what is in no region
    rows, columns = (
        np.arange(length) * full // length for length, full in ((height, frame.height), (width, frame.width))
    )
    small = proposals[:, rows][:, :, columns]
    found = []
    for label in sorted(np.nonzero(fitting)[0], key=lambda label: -area[label]):
        region = labels == label
        if not (_ious(region, small) >= SAME_REGION_IOU).any():
            found.append(_enlarged(region, (frame.height, frame.width)))
        if len(found) == MAX_REGIONS:
            break
    return found


def _in_relief(depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find where depth is less than that of the surroundings, without steps of depth, (H, W) bool."""
    valid = depth_m > 0
    side = int(WINDOW_RATIO * max(depth_m.shape)) | 1
    total, count = (cv2.boxFilter(image, cv2.CV_32F, (side, side)) for image in (depth_m, valid.astype(np.float32)))
    around_m = total / np.maximum(count, 1e-3)
    relief = around_m - depth_m > np.maximum(MIN_RELIEF_M, MIN_RELIEF_RATIO * depth_m)
    square = np.ones((3, 3), np.uint8)
    step_m = cv2.dilate(depth_m, square) - cv2.erode(np.where(valid, depth_m, np.float32(np.inf)), square)
    return np.asarray(valid & relief & ~(step_m > MIN_STEP_RATIO * depth_m))


def _ious(mask: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the IoU of a mask (h, w) with each of others (N, h, w), (N,)."""
    shared = (mask & others).sum(axis=(1, 2))
    return np.asarray(shared / np.maximum(mask.sum() + others.sum(axis=(1, 2)) - shared, 1))


def _enlarged(mask: NDArray[np.bool_], size: Size) -> NDArray[np.bool_]:
    """Scale a mask up to `size`, height and width."""
    large = cv2.resize(mask.view(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(large, np.uint8).view(bool)


def _innermost(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return column and row of the pixel of a mask that is farthest from its border."""
    x, y, width, height = mask_to_xywh(mask)
    inside = np.pad(mask[y : y + height, x : x + width].view(np.uint8), 1)
    distance = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_3))[1:-1, 1:-1]
    row, column = divmod(int(distance.argmax()), distance.shape[1])
    return x + column, y + row


def _scaled(at: Tensor, scale: Tensor) -> Tensor:
    """Scale pixels (..., 2), whose centres lie at whole numbers."""
    return (at + 0.5) * scale - 0.5
