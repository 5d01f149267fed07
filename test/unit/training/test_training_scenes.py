"""Places, paint and hands of training scenes: what is promised of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("embreex")

from ism_ros.data.camera import Camera
from ism_ros.rendering.renderer import View
from training.training_scenes.hands import hand
from training.training_scenes.height_field_placement import Ground, place, tilt
from training.training_scenes.places import PLACES
from training.training_scenes.random_objects import BankObject, make_object
from training.training_scenes.random_scenes import Paint, add_reflections, kind_of_scene, make_scene

AZIMUTH = -1.5


@pytest.fixture(scope="module")
def bank() -> list[BankObject]:
    return [make_object(seed) for seed in range(4)]


def seed_of(kind: str, first: int = 0) -> int:
    """First seed whose scene is of a kind of place."""
    return next(seed for seed in range(first, first + 500) if kind_of_scene(np.random.default_rng([23, seed])) == kind)


def test_each_scene_is_of_one_kind_of_place() -> None:
    assert sum(kind.probability for kind in PLACES.values()) == pytest.approx(1.0)
    for kind in PLACES.values():
        assert sum(kind.ways.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", list(PLACES))
def test_objects_lie_in_each_kind_of_place_before_the_camera(name: str, bank: list[BankObject]) -> None:
    scenes = [make_scene(seed_of(name, first), bank) for first in (0, 1000, 2000)]
    assert any(scene.placed for scene in scenes)
    assert all(scene.surroundings for scene in scenes)
    in_camera = [scene.world_to_camera @ one.object_to_world[:, 3] for scene in scenes for one in scene.placed]
    assert np.mean([centre[2] > 0.05 for centre in in_camera]) > 0.8


def test_a_bin_of_parts_holds_many_of_one_or_two_kinds_each_of_one_size(bank: list[BankObject]) -> None:
    scenes = [make_scene(seed_of("parts", first), bank) for first in (0, 1000, 2000)]
    for scene in scenes:
        sizes = {(one.index, one.scale) for one in scene.placed}
        assert len(sizes) <= 2
        assert len(scene.placed) > 5
        for index, scale in sizes:
            assert 0.04 < scale * np.ptp(bank[index].points, axis=0).max() < 0.14


def test_parts_of_bare_metal_are_all_alike(bank: list[BankObject]) -> None:
    scenes = [make_scene(seed_of("parts", first), bank) for first in range(0, 2000, 200)]
    paints = [{id(one.paint): one.paint for one in scene.placed} for scene in scenes]
    metal = [next(iter(of.values())) for of in paints if len(of) == 1]
    assert any(paint is not None and paint.shine >= 0.4 for paint in metal)


def test_what_lies_in_a_heap_is_tilted_a_little(bank: list[BankObject]) -> None:
    tilts = [np.arccos(tilt(np.random.default_rng(seed))[2, 2]) for seed in range(50)]
    assert 0 < np.median(tilts) < 0.4


@pytest.mark.parametrize("name", ["shelf", "seat", "bin"])
def test_objects_stay_within_what_holds_them(name: str, bank: list[BankObject]) -> None:
    rng = np.random.default_rng(5)
    ground = PLACES[name].build(rng, AZIMUTH, None).ground
    made = bank[0]
    inside = np.argwhere(ground.height < 10)
    for _ in range(6):
        pose = place(ground, 0.5 * made.points, made.rotations, made.weights, rng, "free", 0.1)
        if pose is None:
            continue
        points = 0.5 * made.points @ pose[:3, :3].T + pose[:3, 3]
        cells = points[:, :2] / 0.005 + len(ground.height) / 2
        assert (cells >= inside.min(axis=0) - 1e-6).all()
        assert (cells <= inside.max(axis=0) + 1 + 1e-6).all()


def test_what_lies_on_a_plate_lies_higher() -> None:
    ground = Ground()
    ground.fill(np.array((-0.1, -0.05)), np.array((0.1, 0.05)), 0.03)
    assert ground.height_at(np.zeros(2)) == 0.03
    assert ground.height_at(np.array((0.2, 0.0))) == 0.0


def test_painted_objects_are_nearly_of_the_color_of_what_they_lie_on(bank: list[BankObject]) -> None:
    scene = next(s for s in (make_scene(seed, bank) for seed in range(200)) if s.placed and s.placed[0].paint)
    paint = scene.placed[0].paint
    assert paint is not None
    texture = bank[scene.placed[0].index].surface.texture
    assert texture is not None
    painted = paint.texture(texture).astype(float)
    assert abs(painted.mean(axis=(0, 1)) - paint.color).max() < 25
    assert painted.std() <= texture.astype(float).std() + 1


def test_only_what_may_be_painted_is(bank: list[BankObject]) -> None:
    paintable = [True, False, False, False]
    for seed in range(20):
        for placed in make_scene(seed, bank, paintable).placed:
            assert placed.paint is None or placed.index == 0


def test_a_coat_without_contrast_is_of_one_color() -> None:
    texture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    painted = Paint(np.array((200.0, 10.0, 90.0)), 0.0, 0.0).texture(texture)
    assert (painted == (200, 10, 90)).all()


def test_a_hand_is_as_large_as_one_and_near_what_it_reaches_for() -> None:
    at = np.array((0.1, -0.2, 0.05))
    corners = hand(np.random.default_rng(2), at).triangles_m.reshape(-1, 3)
    assert np.linalg.norm(corners - at, axis=1).min() < 0.08
    assert 0.4 < np.ptp(corners, axis=0).max() < 0.8


def test_metal_reflects_lamps_and_dark_walls_and_what_is_dull_nothing() -> None:
    camera = Camera(np.array([[80.0, 0, 32], [0, 80, 24], [0, 0, 1]]), 64, 48)
    x, y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 48))
    depth_m = (0.6 + 0.1 * (x**2 + y**2)).astype(np.float32)  # a bowl, which faces many ways
    gray = np.full((48, 64, 3), 120, np.uint8)
    view = View(gray, depth_m, np.zeros((48, 64), np.int32), np.zeros((48, 64, 3), np.float32))
    dull = add_reflections(view, np.zeros((48, 64), np.float32), camera, np.random.default_rng(0))
    np.testing.assert_array_equal(dull, gray)
    shine = np.zeros((48, 64), np.float32)
    shine[:, 32:] = 1
    ranges, darkest = [], 255.0
    for seed in range(12):
        shown = add_reflections(view, shine, camera, np.random.default_rng(seed)).astype(float)
        np.testing.assert_array_equal(shown[:, :32], gray[:, :32])
        ranges.append(np.ptp(shown[:, 32:]))
        darkest = min(shown[:, 32:].min(), darkest)
    assert max(ranges) > 120
    assert darkest < 60
