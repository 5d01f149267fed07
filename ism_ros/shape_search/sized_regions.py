"""Regions of depth that are as large as an object may be: what hangs together within a ball about each of many places.

A mask of an object that nobody has proposed: the network does not know such things, or sees none where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.pose.observed_points import ObservedPoints
from ism_ros.refinement.depth_noise import depth_noise_m, estimate_inverse_noise
from ism_ros.segmentors.upsampling import upsample_to_masks
from ism_ros.shape_search.region_loops import grow_regions
from ism_ros.shape_search.support_planes import outside_planes

GRID_COLUMNS = 160
"""Columns of the grid that regions are searched in, about."""
PLANE_DEVIATIONS = 1.2
"""Standard deviations of readings up to which a point is in a plane."""
SPACING = 1 / 3
"""Distance between places, diameters of the object."""
RADII, BEHIND = (0.35, 0.5), 0.1
"""Radii of the balls, and how far behind the surface their centres lie, diameters of the object: the box of a long one
has a longer diagonal than what is seen of it."""
MIN_CELLS = 12
"""Least cells of a region."""
MAX_CELLS = 2**20
"""Most cells of all regions of one radius."""
SAMPLES = 400
"""Most cells of a region that it is compared with views by."""

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
        noise_m = depth_noise_m(torch.from_numpy(depth_m), estimate_inverse_noise(frame.depth_m)).numpy()
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

    def within_box(self, rotation: Floats, origin_m: Floats, box_m: NDArray[np.float64]) -> Mask | None:
        """Find the largest region within a box.

        Args:
            rotation: (3, 3) from the box's frame to the camera's.
            origin_m: (3,) origin of the box's frame in that of the camera, metres.
            box_m: (2, 3) lowest and highest corner in the box's frame, metres.

        Returns:
            (H, W) bool, or None where there is nothing in the box.
        """
        at_m = (self.points_m - origin_m) @ rotation
        inside = ((at_m > box_m[0]) & (at_m < box_m[1])).all(axis=2) & self.is_left
        count, labels, statistics, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=4)
        return labels == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else None

    def regions(self, diameter_m: float, taken: Mask) -> Regions:
        """Find regions that an object may be.

        Args:
            diameter_m: Diagonal of the object's box, metres.
            taken: (H, W) bool, cells at which none is searched.

        Returns:
            The regions; many of them are nearly the same, none quite.
        """
        places = self._places(diameter_m * SPACING, taken)
        found = [self._grown(places, radius * diameter_m, BEHIND * diameter_m) for radius in RADII]
        return Regions(self, [one for cells, _ in found for one in cells], np.concatenate([cuts for _, cuts in found]))

    def _grown(
        self, places: NDArray[np.int64], radius_m: float, behind_m: float
    ) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
        """Cells and cuts of the regions about some places."""
        cells = np.empty(MAX_CELLS, np.int64)
        ends, cuts, sums = (np.empty(len(places), np.int64) for _ in range(3))
        lengths_m = np.float32(radius_m), np.float32(behind_m)
        count = grow_regions(self.points_m, self.is_left, places, *lengths_m, MIN_CELLS, cells, ends, cuts, sums)
        parts = np.split(cells[: ends[count - 1]], ends[: count - 1]) if count else []
        return parts, cuts[:count]

    def _places(self, spacing_m: float, taken: Mask) -> NDArray[np.int64]:
        """Choose evenly spaced cells (N, 2): of each cube of this side that nearest to the mean of its points."""
        places = np.argwhere(self.is_left & ~taken)
        if not len(places):
            return places
        points_m = self.points_m[places[:, 0], places[:, 1]].astype(np.float64)
        index = np.floor((points_m - points_m.min(axis=0)) / spacing_m).astype(np.int64)
        shape = index.max(axis=0) + 1
        key = (index[:, 0] * shape[1] + index[:, 1]) * shape[2] + index[:, 2]
        cube = np.unique(key, return_inverse=True)[1].reshape(-1)
        number = np.bincount(cube)
        mean_m = np.stack([np.bincount(cube, axis) / number for axis in points_m.T], axis=1)
        order = np.lexsort([((points_m - mean_m[cube]) ** 2).sum(axis=1), cube])
        return places[order[np.r_[True, np.diff(cube[order]) > 0]]]


@dataclass(frozen=True)
class Regions:
    """Regions of a grid.

    Attributes:
        grid: The grid.
        cells: Of each region the indices of its cells, int64, row by row of the grid.
        cuts: (N,) int64, neighbours of each that would belong to it but for the ball: the surface goes on there.
    """

    grid: SurfaceGrid
    cells: list[NDArray[np.int64]]
    cuts: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.cells)

    def at(self, rows: Sequence[int] | NDArray[np.int64]) -> Regions:
        """Choose some of them."""
        return Regions(self.grid, [self.cells[row] for row in rows], self.cuts[np.asarray(rows, np.int64)])

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Number of cells of each, (N,)."""
        return np.array([len(cells) for cells in self.cells], np.int64)

    @property
    def _joined(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells of all of them, one after the other, and where each begins, (N,)."""
        return np.concatenate(self.cells), self.sizes.cumsum() - self.sizes

    def masks(self) -> Mask:
        """Make their masks, (N, H, W) bool."""
        masks = np.zeros((len(self), self.grid.is_left.size), bool)
        for mask, cells in zip(masks, self.cells, strict=True):
            mask[cells] = True
        return masks.reshape(len(self), *self.grid.is_left.shape)

    def cut_shares(self) -> NDArray[np.float64]:
        """Compute the cuts (N,) as shares of the outlines, of squares of the same area; may be above 1."""
        return np.asarray(self.cuts / (4 * np.sqrt(self.sizes)), np.float64)

    def areas_m2(self) -> NDArray[np.float64]:
        """Compute their areas across the viewing rays, (N,) square metres."""
        depth_m, camera = self.grid.points_m[..., 2].reshape(-1).astype(np.float64), self.grid.frame.camera
        return np.array([np.square(depth_m[cells]).sum() for cells in self.cells]) / (camera.fx * camera.fy)

    def ious(self, masks: Mask) -> NDArray[np.float64]:
        """Compute their IoUs (N, M) with masks (M, H, W) of the grid."""
        flat, area = masks.reshape(len(masks), -1), masks.sum(axis=(1, 2))
        cells, first = self._joined
        common = np.add.reduceat(flat[:, cells], first, axis=1, dtype=np.int64).T
        return np.asarray(common / (self.sizes[:, None] + area - common), np.float64)

    def observed_points(self) -> ObservedPoints:
        """Sample their points, as `observed_points.sample_observed_points` samples those under masks; on the CPU."""
        cells, first = self._joined
        sampled, place = np.minimum(self.sizes, SAMPLES), np.arange(SAMPLES)
        inside = place < sampled[:, None]
        cell = cells[first[:, None] + np.where(inside, place * self.sizes[:, None] // sampled[:, None], 0)]
        points_m = torch.from_numpy(self.grid.points_m.reshape(-1, 3)[cell]).mT.contiguous()
        colors = torch.from_numpy(self.grid.frame.rgb.reshape(-1, 3)[cell]).mT.float() / 255
        known = torch.from_numpy(inside)
        pixels = known * torch.from_numpy(self.sizes / sampled).float()[:, None]
        median_m = points_m.where(known[:, None], torch.nan).nanmedian(dim=2).values
        camera = self.grid.frame.camera
        return ObservedPoints(points_m, colors, pixels, median_m, (camera.fx * camera.fy) ** -0.5)
