"""Places, paint and hands of training scenes: what is promised of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("embreex")

from training.training_scenes.hands import hand
from training.training_scenes.height_field_placement import Ground, place
from training.training_scenes.places import PLACES
from training.training_scenes.random_objects import BankObject, make_object
from training.training_scenes.random_scenes import Paint, kind_of_scene, make_scene

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
    for scene in scenes:
        assert scene.surroundings
        for placed in scene.placed:
            centre = scene.world_to_camera @ placed.object_to_world[:, 3]
            assert centre[2] > 0.05


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
