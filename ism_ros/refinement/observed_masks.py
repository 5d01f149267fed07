"""What poses are refined against: the depth image, and the signed distance to the outline of each mask.

N masks, C cells along each side of a window around a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.frame import Frame
from ism_ros.data.masks import mask_areas
from ism_ros.refinement.depth_noise import depth_noise_m, estimate_inverse_noise
from ism_ros.refinement.window_loops import sample_windows
from ism_ros.runtime.compilation import is_compiled_for
from ism_ros.runtime.threads import map_on_shares, map_on_threads

CELLS = 96
"""Cells along each side of the window in which the distance to an outline is computed, C."""
WINDOW_MARGIN = 0.25
"""How far a window reaches beyond the mask's box on each side, in longer sides of the box."""


@dataclass(frozen=True)
class ObservedMasks:
    """A depth image and the outlines of N masks.

    Attributes:
        depth_m: (H, W) float32 metres, 0 = no reading.
        intrinsics: fx, fy, cx, cy, pixels.
        distance: (N, C, C) float32 distance to the outline, in cells, above 0 inside the mask.
        origin: (N, 2) float32 x and y of the window's corner, pixels.
        cell_px: (N,) float32 side of a cell, pixels.
        area_px: (N,) float32 area of the mask, pixels.
        read_px: (N,) float32 area of the part of the mask that has a reading, pixels.
        inverse_noise: Standard deviation of inverse depth, 1/m.
    """

    depth_m: Tensor
    intrinsics: tuple[float, float, float, float]
    distance: Tensor
    origin: Tensor
    cell_px: Tensor
    area_px: Tensor
    read_px: Tensor
    inverse_noise: float

    def noise_m(self, depth_m: Tensor) -> Tensor:
        """Compute the standard deviation of readings.

        Args:
            depth_m: Distance, metres, of any shape.

        Returns:
            Metres, of the same shape.
        """
        return depth_noise_m(depth_m, self.inverse_noise)

    def depth_at(self, u: Tensor, v: Tensor) -> Tensor:
        """Read the depth nearest to pixels.

        Args:
            u: Columns, of any shape, pixels.
            v: Rows, of the same shape.

        Returns:
            Metres, of the same shape; 0 without a reading and outside the image.
        """
        index, inside = nearest_pixels(u, v, self.depth_m.shape)
        return values_at(self.depth_m.flatten(), index).mul_(inside)


def values_at(values: Tensor, index: Tensor) -> Tensor:
    """Take values by their indices; on the CPU several times faster than `values[index]`.

    Args:
        values: (K,).
        index: Of any shape, int64.

    Returns:
        Of the shape of `index`.
    """
    return values.index_select(0, index.flatten()).view(index.shape)


def nearest_pixels(u: Tensor, v: Tensor, size: torch.Size | tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Find the pixels nearest to points of an image.

    Args:
        u: Columns, pixels; u and v broadcast.
        v: Rows, pixels.
        size: Height and width of the image.

    Returns:
        Indices into the flattened image, int64, of the nearest pixel of the image; and whether the points lie in it.
    """
    height, width = size
    column, row = (u + 0.5).floor_(), (v + 0.5).floor_()
    nearest_column, nearest_row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    inside = (nearest_column == column) & (nearest_row == row)
    return nearest_row.long().mul_(width).add(nearest_column.long()), inside


def window_pixels(
    origin: Tensor, cell_px: Tensor, cells: int, size: torch.Size | tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Find the pixels in the middle of the cells of square windows.

    Args:
        origin: (N, 2) x and y of the windows' corners, pixels.
        cell_px: (N,) side of a cell, pixels.
        cells: Cells along each side, C.
        size: Height and width of the image.

    Returns:
        As of `nearest_pixels`, (N, C, C) each.
    """
    at = (torch.arange(cells, device=cell_px.device) + 0.5) * cell_px[:, None]
    u, v = (origin[:, axis, None] + at for axis in (0, 1))
    return nearest_pixels(u[:, None], v[:, :, None], size)


def observed_masks(frame: Frame, masks: Tensor, boxes_xyxy: Tensor, threads: int = 1) -> ObservedMasks:
    """Compute the distances to the outlines of masks.

    Args:
        frame: With depth.
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) their tight boxes, last pixel included.
        threads: Threads that share the work.

    Returns:
        The observation, on the device of the masks.
    """
    assert frame.depth_m is not None
    device, camera = masks.device, frame.camera
    first, last = boxes_xyxy[:, :2].float(), boxes_xyxy[:, 2:].float() + 1
    side = (last - first).amax(dim=1).clamp(min=4.0) * (1 + 2 * WINDOW_MARGIN)
    cell_px, origin = side / CELLS, (first + last - side[:, None]) / 2 - 0.5
    depth_m = torch.from_numpy(frame.depth_m).to(device)
    look = outlines_by_loops if is_compiled_for(masks) else outlines_by_operations
    distance, read_share = look(masks, depth_m, origin, cell_px, threads)
    area_px = mask_areas(masks).float()
    return ObservedMasks(
        depth_m,
        (camera.fx, camera.fy, camera.cx, camera.cy),
        distance,
        origin,
        cell_px,
        area_px,
        area_px * read_share,
        estimate_inverse_noise(frame.depth_m),
    )


def outlines_by_loops(
    masks: Tensor, depth_m: Tensor, origin: Tensor, cell_px: Tensor, threads: int
) -> tuple[Tensor, Tensor]:
    """Look at masks through their windows, by loops on the CPU.

    Args:
        masks: (N, H, W) bool.
        depth_m: (H, W) metres, 0 = no reading.
        origin: (N, 2) x and y of the windows' corners, pixels.
        cell_px: (N,) side of a cell, pixels.
        threads: Threads that share the work.

    Returns:
        Distances to the outlines (N, C, C), cells, and the shares (N,) of the masks that have a reading.
    """
    covered, distance = (np.zeros((len(masks), CELLS, CELLS), kind) for kind in (np.uint8, np.float32))
    read_share = np.zeros(len(masks), np.float32)
    images, depth, corners, sides = (part.numpy() for part in (masks, depth_m, origin, cell_px))

    def look(first: int, last: int) -> None:
        part = slice(first, last)
        sample_windows(images[part], depth, corners[part], sides[part], covered[part], read_share[part])
        distance[part] = _signed_distances(covered[part])

    map_on_shares(look, threads, len(masks))
    return torch.from_numpy(distance), torch.from_numpy(read_share)


def outlines_by_operations(
    masks: Tensor, depth_m: Tensor, origin: Tensor, cell_px: Tensor, threads: int
) -> tuple[Tensor, Tensor]:
    """Look at masks through their windows on any device; as `outlines_by_loops`."""
    index, inside = window_pixels(origin, cell_px, CELLS, masks.shape[1:])
    covered = masks.flatten(1).gather(1, index.flatten(1)).view(index.shape) & inside
    parts = np.array_split(covered.cpu().numpy().view(np.uint8), threads)
    distance = np.concatenate(map_on_threads(_signed_distances, threads, parts))
    has_depth = values_at(depth_m.flatten(), index) > 0
    read_share = mask_areas(covered & has_depth) / mask_areas(covered).clamp(min=1)
    return torch.from_numpy(distance).to(masks.device), read_share


def _signed_distances(masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    distances = np.empty(masks.shape, np.float32)
    for row, mask in enumerate(masks):
        distances[row] = signed_distance(mask)
    return distances


def signed_distance(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the distance of each pixel to the outline of a mask.

    Args:
        mask: (H, W), 1 inside and 0 outside.

    Returns:
        (H, W) pixels, above 0 inside; very large where the image has no other side.
    """
    inside, outside = (cv2.distanceTransform(part, cv2.DIST_L2, 3) for part in (mask, 1 - mask))
    return np.asarray(inside - outside, np.float32)
