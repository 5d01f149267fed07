"""The 42 viewpoints and their order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ism_ros.rendering.views.viewpoints import (
    VIEW_COUNT,
    camera_positions,
    edge_midpoint_rotations,
    look_at_origin,
    object_to_camera_rotations,
)

GOLDEN = Path(os.environ.get("ISM_GOLDEN_DIR") or Path(__file__).parents[2] / "golden")


def test_positions_come_in_the_order_of_the_reference() -> None:
    with np.load(GOLDEN / "viewpoints.npz") as golden:
        np.testing.assert_allclose(camera_positions(), golden["camera_position_unit"], rtol=0, atol=1e-5)


def test_rotations_are_those_of_the_reference() -> None:
    with np.load(GOLDEN / "viewpoints.npz") as golden:
        np.testing.assert_allclose(object_to_camera_rotations(), golden["object_to_camera_rotation"], rtol=0, atol=1e-5)


def test_rotations_are_right_handed_and_orthonormal() -> None:
    rotations = object_to_camera_rotations()
    assert rotations.shape == (VIEW_COUNT, 3, 3)
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (42, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


def test_no_two_views_are_the_same_and_every_opposite_is_there() -> None:
    cosines = camera_positions() @ camera_positions().T
    np.fill_diagonal(cosines, -2)
    assert cosines.max() < 0.87
    np.testing.assert_allclose(cosines.min(axis=1, where=cosines > -1.5, initial=2), -1.0)


def test_every_camera_looks_at_the_object_with_its_z_axis_up() -> None:
    positions, rotations = camera_positions(), object_to_camera_rotations()
    np.testing.assert_allclose(
        np.einsum("nij,nj->ni", rotations, positions), np.tile([0, 0, -1.0], (42, 1)), atol=1e-12
    )
    sideways = np.abs(positions[:, 2]) < 0.99
    assert (rotations[sideways, 1, 2] < 0).all()  # y points down in the picture, so z of the object points up
    np.testing.assert_allclose(rotations[:, 0, 2], 0, atol=1e-12)


def test_a_camera_on_the_z_axis_has_the_y_axis_of_the_object_up() -> None:
    for z in (-1.0, 1.0):
        np.testing.assert_allclose(look_at_origin(np.array([0, 0, z]))[1], [0, -1, 0], atol=1e-12)


def test_with_the_views_between_no_direction_is_further_than_twelve_degrees_from_one() -> None:
    views = np.concatenate([camera_positions(), -edge_midpoint_rotations()[:, 2]])
    assert views.shape == (162, 3)
    directions = np.random.default_rng(0).normal(size=(5000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.degrees(np.arccos((directions @ views.T).max(axis=1))).max() < 12


def test_each_view_between_is_as_far_from_one_neighbour_as_from_the_other() -> None:
    cosines = np.sort(-edge_midpoint_rotations()[:, 2] @ camera_positions().T, axis=1)
    np.testing.assert_allclose(cosines[:, -1], cosines[:, -2])
    assert (cosines[:, -1] > cosines[:, -3] + 0.05).all()
