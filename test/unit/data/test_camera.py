"""The pinhole camera: pixels to rays and points, and back, with arrays and with tensors."""

from __future__ import annotations

import numpy as np
import torch

from ism_ros.data.camera import Camera

CAMERA = Camera(np.array([[400.0, 0, 31.5], [0, 410.0, 23.0], [0, 0, 1]]), 64, 48)


def test_the_principal_point_is_straight_ahead() -> None:
    point_m = CAMERA.back_project(np.array([31.5]), np.array([23.0]), np.array([2.0]))
    assert point_m.tolist() == [[0.0, 0.0, 2.0]]


def test_x_is_right_and_y_is_down() -> None:
    x, y = CAMERA.normalized(np.array([63]), np.array([47]))
    assert x[0] == 31.5 / 400
    assert y[0] == 24 / 410


def test_points_are_projected_to_where_they_came_from() -> None:
    v, u = np.mgrid[:48, :64].astype(np.float64)
    depth_m = 0.3 + 0.01 * u
    there = CAMERA.project(CAMERA.back_project(u, v, depth_m))
    np.testing.assert_allclose(there, (u, v), atol=1e-9)


def test_rays_times_depth_are_points() -> None:
    v, u = np.mgrid[:48, :64].astype(np.float32)
    depth_m = np.full((48, 64), 1.5, np.float32)
    assert CAMERA.rays().dtype == np.float32
    np.testing.assert_allclose(CAMERA.rays() * 1.5, CAMERA.back_project(u, v, depth_m), rtol=1e-6)


def test_a_shift_moves_all_pixels() -> None:
    u, v = np.arange(64), np.arange(48)
    moved = CAMERA.normalized(u, v, (0.25, -0.5))
    np.testing.assert_allclose(moved[0], CAMERA.normalized(u + 0.25, v)[0], atol=1e-12)
    np.testing.assert_allclose(moved[1], CAMERA.normalized(u, v - 0.5)[1], atol=1e-12)


def test_tensors_give_tensors_and_shapes_broadcast() -> None:
    depth_m = torch.rand(48, 64) + 0.5
    columns, rows = torch.arange(64), torch.arange(48)[:, None]
    points_m = CAMERA.back_project(columns, rows, depth_m)
    assert points_m.shape == (48, 64, 3)
    assert points_m.dtype == torch.float32
    there = CAMERA.back_project(columns.numpy(), rows.numpy(), depth_m.numpy())
    np.testing.assert_allclose(points_m.numpy(), there, rtol=1e-5, atol=1e-7)
    for pixels, known in zip(CAMERA.project(points_m), (columns, rows), strict=True):
        torch.testing.assert_close(pixels, known.float().expand(48, 64), rtol=0, atol=1e-3)
