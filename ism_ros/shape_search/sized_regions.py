"""Regions of depth that are as large as an object may be: what hangs together within a ball about each of many places.

A mask of an object that nobody has proposed: the network does not know such things, or sees none where they lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.refinement.depth_noise import CONSTANT_M, estimate_inverse_noise
from ism_ros.segmentors.upsampling import upsample_to_masks
from ism_ros.shape_search.region_loops import grow_regions
from ism_ros.shape_search.support_planes import outside_planes

GRID_COLUMNS = 160
"""Columns of the grid that regions are searched in, about."""
PLANE_DEVIATIONS = 1.2
"""Standard deviations of readings up to which a point is in a plane."""
SPACING = 1 / 3
"""Distance between places, diameters of the object."""
RADII, BEHIND = (0.35, 0.5), 0.15
"""Radii of the balls, and how far behind the surface their centres lie, diameters of the object: the box of a long one
has a longer diagonal than what is seen of it."""
MIN_CELLS = 12
"""Least cells of a region."""

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SurfaceGrid:
    """Every few pixels of a frame, without what lies in large planes.

    Attributes:
        frame: Of H x W of the pixels.
        points_m: (H, W, 3) float32 in the camera frame, metres.
        is_left: (H, W) bool, whether there is a reading outside of all planes.
        step_px: Step between the pixels.
    """

    frame: Frame
    points_m: Floats
    is_left: Mask
    step_px: int

    @staticmethod
    def of(frame: Frame) -> SurfaceGrid:
        """Choose the pixels of a frame, which has depth."""
        assert frame.depth_m is not None
        step = max(1, round(frame.width / GRID_COLUMNS))
        rows, columns = (slice(step // 2, None, step) for _ in range(2))
        rgb = np.ascontiguousarray(frame.rgb[rows, columns])
        depth_m = np.ascontiguousarray(frame.depth_m[rows, columns])
        scale = np.array([[1 / step, 0, -(step // 2) / step], [0, 1 / step, -(step // 2) / step], [0, 0, 1]])
        height, width = depth_m.shape
        camera = Camera(scale @ frame.camera.intrinsics, width, height, is_cropped=True)
        points_m = camera.rays() * depth_m[..., None]
        noise_m = CONSTANT_M + estimate_inverse_noise(frame.depth_m) * np.square(depth_m)
        is_left = outside_planes(points_m, depth_m > 0, np.float32(PLANE_DEVIATIONS) * noise_m)
        return SurfaceGrid(Frame(rgb, depth_m, camera), points_m, is_left, step)

    def cells_of(self, masks: Mask) -> Mask:
        """Look at masks (N, h, w) of the frame in the cells, (N, H, W)."""
        return masks[:, self.step_px // 2 :: self.step_px, self.step_px // 2 :: self.step_px]

    def pixels_of(self, cells: Tensor, size: tuple[int, int]) -> Tensor:
        """Enlarge masks (N, H, W) to those of the frame, (N, *size), with smooth outlines."""
        row_at, column_at = (
            (torch.arange(length, device=cells.device, dtype=torch.float64) - self.step_px // 2) / self.step_px
            for length in size
        )
        return upsample_to_masks(cells.float(), row_at, column_at, 0.5)

    def regions(self, diameter_m: float, taken: Mask) -> Mask:
        """Find regions that an object may be.

        Args:
            diameter_m: Diagonal of the object's box, metres.
            taken: (H, W) bool, cells at which none is searched.

        Returns:
            (N, H, W) bool; many of them are nearly the same.
        """
        rows, columns = self._places(diameter_m * SPACING, taken)
        count = len(rows)
        regions = np.zeros((len(RADII) * count, *self.is_left.shape), bool)
        for number, radius in enumerate(RADII):
            grow_regions(
                self.points_m,
                self.is_left,
                rows,
                columns,
                np.float32(radius * diameter_m),
                np.float32(BEHIND * diameter_m),
                regions[number * count : (number + 1) * count],
            )
        return regions[regions.sum(axis=(1, 2)) >= MIN_CELLS]

    def _places(self, spacing_m: float, taken: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of evenly spaced cells: of each cube of this side that nearest to the mean of its points."""
        rows, columns = np.nonzero(self.is_left & ~taken)
        if not len(rows):
            return rows, columns
        points_m = self.points_m[rows, columns].astype(np.float64)
        cube = np.unique(np.floor(points_m / spacing_m), axis=0, return_inverse=True)[1].reshape(-1)
        number = np.bincount(cube)
        mean_m = np.stack([np.bincount(cube, axis) / number for axis in points_m.T], axis=1)
        order = np.lexsort([((points_m - mean_m[cube]) ** 2).sum(axis=1), cube])
        first = order[np.r_[True, np.diff(cube[order]) > 0]]
        return rows[first], columns[first]
