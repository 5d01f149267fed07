"""Large planes are taken out of the depth, and what is left is cut into regions of an object's size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from lone_objects import CAMERA, pose, seen
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ism_ros.data.frame import Frame
from ism_ros.shape_search.sized_regions import SurfaceGrid

BOX = trimesh.creation.box((0.12, 0.08, 0.06))
SIDE = Rotation.from_euler("xyz", (35, 40, 10), degrees=True)
DIAMETER_M = float(np.linalg.norm(BOX.extents))


def of_scene(noise_m: float = 0.002) -> tuple[Frame, NDArray[np.bool_]]:
    """A box that stands out from a wall, and its mask."""
    return seen(BOX, pose(SIDE, (0.05, 0.02, 0.84)), noise_m)


def ious_with(regions: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    common, either = (regions & mask).sum(axis=(1, 2)), (regions | mask).sum(axis=(1, 2))
    return common / either


@pytest.mark.parametrize("noise_m", [0.0, 0.003])
def test_a_wall_is_taken_out_and_what_stands_before_it_is_left(noise_m: float) -> None:
    frame, mask = of_scene(noise_m)
    grid = SurfaceGrid.of(frame)
    inside = grid.cells_of(mask[None])[0]
    assert grid.is_left[inside].mean() > 0.85
    assert grid.is_left[~inside].mean() < 0.1


def test_the_points_of_the_grid_are_those_of_its_pixels() -> None:
    frame, _ = of_scene()
    grid = SurfaceGrid.of(frame)
    assert frame.depth_m is not None
    points_m = CAMERA.rays() * frame.depth_m[..., None]
    np.testing.assert_allclose(grid.cells_of(points_m.transpose(2, 0, 1)).transpose(1, 2, 0), grid.points_m, atol=1e-6)


def test_one_region_is_the_object_and_none_is_larger_than_it() -> None:
    frame, mask = of_scene()
    grid = SurfaceGrid.of(frame)
    regions = grid.regions(DIAMETER_M, np.zeros_like(grid.is_left)).masks()
    assert ious_with(regions, grid.cells_of(mask[None])[0]).max() > 0.8
    for region in regions:
        assert np.ptp(grid.points_m[region], axis=0).max() < 1.1 * DIAMETER_M


def test_two_things_that_touch_are_told_apart_by_their_size() -> None:
    at = pose(SIDE, (0.05, 0.02, 0.84))
    beside = at.copy()
    beside[:3, 3] += SIDE.apply((0.12, 0, 0))
    frame, mask = seen(BOX, at, nearer=(BOX, beside))
    grid = SurfaceGrid.of(frame)
    regions = grid.regions(DIAMETER_M, np.zeros_like(grid.is_left)).masks()
    assert ious_with(regions, grid.cells_of(mask[None])[0]).max() > 0.6


def test_nothing_is_searched_where_something_was_found() -> None:
    frame, mask = of_scene()
    grid = SurfaceGrid.of(frame)
    taken = grid.cells_of(mask[None])[0]
    regions = grid.regions(DIAMETER_M, taken).masks()
    assert not len(regions) or ious_with(regions, taken).max() < 0.5


def test_no_region_is_there_twice_and_ious_are_those_of_the_masks() -> None:
    frame, mask = of_scene()
    grid = SurfaceGrid.of(frame)
    regions = grid.regions(DIAMETER_M, np.zeros_like(grid.is_left))
    masks, inside = regions.masks(), grid.cells_of(mask[None])
    of_one_radius = len(np.unique(masks.reshape(len(masks), -1), axis=0))
    assert len(masks) <= 2 * of_one_radius
    np.testing.assert_allclose(regions.ious(inside)[:, 0], ious_with(masks, inside[0]))


def test_points_of_a_region_stand_for_all_of_its_cells() -> None:
    frame, _ = of_scene()
    grid = SurfaceGrid.of(frame)
    regions = grid.regions(2 * DIAMETER_M, np.zeros_like(grid.is_left))
    points, masks = regions.observed_points(), regions.masks()
    np.testing.assert_allclose(points.pixels.sum(dim=1).numpy(), masks.sum(axis=(1, 2)), rtol=1e-5)
    assert masks.sum(axis=(1, 2)).max() > points.pixels.shape[1]
    for row, mask in enumerate(masks):
        seen_m = points.points_m[row][:, points.pixels[row] > 0].numpy()
        np.testing.assert_allclose(seen_m.mean(axis=1), grid.points_m[mask].mean(axis=0), atol=2e-3)


@pytest.mark.parametrize("size", [(480, 640), (481, 643), (30, 40)])
def test_cells_are_enlarged_to_the_pixels_that_they_stand_for(size: tuple[int, int]) -> None:
    frame, _ = of_scene()
    assert frame.depth_m is not None
    height, width = size
    rgb, depth_m = np.zeros((height, width, 3), np.uint8), np.ones((height, width), np.float32)
    intrinsics = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    grid = SurfaceGrid.of(Frame(rgb, depth_m, type(CAMERA)(intrinsics, width, height)))
    cells = np.random.default_rng(0).random((2, *grid.is_left.shape)) < 0.5
    pixels = grid.pixels_of(torch.from_numpy(cells), size)
    assert pixels.shape == (2, *size)
    np.testing.assert_array_equal(grid.cells_of(pixels.numpy()), cells)


def test_the_region_in_the_box_of_the_right_pose_is_the_object() -> None:
    frame, mask = of_scene()
    grid = SurfaceGrid.of(frame)
    box_m = np.stack([-BOX.extents / 2, BOX.extents / 2]) * 1.1
    region = grid.within_box(SIDE.as_matrix().astype(np.float32), np.array([0.05, 0.02, 0.84], np.float32), box_m)
    assert region is not None
    assert ious_with(region[None], grid.cells_of(mask[None])[0]).item() > 0.8
    assert grid.within_box(np.eye(3, dtype=np.float32), np.array([0, 0, 5], np.float32), box_m) is None
