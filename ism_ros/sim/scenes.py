"""Cluttered tables with exact truth: known objects among others of the same make, seen by one camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.data.frame import Camera, Frame
from ism_ros.rendering.renderer import View, render
from ism_ros.rendering.scene import Lighting, create_tracer
from ism_ros.sim.furniture import TABLE_TOPS, make_room
from ism_ros.sim.layout import Body, Table, body_of
from ism_ros.sim.sensor import SensorModel, sense
from ism_ros.sim.shapes import KINDS, make_object

Array = NDArray[np.float64]

REALSENSE = Camera(np.array([[615.0, 0, 322.5], [0, 615.0, 238.5], [0, 0, 1]]), 640, 480)
"""The colour camera of a RealSense D435 at 640 x 480, about."""

DEMO_SCENE, DEMO_OBJECT_SET = 33, 4
"""The table that the demo and the fake camera show: seven things, all five known ones among them."""

UNSEEN_SEED = 1_000_000
"""Objects with this seed and above are the ones scenes add by themselves: keep known objects below."""


@dataclass(frozen=True)
class Thing:
    """One object, ready to be laid out and rendered. shine: 0..1, see shapes."""

    name: str
    surface: Surface
    body: Body
    shine: float


@dataclass(frozen=True)
class Placed:
    """A thing at rest. object_to_world: (4, 4). known: whether it is one of the objects to be found."""

    thing: Thing
    object_to_world: Array
    known: bool


@dataclass(frozen=True)
class Scene:
    """A table with things on it, a room, a light and a camera. World frame: z up, table top at z = 0.

    world_to_camera: (4, 4). sun_direction: (3,) in the world, where the light travels to.
    """

    seed: int
    placed: tuple[Placed, ...]
    room: tuple[Surface, ...]
    table_top: str
    camera: Camera
    world_to_camera: Array
    lighting: Lighting
    sun_direction: Array


@dataclass(frozen=True)
class Truth:
    """What is really there, one row an instance, in the order of Scene.placed without those wholly unseen.

    masks: (N, H, W) bool, visible pixels, disjoint. names: object names. known: (N,) bool. object_to_camera:
    (N, 4, 4), metres. visible_share: (N,) float64, visible pixels out of all that the object alone would
    cover, parts outside the picture included.
    """

    masks: NDArray[np.bool_]
    names: tuple[str, ...]
    known: NDArray[np.bool_]
    object_to_camera: Array
    visible_share: Array


def make_thing(mesh: trimesh.Trimesh) -> Thing:
    """`mesh` (metres) with its name and shine from metadata."""
    name, shine = str(mesh.metadata.get("name", "object")), float(mesh.metadata.get("shine", 0.1))
    return Thing(name, surface_of(mesh), body_of(mesh), shine)


def known_objects(seed: int, count: int = 5) -> list[trimesh.Trimesh]:
    """`count` objects of different kinds, set number `seed`, each named by its kind alone."""
    rng = np.random.default_rng([7, seed])
    kinds = rng.choice(len(KINDS), count, replace=False)
    meshes = [make_object(KINDS[kind], int(rng.integers(UNSEEN_SEED))) for kind in kinds]
    for kind, mesh in zip(kinds, meshes, strict=True):
        mesh.metadata["name"] = KINDS[kind]
    return meshes


def make_scene(
    seed: int,
    known: Sequence[Thing],
    *,
    camera: Camera = REALSENSE,
    objects: tuple[int, int] = (6, 10),
    known_in_scene: tuple[int, int] = (3, 5),
) -> Scene:
    """The scene number `seed`: 6 to 10 things, 3 to 5 of them known, on one of five table tops.

    About one scene in seven holds one known object twice; about one thing in eight stands on another one. The
    others are of random kinds, those of the known objects included, in colours of the same palette. Ranges
    include both ends. The camera is 0.55 to 1.1 m away at 30 to 70 degrees above the table.
    """
    rng = np.random.default_rng([11, seed])
    total = int(rng.integers(objects[0], objects[1] + 1))
    wanted = min(int(rng.integers(known_in_scene[0], known_in_scene[1] + 1)), len(known), total)
    cast = [known[i] for i in rng.choice(len(known), wanted, replace=False)] if wanted else []
    if cast and len(cast) < known_in_scene[1] and rng.random() < 0.15:
        cast.append(cast[int(rng.integers(len(cast)))])
    wanted = len(cast)
    while len(cast) < total:
        kind = KINDS[int(rng.integers(len(KINDS)))]
        cast.append(make_thing(make_object(kind, UNSEEN_SEED + int(rng.integers(1 << 40)))))

    spread = rng.uniform(0.13, 0.2)
    table = Table()
    placed = []
    for index in rng.permutation(len(cast)):
        pose = table.place(cast[index].body, rng, stack=rng.random() < 0.15, spread_m=spread)
        if pose is not None:
            placed.append(Placed(cast[index], pose, bool(index < wanted)))

    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(30, 70))
    target = np.array((*rng.normal(0, 0.02, 2), 0.03))
    distance = rng.uniform(0.55, 1.1) * (spread / 0.2) ** 0.5
    direction = np.array((np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)))
    eye = target + max(distance, 0.55) * direction
    table_top = TABLE_TOPS[int(rng.integers(len(TABLE_TOPS)))]
    # From the camera's side: the wall would shade the whole table otherwise.
    sun_azimuth, sun_elevation = azimuth + rng.uniform(-1.9, 1.9), np.deg2rad(rng.uniform(35, 80))
    sun = -np.array(
        (
            np.cos(sun_azimuth) * np.cos(sun_elevation),
            np.sin(sun_azimuth) * np.cos(sun_elevation),
            np.sin(sun_elevation),
        )
    )
    return Scene(
        seed=seed,
        placed=tuple(placed),
        room=make_room(table_top, azimuth + np.pi + rng.normal(0, 0.3), rng),
        table_top=table_top,
        camera=camera,
        world_to_camera=looking_at(eye, target, roll=rng.normal(0, 0.06)),
        lighting=Lighting(ambient=rng.uniform(0.35, 0.6), headlight=rng.uniform(0, 0.15), sun=rng.uniform(0.25, 0.7)),
        sun_direction=sun,
    )


def orbited(scene: Scene, angle: float) -> Scene:
    """The same scene from a camera moved about the vertical by `angle` radians."""
    turn = np.eye(4)
    turn[:3, :3] = _about_z(-angle)
    return replace(scene, world_to_camera=scene.world_to_camera @ turn)


def look(scene: Scene, samples: int = 2) -> tuple[View, Truth]:
    """A perfect picture of `scene` (View.instance: index into scene.placed, then the room) and its truth."""
    poses = [scene.world_to_camera @ placed.object_to_world for placed in scene.placed]
    surfaces = [placed.thing.surface for placed in scene.placed]
    sun = scene.world_to_camera[:3, :3] @ scene.sun_direction
    lighting = replace(scene.lighting, sun_direction=(float(sun[0]), float(sun[1]), float(sun[2])))
    view = render(
        [*surfaces, *scene.room],
        [*poses, *([scene.world_to_camera] * len(scene.room))],
        scene.camera,
        lighting=lighting,
        background=(120, 120, 124),
        samples=samples,
    )
    masks = view.instance[None] == np.arange(len(scene.placed))[:, None, None]
    seen = np.flatnonzero(masks.any(axis=(1, 2)))
    whole = np.array([_pixels_alone(surfaces[i], poses[i], scene.camera) for i in seen])
    visible = masks[seen].sum(axis=(1, 2)) / np.maximum(whole, 1)
    return view, Truth(
        masks=masks[seen],
        names=tuple(scene.placed[i].thing.name for i in seen),
        known=np.array([scene.placed[i].known for i in seen], bool),
        object_to_camera=np.array([poses[i] for i in seen]).reshape(-1, 4, 4),
        visible_share=np.minimum(visible, 1.0),
    )


def observe(scene: Scene, seed: int | None = None, model: SensorModel | None = None) -> tuple[Frame, Truth]:
    """What the depth camera delivers of `scene`, and the truth; the sensor's noise has its own `seed`."""
    view, truth = look(scene)
    shine = np.zeros(view.depth_m.shape, np.float32)
    for index, placed in enumerate(scene.placed):
        shine[view.instance == index] = placed.thing.shine
    frame = sense(
        view.rgb,
        view.depth_m,
        scene.camera,
        scene.seed if seed is None else seed,
        shine=shine,
        model=model,
    )
    return frame, truth


def looking_at(eye: Array, target: Array, roll: float = 0.0) -> Array:
    """World-to-camera (4, 4) of a camera at `eye` looking at `target`: x right, y down, z forward."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0, 0, 1.0))
    right /= np.linalg.norm(right)
    rotation = _about_z(roll) @ np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ eye
    return pose


def _about_z(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1.0)))


def _pixels_alone(surface: Surface, pose: Array, camera: Camera) -> float:
    """Pixels that the object alone would cover, also beyond the picture's border; one in four is counted."""
    triangles = surface.triangles_m @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32)
    points = triangles.reshape(-1, 3)
    u = points[:, 0] / points[:, 2] * camera.fx / 2
    v = points[:, 1] / points[:, 2] * camera.fy / 2
    left, top = np.floor((u.min(), v.min()))
    width, height = int(np.ceil(u.max() - left)) + 1, int(np.ceil(v.max() - top)) + 1
    around = Camera(np.array([[camera.fx / 2, 0, -left], [0, camera.fy / 2, -top], [0, 0, 1]]), width, height)
    hits = create_tracer(triangles).trace(np.eye(4), around, np.arange(width * height))
    return 4.0 * float((hits.face >= 0).sum())
