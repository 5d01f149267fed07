"""Places where objects lie: tables, piles, bins, bins of equal parts, floors, shelves, seats, fronts of machines.

A place has a height field on which objects come to rest, surfaces around them, and says from where a camera sees it.
The world frame has z up, and the ground of the objects at z = 0; what stands upright in a picture does so by the roll
of the camera, so that the front of a machine is a ground that is looked at from above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface
from training.training_scenes.height_field_placement import Ground
from training.training_scenes.random_shapes import sweep_circle
from training.training_scenes.random_textures import random_color
from training.training_scenes.surroundings import (
    X,
    Y,
    block,
    furniture_around,
    ground_picture,
    sheet,
    solid,
    table_top,
    walls_around,
)

Array = NDArray[np.float64]
Rng = np.random.Generator
Range = tuple[float, float]

PART_LENGTH_M = 0.045, 0.13
"""Least and largest length of the objects of a place with few different ones, metres."""
OPEN_SIDE = -np.pi / 2
"""Azimuth from which shelves and seats are open, radians."""


@dataclass(frozen=True)
class Place:
    """A place without its objects.

    Attributes:
        ground: The height field on which objects come to rest.
        surfaces: What is drawn of it.
    """

    ground: Ground
    surfaces: tuple[Surface, ...]


@dataclass(frozen=True)
class PlaceKind:
    """What a kind of place means for its objects and the camera.

    Attributes:
        probability: Of a scene to be of this kind.
        build: Makes a place, given randomness, the azimuth of the camera (radians) and the color, (3,) RGB in
            [0, 255], that ground and objects share, or None.
        count: Least and largest number of objects.
        ways: How they are placed (`height_field_placement.place`), with the probability of each.
        spread_m: Least and largest deviation of their places from the middle, metres.
        scale: Least and largest factor of their sizes.
        azimuth: Range of the camera's azimuth, radians.
        elevation_deg: Range of its elevation.
        distance_m: Range of its distance at a focal length of 615 px, metres.
        different: Least and largest number of different objects, the long and thin ones preferred, all
            of PART_LENGTH_M; None = any, of sizes as `scale` says.
        metal: Share of such scenes in which all objects are of bare metal.
    """

    probability: float
    build: Callable[[Rng, float, Array | None], Place]
    count: tuple[int, int]
    ways: dict[str, float]
    spread_m: Range
    scale: Range = (0.75, 1.3)
    azimuth: Range = (0.0, 2 * np.pi)
    elevation_deg: Range = (18.0, 85.0)
    distance_m: Range = (0.45, 1.3)
    different: tuple[int, int] | None = None
    metal: float = 0.0


def _table(rng: Rng, azimuth: float, color: Array | None) -> Place:
    parts = table_top(rng, bool(rng.random() < 0.3), color) + walls_around(rng, azimuth)
    if rng.random() < 0.5:
        parts += furniture_around(rng, azimuth)
    return Place(Ground(), tuple(parts))


def _bin(rng: Rng, azimuth: float, color: Array | None) -> Place:
    inside, walls_m = (rng.uniform(0.28, 0.5), rng.uniform(0.24, 0.4)), rng.uniform(0.06, 0.22)
    thick, paint = rng.uniform(0.004, 0.02), random_color(rng) if color is None else color
    parts = table_top(rng, True, color) + walls_around(rng, azimuth)
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        extents = np.array((thick, inside[1] + 2 * thick, walls_m) if axis == 0 else (inside[0], thick, walls_m))
        at = np.zeros(3)
        at[axis], at[2] = sign * (inside[axis] / 2 + thick / 2), walls_m / 2
        parts.append(block(rng, extents, at, color=paint))
    return Place(Ground(walls_m, inside), tuple(parts))


def _floor(rng: Rng, azimuth: float, color: Array | None) -> Place:
    """A floor with walls and furniture near, and legs of tables and chairs among the objects."""
    repeats = float(rng.uniform(3, 14))
    parts = [sheet(np.zeros(3), X * 5, Y * 5, ground_picture(rng, color), repeats)]
    parts += walls_around(rng, azimuth, 0.6) + furniture_around(rng, azimuth, 0.7)
    ground = Ground()
    for _ in range(int(rng.integers(0, 5))):
        at, radius_m = rng.uniform(-0.45, 0.45, 2), rng.uniform(0.01, 0.035)
        leg = trimesh.creation.cylinder(radius=radius_m, height=1.2, sections=12)
        parts.append(solid(rng, leg, np.array((*at, 0.6))))
        ground.fill(at - radius_m, at + radius_m, 10.0)
    return Place(ground, tuple(parts))


def _shelf(rng: Rng, azimuth: float, color: Array | None) -> Place:
    """A board in a shelf, open towards OPEN_SIDE: boards above and below, back and sides."""
    width, depth, thick = rng.uniform(0.5, 0.9), rng.uniform(0.24, 0.42), rng.uniform(0.012, 0.03)
    above_m, below_m = rng.uniform(0.24, 0.5), rng.uniform(0.24, 0.5)
    wood = random_color(rng) if color is None else color
    board = np.array((width, depth, thick))
    parts = [sheet(np.array((0, 0, 0.0005)), X * width / 2, Y * depth / 2, ground_picture(rng, wood))]
    parts += [block(rng, board, np.array((0, 0, -thick / 2)), color=wood)]
    parts += [block(rng, board, np.array((0, 0, -below_m)), color=wood)]
    if rng.random() < 0.8:
        parts.append(block(rng, board, np.array((0, 0, above_m + thick / 2)), color=wood))
    high, middle = above_m + below_m + thick, (above_m - below_m) / 2
    if rng.random() < 0.7:
        parts.append(block(rng, np.array((width, 0.01, high)), np.array((0, depth / 2, middle)), color=wood))
    for side in (-1, 1):
        if rng.random() < 0.7:
            at = np.array((side * (width + thick) / 2, 0, middle))
            parts.append(block(rng, np.array((thick, depth, high)), at, color=wood))
    parts.append(sheet(np.array((0, depth / 2 + 0.05, 0)), X * 4, np.array((0, 0, 3.0)), ground_picture(rng), 2.0))
    parts.append(sheet(np.array((0, 0, -below_m - 0.3)), X * 5, Y * 5, ground_picture(rng), 6.0))
    return Place(Ground(1.0, (width - 0.02, depth - 0.02)), tuple(parts))


def _seat(rng: Rng, azimuth: float, color: Array | None) -> Place:
    """A chair, stool or sofa, open towards OPEN_SIDE: seat, perhaps a back and arms, floor and walls."""
    size, thick = rng.uniform(0.34, 0.6, 2), rng.uniform(0.02, 0.12)
    paint = random_color(rng) if color is None else color
    height_m = rng.uniform(0.3, 0.5)
    if rng.random() < 0.3:
        seat = trimesh.creation.cylinder(radius=size.min() / 2, height=thick, sections=48)
        inside = (float(size.min()) * 0.66,) * 2
    else:
        seat = trimesh.creation.box(extents=(*size, thick))
        inside = (float(size[0]) - 0.02, float(size[1]) - 0.02)
    parts = [solid(rng, seat, np.array((0, 0, -thick / 2)), color=paint)]
    if rng.random() < 0.5:
        parts.append(sheet(np.array((0, 0, 0.0005)), X * inside[0] / 2, Y * inside[1] / 2, ground_picture(rng, paint)))
    if rng.random() < 0.75:
        back = trimesh.creation.box(extents=(size[0], rng.uniform(0.015, 0.1), rng.uniform(0.2, 0.5)))
        back.apply_translation((0, 0, back.extents[2] / 2))
        back.apply_transform(trimesh.transformations.rotation_matrix(-rng.uniform(0, 0.35), (1, 0, 0)))
        parts.append(solid(rng, back, np.array((0, size[1] / 2 + 0.04, -0.02)), color=paint))
    if rng.random() < 0.3:
        for side in (-1, 1):
            arm = np.array((rng.uniform(0.03, 0.1), size[1], rng.uniform(0.1, 0.25)))
            at = np.array((side * (size[0] + arm[0]) / 2, 0, arm[2] / 2))
            parts.append(block(rng, arm, at, color=paint))
    for corner in np.array(((-1, -1), (-1, 1), (1, -1), (1, 1))) * 0.45 * size:
        leg = trimesh.creation.cylinder(radius=rng.uniform(0.01, 0.02), height=height_m, sections=12)
        parts.append(solid(rng, leg, np.array((*corner, -thick - height_m / 2)), color=paint))
    floor = np.array((0, 0, -thick - height_m))
    parts.append(sheet(floor, X * 5, Y * 5, ground_picture(rng), float(rng.uniform(3, 12))))
    parts += walls_around(rng, azimuth, 0.6)
    return Place(Ground(1.0, inside), tuple(parts))


def _machine(rng: Rng, azimuth: float, color: Array | None) -> Place:
    """The front of a machine or a fixture: plates, bosses, bolts, slots and cables on a ground of one color."""
    paint = np.asarray(rng.choice([225, 170, 120, 60, 25]) + rng.normal(0, 5, 3)) if color is None else color
    if color is None and rng.random() < 0.3:
        paint = np.asarray(random_color(rng), float)
    paint = np.clip(paint, 0, 255)
    parts = [sheet(np.zeros(3), X * 1.5, Y * 1.5, ground_picture(rng, paint), float(rng.uniform(2, 5)))]
    ground = Ground()
    for _ in range(int(rng.integers(2, 8))):
        size, high = rng.uniform(0.05, 0.4, 2), float(rng.choice([rng.uniform(0.002, 0.01), rng.uniform(0.01, 0.06)]))
        low = rng.uniform(-0.45, 0.45, 2) - size / 2
        tone = np.clip(paint * rng.uniform(0.85, 1.15), 0, 255) if rng.random() < 0.7 else random_color(rng)
        parts.append(block(rng, np.array((*size, high)), np.array((*(low + size / 2), high / 2)), color=tone))
        ground.fill(low, low + size, high)
    for _ in range(int(rng.integers(0, 14))):
        at, radius_m, high = rng.uniform(-0.4, 0.4, 2), rng.uniform(0.003, 0.012), rng.uniform(0.002, 0.01)
        bolt = trimesh.creation.cylinder(radius=radius_m, height=high, sections=int(rng.choice([6, 24])))
        parts.append(solid(rng, bolt, np.array((*at, ground.height_at(at) + high / 2))))
    for _ in range(int(rng.integers(0, 5))):
        size, at = rng.uniform(0.01, 0.12, 2), rng.uniform(-0.4, 0.4, 2)
        slot = np.clip(rng.uniform(0, 40) + np.zeros(3), 0, 255)
        parts.append(block(rng, np.array((*size, 0.0008)), np.array((*at, ground.height_at(at))), color=slot))
    for _ in range(int(rng.integers(0, 3))):
        t = np.linspace(0, 1, 24)
        wave = 0.08 * np.sin(t * rng.uniform(2, 7) + rng.uniform(0, 6))
        radius_m = rng.uniform(0.002, 0.008)
        cable = sweep_circle(np.stack([wave, 0 * t, t * rng.uniform(0.3, 1.0) - 0.4], 1), np.full(24, radius_m), 8)
        cable.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0)))
        at = np.array((*rng.uniform(-0.3, 0.3, 2), float(ground.height[ground.height < 1].max()) + radius_m))
        parts.append(solid(rng, cable, at, rng.uniform(0, 6)))
    return Place(ground, tuple(parts))


SIDE_BY_SIDE = {"free": 0.4, "touching": 0.4, "on_top": 0.2}
SPARSE = {"free": 0.7, "touching": 0.2, "on_top": 0.1}
FROM_FRONT = (OPEN_SIDE - 0.8, OPEN_SIDE + 0.8)

PLACES = {
    "table": PlaceKind(0.29, _table, (2, 15), SIDE_BY_SIDE, (0.1, 0.24)),
    "pile": PlaceKind(0.1, _table, (6, 18), {"pile": 1.0}, (0.04, 0.12)),
    "bin": PlaceKind(0.1, _bin, (6, 18), {"pile": 1.0}, (0.04, 0.12), elevation_deg=(45, 90)),
    "parts": PlaceKind(
        0.2,
        _bin,
        (10, 40),
        {"heap": 0.8, "pile": 0.2},
        (0.035, 0.1),
        elevation_deg=(45, 90),
        distance_m=(0.35, 0.8),
        different=(1, 2),
        metal=0.6,
    ),
    "floor": PlaceKind(
        0.09, _floor, (1, 9), SPARSE, (0.15, 0.42), (0.8, 2.2), elevation_deg=(15, 70), distance_m=(0.7, 2.4)
    ),
    "shelf": PlaceKind(0.07, _shelf, (2, 10), SIDE_BY_SIDE, (0.12, 0.3), (0.7, 1.4), FROM_FRONT, (0, 35), (0.45, 1.5)),
    "seat": PlaceKind(0.07, _seat, (1, 6), SPARSE, (0.06, 0.18), (0.7, 1.5), FROM_FRONT, (15, 70), (0.6, 2.0)),
    "machine": PlaceKind(
        0.08, _machine, (1, 8), {"free": 0.4, "on_top": 0.6}, (0.1, 0.26), (0.35, 1.1), distance_m=(0.3, 1.2)
    ),
}
"""Kinds of places by name; their order is part of the random streams."""
