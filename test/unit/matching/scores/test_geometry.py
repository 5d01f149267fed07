"""Geometric verification where it differs from the reference on purpose, and at its edges."""

from __future__ import annotations

import torch

from ism_ros.data.camera import Camera
from ism_ros.matching.scores import geometry

INTRINSICS = torch.tensor([[100.0, 0.0, 20.0], [0.0, 100.0, 15.0], [0.0, 0.0, 1.0]])
CAMERA = Camera(INTRINSICS.numpy(), 41, 31)


def test_one_disjoint_pair_leaves_the_other_geometric_scores_alone() -> None:
    projected = torch.tensor([[0, 0, 10, 10], [50, 50, 60, 60]])
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10]])
    assert geometry.geometric_score(projected, boxes).tolist() == [1.0, 0.0]


def test_a_mask_without_depth_has_no_position() -> None:
    masks = torch.ones(2, 30, 40, dtype=torch.bool)
    masks[1, 10:] = False
    depth_m = torch.zeros(30, 40)
    depth_m[20:] = 1.0
    position_m, pixels = geometry.mean_position_m(masks, depth_m, CAMERA)
    assert pixels.tolist() == [400, 0]
    assert torch.isfinite(position_m[0]).all()
    assert torch.isnan(position_m[1]).all()


def test_a_flat_patch_of_depth_is_at_its_centre() -> None:
    masks = torch.zeros(1, 31, 41, dtype=torch.bool)
    masks[0, 10:21, 15:26] = True
    position_m, _ = geometry.mean_position_m(masks, torch.full((31, 41), 2.0), CAMERA)
    torch.testing.assert_close(position_m[0], torch.tensor([0.0, 0.0, 2.0]))


def test_points_behind_the_camera_stay_inside_the_image() -> None:
    points = torch.tensor([[0.0, 0.0, -5.0], [100.0, -100.0, 1.0]])
    box = geometry.projected_boxes(points, torch.eye(3)[None], torch.zeros(1, 3), INTRINSICS, (30, 40))
    assert (box >= 0).all()
    assert (box <= torch.tensor([39, 29, 39, 29])).all()
