"""What is observed under masks: points sampled under each, and polar maps of these for an object.

N masks, P points sampled under each, R rings, A angles (rendering.polar_maps).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.data.frame import Frame

GRID_SIDE = 32
"""Samples along each side of a mask's box."""
MIN_PIXELS = 10
"""Least number of pixels with depth of a mask that is aligned."""


@dataclass(frozen=True)
class ObservedPoints:
    """Points and colors observed at P grid samples in the boxes of N masks.

    Attributes:
        points_m: (N, 3, P) float32 in the camera frame, metres.
        colors: (N, 3, P) float32 RGB in [0, 1].
        pixels: (N, P) float32, number of pixels that a sample stands for; 0 outside the mask and without depth.
        median_m: (N, 3) median of the points inside the mask, camera frame, metres.
        pixel_m: Width of a pixel at a distance of one metre, metres (geometric mean of both axes).
    """

    points_m: Tensor
    colors: Tensor
    pixels: Tensor
    median_m: Tensor
    pixel_m: float

    def __getitem__(self, rows: Tensor | slice) -> ObservedPoints:
        """Return the samples of the masks at `rows`."""
        return ObservedPoints(
            self.points_m[rows], self.colors[rows], self.pixels[rows], self.median_m[rows], self.pixel_m
        )

    def with_others(self, others: ObservedPoints) -> ObservedPoints:
        """Return these samples, and after them those under other masks of the same frame."""
        return ObservedPoints(
            torch.cat([self.points_m, others.points_m]),
            torch.cat([self.colors, others.colors]),
            torch.cat([self.pixels, others.pixels]),
            torch.cat([self.median_m, others.median_m]),
            self.pixel_m,
        )


def sample_observed_points(masks: Tensor, boxes_xyxy: Tensor, frame: Frame) -> ObservedPoints:
    """Sample points and colors under masks, on an even grid in each box.

    Args:
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) tight boxes, last pixel included.
        frame: The frame, which has depth.

    Returns:
        The samples, on the device of the masks.
    """
    assert frame.depth_m is not None
    device = masks.device
    depth_m, rgb = (torch.from_numpy(image).to(device) for image in (frame.depth_m, frame.rgb))
    position = (torch.arange(GRID_SIDE, device=device) + 0.5) / GRID_SIDE
    first, size = boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2] + 1
    columns, rows = ((first[:, axis, None] + (position * size[:, axis, None]).long()) for axis in (0, 1))
    pixel = (rows[:, :, None] * masks.shape[2] + columns[:, None, :]).flatten(1)
    z = depth_m.flatten()[pixel]
    inside = masks.flatten(1).gather(1, pixel) & (z > 0)
    camera = frame.camera
    points_m = camera.back_project(columns[:, None, :], rows[:, :, None], z.unflatten(1, (GRID_SIDE, -1)))
    points_m = points_m.flatten(1, 2).transpose(1, 2).contiguous()
    colors = rgb.flatten(0, 1)[pixel].transpose(1, 2).float() / 255.0
    pixels = inside * (size.prod(dim=1) / GRID_SIDE**2)[:, None]
    median_m = points_m.where(inside[:, None], torch.nan).nanmedian(dim=2).values
    return ObservedPoints(points_m, colors, pixels, median_m, (camera.fx * camera.fy) ** -0.5)


@dataclass(frozen=True)
class ObservedMaps:
    """Polar maps of what is observed under N masks, for one object.

    Attributes:
        maps: (N, 5, R, A), as of `polar_maps`.
        centroid_m: (N, 3) centroid of the observed surface, camera frame, metres.
        ray_rotation: (N, 3, 3), as of ViewAlignment.
        enough: (N,) bool, whether enough was seen.
        radius_m: Radius of the outermost ring, metres.
    """

    maps: Tensor
    centroid_m: Tensor
    ray_rotation: Tensor
    enough: Tensor
    radius_m: float

    def __getitem__(self, rows: Tensor) -> ObservedMaps:
        """Return the maps of the masks at `rows`."""
        return ObservedMaps(
            self.maps[rows], self.centroid_m[rows], self.ray_rotation[rows], self.enough[rows], self.radius_m
        )
