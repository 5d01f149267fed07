"""Refinement of poses against noisy depth, start poses, and what the covariance leaves open."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from lone_objects import batch, known, observed, pose, samples_of, seen
from scipy.spatial.transform import Rotation

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.objects.known_object import KnownObject
from ism_ros.pose.observed_points import ObservedPoints, sample_observed_points
from ism_ros.pose.start_poses import MIN_DIFFERENCE_RAD, StartPoses, start_poses
from ism_ros.pose.view_choice import observed_maps, rank_views
from ism_ros.refinement.pose_batch import PoseBatch, joined
from ism_ros.refinement.projective_icp import fit_quality, pose_covariances, refine
from ism_ros.refinement.torch_icp import rotation_of_vector

PLACE = (-0.02, 0.01, 0.6)
SIDE = Rotation.from_euler("xyz", (35, 40, 10), degrees=True)
"""Three faces of the box are seen."""


@pytest.fixture(scope="module")
def mesh() -> trimesh.Trimesh:
    return trimesh.creation.box((0.10, 0.07, 0.05))


@pytest.fixture(scope="module")
def box(mesh: trimesh.Trimesh) -> KnownObject:
    return known("box", mesh)


@pytest.fixture(scope="module")
def can_mesh() -> trimesh.Trimesh:
    return trimesh.creation.cylinder(0.035, 0.10, sections=96)


@pytest.fixture(scope="module")
def can(can_mesh: trimesh.Trimesh) -> KnownObject:
    return known("can", can_mesh)


POST = trimesh.creation.box((0.04, 0.4, 0.01)), pose(Rotation.identity(), (-0.055, 0.0, 0.45))
"""A post that hides the left third of what is at PLACE."""


def differences(found: PoseBatch, wanted: PoseBatch) -> tuple[float, float]:
    """Degrees and metres."""
    turn = Rotation.from_matrix((found.rotation[0] @ wanted.rotation[0].T).numpy())
    return float(np.degrees(turn.magnitude())), float((found.centre_m - wanted.centre_m).norm())


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-0.6, 0.0, 0.8)])
@pytest.mark.parametrize("is_hidden", [False, True], ids=["whole", "a third hidden"])
def test_a_pose_off_by_8_degrees_and_1_cm_becomes_right_within_1_degree_and_2_mm(
    mesh: trimesh.Trimesh, box: KnownObject, axis: tuple[float, float, float], is_hidden: bool
) -> None:
    at = pose(SIDE, PLACE)
    frame, mask = seen(mesh, at, nearer=POST if is_hidden else None)
    if is_hidden:
        hidden = 1 - mask.sum() / seen(mesh, at)[1].sum()
        assert 0.2 < hidden < 0.5
    off = Rotation.from_rotvec(np.radians(8) * np.array(axis)) * SIDE
    start = batch(box, pose(off, tuple(np.add(PLACE, 0.01 * np.roll(axis, 1)))))
    refined = refine(start, samples_of(box, start), observed(frame, mask)[0], steps=9)
    angle_deg, distance_m = differences(refined, batch(box, at))
    assert angle_deg < 1.0
    assert distance_m < 0.002


def test_a_refined_pose_fits_better_than_where_it_began(mesh: trimesh.Trimesh, box: KnownObject) -> None:
    at = pose(SIDE, PLACE)
    under, _ = observed(*seen(mesh, at))
    start = batch(box, pose(Rotation.from_euler("x", 8, degrees=True) * SIDE, PLACE))
    samples = samples_of(box, start)
    before, after = (fit_quality(poses, samples, under) for poses in (start, refine(start, samples, under, 9)))
    assert 0 <= before.item() < after.item() <= 2
    assert after.item() > 1.4


def test_each_of_several_poses_is_refined_as_if_it_were_alone(mesh: trimesh.Trimesh, box: KnownObject) -> None:
    under, _ = observed(*seen(mesh, pose(SIDE, PLACE)))
    turned = [pose(Rotation.from_euler(axis, 6, degrees=True) * SIDE, PLACE) for axis in "xyz"]
    together = batch(box, *turned)
    moved = refine(together, samples_of(box, together), under, 5)
    for row, start in enumerate(turned):
        alone = batch(box, start)
        wanted = refine(alone, samples_of(box, alone), under, 5)
        torch.testing.assert_close(moved.rotation[row], wanted.rotation[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(moved.centre_m[row], wanted.centre_m[0], atol=1e-5, rtol=0)


def test_where_there_is_no_depth_and_no_outline_nearby_a_pose_stays_finite(
    mesh: trimesh.Trimesh, box: KnownObject
) -> None:
    frame, mask = seen(mesh, pose(SIDE, PLACE))
    corner = np.zeros_like(mask)
    corner[0, 0] = True
    frame.depth_m[:] = 0.0
    start = batch(box, pose(SIDE, PLACE))
    under, _ = observed(frame, corner)
    refined = refine(start, samples_of(box, start), under, 9)
    assert torch.isfinite(refined.rotation).all()
    assert torch.isfinite(refined.centre_m).all()
    assert torch.isfinite(pose_covariances(refined, samples_of(box, refined), under)).all()


def test_no_poses_are_no_poses_afterwards(mesh: trimesh.Trimesh, box: KnownObject) -> None:
    under, _ = observed(*seen(mesh, pose(SIDE, PLACE)))
    none = batch(box, pose(SIDE, PLACE))[torch.zeros(1, dtype=torch.bool)]
    assert len(refine(none, samples_of(box, none), under, 3)) == 0
    assert pose_covariances(none, samples_of(box, none), under).shape == (0, 6, 6)


def deviations_deg(one: KnownObject, mesh: trimesh.Trimesh, rotation: Rotation) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations of the rotation about the axes of the object, and of its centre in metres."""
    at = batch(one, pose(rotation, PLACE))
    covariance = pose_covariances(at, samples_of(one, at), observed(*seen(mesh, pose(rotation, PLACE)))[0])[0].numpy()
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-7)
    assert np.linalg.eigvalsh(covariance).min() > 0
    to_object = rotation.as_matrix().T
    of_axes = np.diag(to_object @ covariance[3:, 3:] @ to_object.T)
    return np.degrees(np.sqrt(of_axes)), np.sqrt(np.diag(covariance[:3, :3]))


def test_the_covariance_of_a_box_is_tight(mesh: trimesh.Trimesh, box: KnownObject) -> None:
    angles_deg, position_m = deviations_deg(box, mesh, SIDE)
    assert angles_deg.max() < 6
    assert position_m.max() < 0.005


def test_the_covariance_of_a_can_is_open_about_its_axis_alone(can_mesh: trimesh.Trimesh, can: KnownObject) -> None:
    angles_deg, position_m = deviations_deg(can, can_mesh, Rotation.from_euler("x", -60, degrees=True))
    x, y, about_axis = angles_deg
    assert max(x, y) < 6
    assert about_axis > 3 * max(x, y)
    assert position_m.max() < 0.005


def starts_under(points: ObservedPoints, one: KnownObject, count: int) -> StartPoses:
    assert one.views is not None
    maps = observed_maps(points, one.views.radius_m)
    return start_poses(maps, rank_views(maps, one.spectra), one.views, one.spectra, count, len(one.views.rotations))


def test_start_poses_differ_by_25_degrees_and_come_best_first(mesh: trimesh.Trimesh, box: KnownObject) -> None:
    frame, mask = seen(mesh, pose(SIDE, PLACE))
    masks = torch.from_numpy(mask)[None]
    points = sample_observed_points(masks, boxes_from_masks(masks), frame)
    starts = starts_under(points, box, 5)
    assert starts.rotation.shape == (1, 5, 3, 3)
    rotations = Rotation.from_matrix(starts.rotation[0].numpy())
    apart = [(rotations[i].inv() * rotations[j]).magnitude() for i in range(5) for j in range(i)]
    assert min(apart) >= MIN_DIFFERENCE_RAD - 1e-3
    assert (starts.cost[0].diff() >= 0).all()
    assert (starts.centre_m[0] - torch.tensor(PLACE)).norm(dim=1).max() < 0.03


def test_a_mask_without_depth_has_no_start_poses(mesh: trimesh.Trimesh, box: KnownObject) -> None:
    frame, mask = seen(mesh, pose(SIDE, PLACE))
    frame.depth_m[mask] = 0.0
    masks = torch.from_numpy(mask)[None]
    points = sample_observed_points(masks, boxes_from_masks(masks), frame)
    assert torch.isinf(starts_under(points, box, 3).cost).all()


def test_a_batch_has_the_start_poses_that_there_are() -> None:
    cost = torch.tensor([[0.1, torch.inf], [0.2, 0.3]])
    starts = StartPoses(torch.eye(3).expand(2, 2, 3, 3), torch.zeros(2, 2, 3), torch.tensor([[1, 0], [2, 3]]), cost)
    batch = joined([starts.batch(torch.tensor([4, 6]), 5), starts.batch(torch.tensor([7, 8]), 9)])
    assert batch.mask_index.tolist() == [4, 6, 6, 7, 8, 8]
    assert batch.object_index.tolist() == [5, 5, 5, 9, 9, 9]
    assert batch.view.tolist() == [1, 2, 3, 1, 2, 3]


def test_rotation_vectors_are_those_of_rodrigues() -> None:
    vectors = Rotation.random(20, random_state=0).as_rotvec()
    matrices = rotation_of_vector(torch.from_numpy(np.vstack([vectors, np.zeros((1, 3))])))
    np.testing.assert_allclose(matrices[:-1].numpy(), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(matrices[-1].numpy(), np.eye(3), atol=1e-9)
