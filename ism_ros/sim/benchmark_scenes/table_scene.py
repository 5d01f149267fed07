"""Cluttered tables: known objects among others of the same kinds, seen by one camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface
from ism_ros.data.camera import Camera
from ism_ros.rendering.scene import Lighting
from ism_ros.sim.benchmark_scenes.known_objects import UNSEEN_SEED, SceneObject, make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import KINDS, make_object
from ism_ros.sim.benchmark_scenes.room import TABLE_TOPS, make_room
from ism_ros.sim.benchmark_scenes.table_layout import Table
from ism_ros.sim.synthesis.camera_poses import direction_of, look_at, rotation_about_z

Array = NDArray[np.float64]

REALSENSE = Camera(np.array([[615.0, 0, 322.5], [0, 615.0, 238.5], [0, 0, 1]]), 640, 480)
"""Color camera of a RealSense D435 at 640 x 480, approximately."""

DEMO_SCENE = 33
"""Number of the table that the demo and the fake camera show: seven objects, all five known ones among them."""


@dataclass(frozen=True)
class PlacedObject:
    """An object at rest.

    Attributes:
        scene_object: The object.
        object_to_world: (4, 4) its pose, metres.
        known: Whether it is one of the objects that are to be found.
    """

    scene_object: SceneObject
    object_to_world: Array
    known: bool


@dataclass(frozen=True)
class Scene:
    """A table with objects on it, a room, a light and a camera; world frame z up, table top at z = 0.

    Attributes:
        seed: Number of the scene.
        placed: The objects on the table.
        room: Surfaces of table, floor and wall.
        table_top: Texture of the table top, one of room.TABLE_TOPS.
        camera: The camera.
        world_to_camera: (4, 4) its pose, metres.
        lighting: Intensities of the light.
        sun_direction: (3,) direction in the world in which the light travels.
    """

    seed: int
    placed: tuple[PlacedObject, ...]
    room: tuple[Surface, ...]
    table_top: str
    camera: Camera
    world_to_camera: Array
    lighting: Lighting
    sun_direction: Array


def make_scene(
    seed: int,
    known: Sequence[SceneObject],
    *,
    camera: Camera = REALSENSE,
    objects: tuple[int, int] = (6, 10),
    known_in_scene: tuple[int, int] = (3, 5),
) -> Scene:
    """Make one scene.

    About one scene in seven holds one known object twice; about one object in eight stands on another one. The
    others are of random kinds, those of the known objects included, in colors of the same palette. The camera is 0.55
    to 1.1 m away at 30 to 70 degrees above the table.

    Args:
        seed: Number of the scene.
        known: Objects that may be on the table as known ones.
        camera: The camera.
        objects: Least and largest number of objects.
        known_in_scene: Least and largest number of known objects.

    Returns:
        The scene; the same arguments give the same scene.
    """
    rng = np.random.default_rng([11, seed])
    count = int(rng.integers(objects[0], objects[1] + 1))
    known_count = min(int(rng.integers(known_in_scene[0], known_in_scene[1] + 1)), len(known), count)
    chosen = [known[i] for i in rng.choice(len(known), known_count, replace=False)] if known_count else []
    if chosen and len(chosen) < known_in_scene[1] and rng.random() < 0.15:
        chosen.append(chosen[int(rng.integers(len(chosen)))])
    known_count = len(chosen)
    while len(chosen) < count:
        kind = KINDS[int(rng.integers(len(KINDS)))]
        chosen.append(make_scene_object(make_object(kind, UNSEEN_SEED + int(rng.integers(1 << 40)))))

    spread = rng.uniform(0.13, 0.2)
    table = Table()
    placed = []
    for index in rng.permutation(len(chosen)):
        pose = table.place(chosen[index].body, rng, stack=rng.random() < 0.15, spread_m=spread)
        if pose is not None:
            placed.append(PlacedObject(chosen[index], pose, bool(index < known_count)))

    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(30, 70))
    target = np.array((*rng.normal(0, 0.02, 2), 0.03))
    distance = rng.uniform(0.55, 1.1) * (spread / 0.2) ** 0.5
    eye = target + max(distance, 0.55) * direction_of(azimuth, elevation)
    table_top = TABLE_TOPS[int(rng.integers(len(TABLE_TOPS)))]
    # From the camera's side: the wall would shade the whole table otherwise.
    sun_azimuth, sun_elevation = azimuth + rng.uniform(-1.9, 1.9), np.deg2rad(rng.uniform(35, 80))
    sun = -direction_of(sun_azimuth, sun_elevation)
    return Scene(
        seed=seed,
        placed=tuple(placed),
        room=make_room(table_top, azimuth + np.pi + rng.normal(0, 0.3), rng),
        table_top=table_top,
        camera=camera,
        world_to_camera=look_at(eye, target, roll=rng.normal(0, 0.06)),
        lighting=Lighting(ambient=rng.uniform(0.35, 0.6), headlight=rng.uniform(0, 0.15), sun=rng.uniform(0.25, 0.7)),
        sun_direction=sun,
    )


def orbit_camera(scene: Scene, angle: float) -> Scene:
    """Move the camera about the vertical through the table's middle.

    Args:
        scene: The scene.
        angle: Radians, counter-clockwise seen from above.

    Returns:
        The same scene from there.
    """
    turn = np.eye(4)
    turn[:3, :3] = rotation_about_z(-angle)
    return replace(scene, world_to_camera=scene.world_to_camera @ turn)
