"""Simulated tables: the truth agrees with the picture, the depth and the poses; a seed is a scene."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ism_ros.data.camera import Camera
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import make_object
from ism_ros.sim.benchmark_scenes.observation_cache import cached, read_observation, write_observation
from ism_ros.sim.benchmark_scenes.scene_rendering import observe, render_scene
from ism_ros.sim.benchmark_scenes.table_layout import CELL_M, Table
from ism_ros.sim.benchmark_scenes.table_scene import make_scene, orbit_camera
from ism_ros.sim.synthesis.resting_poses import make_resting_body

SMALL = Camera(np.array([[307.5, 0, 161], [0, 307.5, 119], [0, 0, 1]]), 320, 240)


@pytest.fixture(scope="module")
def known():
    return [make_scene_object(mesh) for mesh in known_objects(1)]


@pytest.fixture(scope="module")
def scene(known):
    return make_scene(2, known, camera=SMALL)


@pytest.fixture(scope="module")
def seen(scene):
    return render_scene(scene)


def test_scenes_hold_6_to_10_objects_3_to_5_of_them_known(known):
    for seed in range(3):
        placed = make_scene(seed, known, camera=SMALL).placed
        assert 6 <= len(placed) <= 10
        assert 3 <= sum(p.known for p in placed) <= 5
        names = {thing.name for thing in known}
        assert all((p.scene_object.name in names) == p.known for p in placed)


def test_masks_are_disjoint_and_tell_which_instance_each_pixel_shows(scene, seen):
    view, truth = seen
    assert truth.masks.sum(axis=0).max() == 1
    names = [p.scene_object.name for p in scene.placed]
    for mask, name in zip(truth.masks, truth.names, strict=True):
        shown = np.unique(view.instance[mask])
        assert len(shown) == 1
        assert names[shown[0]] == name


def test_poses_carry_the_surface_to_where_the_depth_is(scene, seen):
    view, truth = seen
    rows, columns = np.mgrid[: SMALL.height, : SMALL.width]
    ray = np.stack([(columns - SMALL.cx) / SMALL.fx, (rows - SMALL.cy) / SMALL.fy, np.ones(rows.shape)], -1)
    points = ray * view.depth_m[..., None]
    surfaces = {p.scene_object.name: p.scene_object.surface for p in scene.placed}
    for mask, name, pose in zip(truth.masks, truth.names, truth.object_to_camera, strict=True):
        local = (points[mask] - pose[:3, 3]) @ pose[:3, :3]
        np.testing.assert_allclose(local, view.xyz_m[mask], atol=1e-4)
        corners = surfaces[name].triangles_m.reshape(-1, 3)
        assert (local > corners.min(axis=0) - 1e-4).all()
        assert (local < corners.max(axis=0) + 1e-4).all()


def test_visible_share_falls_where_something_stands_in_front(scene):
    def shares(placed):
        _, truth = render_scene(replace(scene, placed=placed), samples=1)
        return dict(zip(truth.names, truth.visible_share, strict=True))

    together = shares(scene.placed)
    hidden = min(together, key=lambda name: together[name])
    alone = shares(tuple(p for p in scene.placed if p.scene_object.name == hidden))
    assert together[hidden] < 0.9
    assert alone[hidden] > together[hidden]


def test_the_same_seed_gives_the_same_frame_and_another_noise_seed_another(known, scene):
    first, _ = observe(scene)
    again, _ = observe(make_scene(scene.seed, known, camera=SMALL))
    other, _ = observe(scene, seed=99)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    np.testing.assert_array_equal(first.depth_m, again.depth_m)
    assert (first.rgb != other.rgb).any()
    assert (first.depth_m != other.depth_m).any()


def test_a_full_turn_of_the_camera_sees_the_same(scene, seen):
    view, _ = render_scene(orbit_camera(scene, 2 * np.pi))
    assert (view.instance == seen[0].instance).mean() > 0.999
    half, _ = render_scene(orbit_camera(scene, np.pi), samples=1)
    assert (half.instance == seen[0].instance).mean() < 0.95


def test_things_lie_on_the_table_or_on_each_other_and_never_in_each_other(known):
    spans = []
    for placed in make_scene(6, known, camera=SMALL).placed:
        points = placed.scene_object.body.points @ placed.object_to_world[:3, :3].T + placed.object_to_world[:3, 3]
        assert points[:, 2].min() > -1e-6
        cells, group = np.unique(np.floor(points[:, :2] / CELL_M).astype(int), axis=0, return_inverse=True)
        low, high = np.full(len(cells), np.inf), np.full(len(cells), -np.inf)
        np.minimum.at(low, group.ravel(), points[:, 2])
        np.maximum.at(high, group.ravel(), points[:, 2])
        spans.append(
            {tuple(cell): span for cell, span in zip(cells, zip(low, high, strict=True), strict=True)}
        )
    for first, second in itertools.combinations(spans, 2):
        for cell in first.keys() & second.keys():
            (_, top), (bottom, _) = sorted((first[cell], second[cell]))
            assert bottom > top - 1e-6


def test_a_carton_rests_on_one_of_its_six_sides():
    body = make_resting_body(make_object("carton", 0))
    assert len(body.weights) == 6
    rng = np.random.default_rng(0)
    pose = Table().place(body, rng, stack=False, spread_m=0.1)
    upright = np.abs(pose[2, :3])
    assert upright.max() == pytest.approx(1.0)


def test_observations_are_read_back_as_they_were_written(scene, tmp_path):
    frame, truth = observe(scene)
    path = tmp_path / "scenes" / "one.npz"
    write_observation(path, frame, truth)
    read_frame, read_truth = read_observation(path)
    np.testing.assert_array_equal(read_frame.rgb, frame.rgb)
    np.testing.assert_array_equal(read_frame.depth_m, frame.depth_m)
    np.testing.assert_array_equal(read_truth.masks, truth.masks)
    assert read_truth.names == truth.names
    np.testing.assert_array_equal(read_truth.object_to_camera, truth.object_to_camera)


def test_a_cached_observation_is_made_once(scene, tmp_path):
    made = []

    def make():
        made.append(1)
        return observe(scene)

    cached(tmp_path / "a.npz", make)
    cached(tmp_path / "a.npz", make)
    assert len(made) == 1
