"""Coarse poses: from what is under a mask and the views of an object, with a covariance that can be relied on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from ism_ros.cad.surfaces import surface_of
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.descriptors.base import create_descriptor
from ism_ros.objects.library import ObjectLibrary
from ism_ros.objects.onboarding import onboard
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import views_of_object
from ism_ros.pose.alignment import ViewAlignment, align_views, correlate_maps
from ism_ros.pose.coarse_pose import CoarsePose, coarse_poses
from ism_ros.pose.estimation import with_coarse_poses
from ism_ros.pose.observed_points import sample_observed_points
from ism_ros.refinement.covariance import unknown_covariance
from ism_ros.rendering.renderer import render
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.rendering.views.polar_maps import ViewMaps, fourier_maps, make_view_maps
from ism_ros.sim.benchmark_scenes.objects.object_catalog import export_cad, make_object

CAMERA = Camera(np.array([[615.0, 0, 322.5], [0, 615.0, 238.5], [0, 0, 1]]), 640, 480)
SPACING_DEG = 36.0


@pytest.fixture(scope="module")
def drill() -> trimesh.Trimesh:
    return make_object("drill", 2)


@pytest.fixture(scope="module")
def views(drill: trimesh.Trimesh) -> ViewMaps:
    views = views_of_object(drill, render_templates(drill, size_px=128))
    assert views is not None
    return views


def seen(mesh: trimesh.Trimesh, rotation: Rotation, translation_m: tuple[float, float, float]) -> tuple:
    """rgb, depth, mask of `mesh` alone in front of the camera."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.as_matrix(), translation_m
    view = render([surface_of(mesh)], [pose], CAMERA, background=(120, 120, 124), samples=1)
    return view.rgb, view.depth_m, view.instance == 0


def alignment_of(views: ViewMaps, rgb: np.ndarray, depth_m: np.ndarray, *masks: np.ndarray) -> ViewAlignment:
    stack = torch.from_numpy(np.stack(masks))
    observed = sample_observed_points(stack, boxes_from_masks(stack), Frame(rgb, depth_m, CAMERA))
    return align_views(observed, views, fourier_maps(torch.from_numpy(views.maps).float(), views.radius_m))


def pose_of(views: ViewMaps, rgb: np.ndarray, depth_m: np.ndarray, mask: np.ndarray) -> CoarsePose:
    (pose,) = coarse_poses(alignment_of(views, rgb, depth_m, mask), views)
    assert pose is not None
    return pose


def angle_deg(pose: CoarsePose, rotation: Rotation) -> float:
    return float(np.degrees((Rotation.from_matrix(pose.rotation).inv() * rotation).magnitude()))


@pytest.mark.parametrize("seed", range(6))
def test_a_pose_is_within_the_spacing_of_the_views_and_two_centimetres(
    drill: trimesh.Trimesh, views: ViewMaps, seed: int
) -> None:
    rotation, place = Rotation.random(random_state=seed), (-0.12 + 0.05 * seed, 0.1 - 0.04 * seed, 0.6 + 0.05 * seed)
    pose = pose_of(views, *seen(drill, rotation, place))
    assert angle_deg(pose, rotation) <= SPACING_DEG
    assert np.linalg.norm(pose.translation_m - place) <= 0.02


def test_the_origin_lies_behind_the_surface_that_is_seen(drill: trimesh.Trimesh, views: ViewMaps) -> None:
    rgb, depth_m, mask = seen(drill, Rotation.from_euler("x", -60, degrees=True), (0.0, 0.0, 0.7))
    pose = pose_of(views, rgb, depth_m, mask)
    assert depth_m[mask].mean() < 0.69
    assert pose.translation_m[2] == pytest.approx(0.7, abs=0.01)


def test_an_object_at_the_edge_of_the_image_is_seen_along_the_ray_to_it(
    drill: trimesh.Trimesh, views: ViewMaps
) -> None:
    # 24 degrees off the axis, but seen from the camera exactly as in one of the views
    place = np.array([0.28, 0.07, 0.63])
    ray = Rotation.align_vectors([place], [[0, 0, 1]])[0]
    turns = [ray * Rotation.from_matrix(shift) for shift in views.rotations[::3]]
    angles = np.array([angle_deg(pose_of(views, *seen(drill, shift, tuple(place))), shift) for shift in turns])
    assert np.median(angles) < 5
    assert (angles < 20).mean() > 0.8


def test_stray_readings_under_the_mask_do_not_move_the_pose(drill: trimesh.Trimesh, views: ViewMaps) -> None:
    rgb, depth_m, mask = seen(drill, Rotation.random(random_state=3), (0.0, 0.0, 0.6))
    clean = pose_of(views, rgb, depth_m, mask)
    rows, columns = np.nonzero(mask)
    stray = np.random.default_rng(0).random(len(rows)) < 0.1
    depth_m = depth_m.copy()
    depth_m[rows[stray], columns[stray]] = 2.5
    assert np.linalg.norm(pose_of(views, rgb, depth_m, mask).translation_m - clean.translation_m) < 0.01


def test_a_covariance_is_symmetric_and_positive(drill: trimesh.Trimesh, views: ViewMaps) -> None:
    covariance = pose_of(views, *seen(drill, Rotation.random(random_state=1), (0.1, 0.0, 0.7))).covariance
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_what_looks_the_same_from_all_sides_has_a_covariance_that_says_so() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.04)
    templates = render_templates(ball, size_px=96)
    of_ball = make_view_maps([*templates.rgb], [*templates.masks], [*templates.xyz_m], templates.rotations)
    pose = pose_of(of_ball, *seen(ball, Rotation.identity(), (0.0, 0.0, 0.6)))
    assert np.sqrt(np.diag(pose.covariance)[3:]).min() > np.radians(45)
    assert np.sqrt(np.diag(pose.covariance)[:3]).max() < 0.02
    assert np.linalg.norm(pose.translation_m - (0.0, 0.0, 0.6)) < 0.005


def test_a_hidden_half_widens_the_covariance(drill: trimesh.Trimesh, views: ViewMaps) -> None:
    rgb, depth_m, mask = seen(drill, Rotation.random(random_state=5), (0.0, 0.0, 0.6))
    whole = pose_of(views, rgb, depth_m, mask)
    half = mask.copy()
    half[:, : int(np.nonzero(mask)[1].mean())] = False
    hidden = pose_of(views, rgb, depth_m, half)
    assert np.trace(hidden.covariance[:3, :3]) > 1.5 * np.trace(whole.covariance[:3, :3])


def test_a_mask_without_depth_has_no_pose_and_leaves_the_others_theirs(drill: trimesh.Trimesh, views: ViewMaps) -> None:
    rgb, depth_m, mask = seen(drill, Rotation.random(random_state=1), (0.0, 0.0, 0.7))
    corner = np.zeros_like(mask)
    corner[:60, :60] = True
    alone = pose_of(views, rgb, depth_m, mask)
    depth_m[corner] = 0.0
    nowhere, pose, empty = coarse_poses(alignment_of(views, rgb, depth_m, corner, mask, np.zeros_like(mask)), views)
    assert nowhere is None
    assert empty is None
    assert pose is not None
    np.testing.assert_allclose(pose.translation_m, alone.translation_m, atol=1e-5)


def test_a_view_is_aligned_best_with_itself_unrotated(views: ViewMaps) -> None:
    maps, numbers = torch.from_numpy(views.maps).double(), [0, 7, 41]
    alignment = correlate_maps(maps[numbers], fourier_maps(maps, views.radius_m), views.radius_m)
    assert alignment.iou.max() <= 1.0
    view, shift = np.unravel_index(alignment.cost.flatten(1).argmin(dim=1).numpy(), alignment.cost.shape[1:])
    assert view.tolist() == numbers
    assert shift.tolist() == [0, 0, 0]


def test_an_in_plane_rotation_of_a_view_is_found(views: ViewMaps) -> None:
    maps = torch.from_numpy(views.maps).double()
    alignment = correlate_maps(maps[5:6].roll(9, dims=-1), fourier_maps(maps, views.radius_m), views.radius_m)
    assert np.unravel_index(int(alignment.cost.argmin()), alignment.cost.shape[1:]) == (5, 9)


def test_an_alignment_is_the_sum_over_the_cells_of_the_maps(views: ViewMaps) -> None:
    # the sums that the transforms stand for, written out for one view in one rotation
    maps, shift = torch.from_numpy(views.maps).double(), 4
    ours, theirs = maps[3], maps[11].roll(shift, dims=-1)
    alignment = correlate_maps(maps[3:4], fourier_maps(maps[11:12], views.radius_m), views.radius_m)
    ring = torch.arange(8, dtype=torch.float64)[:, None]
    area_m2 = torch.pi * views.radius_m**2 * (2 * ring + 1) / 64 / 36
    common_area_m2 = ours[0] * theirs[0] * area_m2
    common = common_area_m2.sum()
    iou = common / ((ours[0] * area_m2).sum() + (theirs[0] * area_m2).sum() - common)
    offset_m = (common_area_m2 * (ours[1] - theirs[1])).sum() / common
    depth_mse_m2 = (common_area_m2 * (ours[1] - theirs[1]) ** 2).sum() / common - offset_m**2
    color = (common_area_m2 * ((ours[2:] - theirs[2:]) ** 2).sum(dim=0)).sum() / common
    cost = 1 - iou + 20 * depth_mse_m2 / (1.6 * views.radius_m) ** 2 + 0.3 * color
    pairs = [(alignment.iou, iou), (alignment.depth_offset_m, offset_m)]
    pairs += [(alignment.depth_rmse_m, depth_mse_m2.sqrt()), (alignment.cost, cost)]
    for found, wanted in pairs:
        torch.testing.assert_close(found[0, 0, shift], wanted, atol=1e-6, rtol=1e-6)


def test_the_prior_of_a_view_is_subtracted_from_its_cost(views: ViewMaps) -> None:
    maps = torch.from_numpy(views.maps).float()
    alignment = correlate_maps(maps[7:8], fourier_maps(maps, views.radius_m), views.radius_m)
    prior = torch.zeros(1, len(maps))
    cost, depth_rmse_m, view = alignment.best(prior)
    assert view.tolist() == [7]
    assert cost.item() == pytest.approx(float(alignment.cost[0, 7].min()))
    assert depth_rmse_m.item() == pytest.approx(float(alignment.depth_rmse_m[0, 7, alignment.cost[0, 7].argmin()]))
    prior[0, 20] = 5.0
    cost, depth_rmse_m, view = alignment.best(prior)
    assert view.tolist() == [20]
    assert cost.item() == pytest.approx(float(alignment.cost[0, 20].min()))
    assert depth_rmse_m.item() == pytest.approx(float(alignment.depth_rmse_m[0, 20, alignment.cost[0, 20].argmin()]))


@pytest.fixture(scope="module")
def library(drill: trimesh.Trimesh, tmp_path_factory: pytest.TempPathFactory) -> ObjectLibrary:
    folder = tmp_path_factory.mktemp("drill")
    spec = ObjectSpec("drill", cad=export_cad(drill, folder), units="m", category_id=1)
    descriptor = create_descriptor("tiny")
    onboard(spec, descriptor, folder / "cache")
    # the second time from the cache
    return ObjectLibrary().with_object(onboard(spec, descriptor, folder / "cache"))


def detections_of(mask: np.ndarray) -> Detections:
    """One detection with the pose it was scored with."""
    masks = torch.from_numpy(mask)[None]
    one = torch.ones(1)
    return Detections(
        masks, boxes_from_masks(masks), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64),
        one, one, one, one, one, torch.eye(3)[None], torch.tensor([[0.0, 0.0, 0.55]]), ("drill",), (1,),
    )  # fmt: skip


def test_detections_get_the_pose_its_covariance_and_the_box_of_the_model(
    drill: trimesh.Trimesh, library: ObjectLibrary
) -> None:
    rotation, place = Rotation.random(random_state=2), (-0.02, 0.02, 0.7)
    rgb, depth_m, mask = seen(drill, rotation, place)
    posed = with_coarse_poses(detections_of(mask), Frame(rgb, depth_m, CAMERA), library)
    assert np.linalg.norm(posed.translation_m[0].numpy() - place) <= 0.02
    assert posed.pose_covariance is not None
    assert posed.pose_covariance.shape == (1, 6, 6)
    assert posed.model_box_m is not None
    np.testing.assert_allclose(posed.model_box_m[0].numpy(), drill.bounds, atol=0.004)


def test_an_object_without_views_keeps_its_pose_with_a_covariance_of_not_knowing(library: ObjectLibrary) -> None:
    mask = np.zeros((480, 640), bool)
    mask[200:260, 300:360] = True
    frame = Frame(np.zeros((480, 640, 3), np.uint8), np.full((480, 640), 0.6, np.float32), CAMERA)
    bare = ObjectLibrary().with_object(replace(library.objects[0], views=None))
    posed = with_coarse_poses(detections_of(mask), frame, bare)
    torch.testing.assert_close(posed.translation_m, torch.tensor([[0.0, 0.0, 0.55]]))
    assert posed.pose_covariance is not None
    np.testing.assert_allclose(posed.pose_covariance[0].numpy(), unknown_covariance(), rtol=1e-6)


def test_what_has_no_pose_has_none_afterwards(library: ObjectLibrary) -> None:
    mask = np.zeros((480, 640), bool)
    mask[200:260, 300:360] = True
    without = replace(detections_of(mask), translation_m=torch.full((1, 3), torch.nan))
    posed = with_coarse_poses(without, Frame(np.zeros((480, 640, 3), np.uint8), None, CAMERA), library)
    assert posed.pose_covariance is not None
    assert torch.isnan(posed.pose_covariance).all()
    assert torch.isnan(posed.translation_m).all()
