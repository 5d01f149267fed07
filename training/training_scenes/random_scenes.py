"""Random scenes: a place with objects, its surroundings, light, and a camera that looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface
from ism_ros.data.camera import Camera
from ism_ros.rendering.renderer import View, render
from ism_ros.rendering.scene import Lighting
from ism_ros.sim.synthesis.camera_poses import direction_of, look_at
from training.training_scenes.hands import hand
from training.training_scenes.height_field_placement import Ground, place
from training.training_scenes.places import PART_LENGTH_M, PLACES, PlaceKind
from training.training_scenes.random_objects import BankObject
from training.training_scenes.random_textures import draw_tile, random_color, sample_palette

Array = NDArray[np.float64]
Rng = np.random.Generator

WIDTH, HEIGHT = 640, 480
"""Size of the pictures, pixels."""
ROOM_PX = 64
"""Side of the picture of the room that shiny surfaces reflect, pixels."""

ONE_COLOR = 0.22
"""Share of the scenes in which objects and ground are nearly of one color: white on white, black on black, metal."""
WITH_HAND = 0.1
"""Share of the scenes with a hand among the objects."""


@dataclass(frozen=True)
class Paint:
    """What covers the texture of an object, but for a rest of its contrast.

    Attributes:
        color: (3,) RGB in [0, 255].
        contrast: Share of the texture's contrast that is left, in [0, 1].
        shine: How mirror-like it is, in [0, 1].
    """

    color: Array
    contrast: float
    shine: float

    def texture(self, texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Paint a texture.

        Args:
            texture: (h, w, 3) uint8 RGB.

        Returns:
            The same shape.
        """
        gray = texture.astype(np.float32).mean(axis=-1, keepdims=True)
        return np.clip(self.color + self.contrast * (gray - gray.mean()), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class PlacedObject:
    """An object at rest.

    Attributes:
        index: Its number in the bank.
        scale: Factor of its size.
        object_to_world: (4, 4) its pose, metres.
        paint: What covers its texture; None = nothing.
    """

    index: int
    scale: float
    object_to_world: Array
    paint: Paint | None = None


@dataclass(frozen=True)
class TrainingScene:
    """Objects, surroundings, camera and light; world frame z up, ground at z = 0.

    Attributes:
        placed: The objects.
        surroundings: Ground, walls, furniture, bin.
        camera: The camera.
        world_to_camera: (4, 4) its pose, metres.
        lighting: Intensities of the light.
        sun_direction: (3,) direction in the world in which the light travels.
        background: (HEIGHT, WIDTH, 3) uint8 RGB where there is no surface.
    """

    placed: tuple[PlacedObject, ...]
    surroundings: tuple[Surface, ...]
    camera: Camera
    world_to_camera: Array
    lighting: Lighting
    sun_direction: Array
    background: NDArray[np.uint8]


def make_scene(seed: int, bank: Sequence[BankObject], paintable: Sequence[bool] | None = None) -> TrainingScene:
    """Make one scene: objects in a random place, perhaps all of one color, perhaps with a hand among them.

    Args:
        seed: Number of the scene.
        bank: The objects that may be in it.
        paintable: Of each of them, whether it may be painted in the color of the ground; None = all.

    Returns:
        The scene; the same arguments give the same scene.
    """
    rng = np.random.default_rng([23, seed])
    kind = PLACES[kind_of_scene(rng)]
    azimuth = rng.uniform(*kind.azimuth)
    metal = _bare_metal(rng) if rng.random() < kind.metal else None
    color = _shared_color(rng) if metal is None and rng.random() < ONE_COLOR else None
    place_made = kind.build(rng, azimuth, color)
    placed = _place_objects(rng, bank, paintable, kind, place_made.ground, metal, color)
    elevation, focal = np.deg2rad(rng.uniform(*kind.elevation_deg)), rng.uniform(460, 900)
    distance = np.clip(rng.uniform(*kind.distance_m) * focal / 615, 0.3, 3.0)
    target = np.array((*rng.normal(0, 0.05, 2), rng.uniform(0, 0.08)))
    eye = target + distance * direction_of(azimuth, elevation) + (0, 1e-4, 0)
    surroundings = list(place_made.surfaces)
    if placed and rng.random() < WITH_HAND:
        held = placed[int(rng.integers(len(placed)))].object_to_world[:3, 3]
        surroundings.append(hand(rng, held + np.array((0, 0, rng.uniform(0.01, 0.08)))))
    sun_azimuth, sun_elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(25, 88))
    sun = -direction_of(sun_azimuth, sun_elevation)
    centre = WIDTH / 2 + rng.normal(0, 8), HEIGHT / 2 + rng.normal(0, 8)
    return TrainingScene(
        placed=tuple(placed),
        surroundings=tuple(surroundings),
        camera=Camera(np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]), WIDTH, HEIGHT),
        world_to_camera=look_at(eye, target, roll=rng.normal(0, 0.12) if rng.random() < 0.9 else rng.uniform(0, 6)),
        lighting=Lighting(
            ambient=rng.uniform(0.3, 0.75),
            headlight=rng.uniform(0, 0.3),
            sun=float(rng.choice([0, rng.uniform(0.1, 0.8)], p=[0.2, 0.8])),
            shadows=bool(rng.random() < 0.85),
        ),
        sun_direction=sun,
        background=draw_tile(rng, str(rng.choice(["plain", "noise", "gradient"])), HEIGHT, WIDTH, sample_palette(rng)),
    )


def kind_of_scene(rng: Rng) -> str:
    """Choose the kind of a scene's place.

    Args:
        rng: Source of randomness.

    Returns:
        A name of PLACES.
    """
    return str(rng.choice(list(PLACES), p=[kind.probability for kind in PLACES.values()]))


def _place_objects(
    rng: Rng,
    bank: Sequence[BankObject],
    paintable: Sequence[bool] | None,
    kind: PlaceKind,
    ground: Ground,
    metal: Paint | None,
    color: Array | None,
) -> list[PlacedObject]:
    """Place the objects of a scene one after another, painted as metal or in nearly one color where it is so."""
    spread = rng.uniform(*kind.spread_m)
    ways, chances = list(kind.ways), list(kind.ways.values())
    placed: list[PlacedObject] = []
    same = rng.random() < 0.12
    parts = _parts(rng, bank, kind)
    for _ in range(int(rng.integers(kind.count[0], kind.count[1] + 1))):
        index = placed[0].index if same and placed and rng.random() < 0.6 else int(rng.integers(len(bank)))
        scale = float(rng.uniform(*kind.scale))
        if parts:
            index, scale = parts[int(rng.integers(len(parts)))]
        made, how = bank[index], str(rng.choice(ways, p=chances))
        pose = place(ground, made.points * scale, made.rotations, made.weights, rng, how, spread)
        if pose is not None:
            paint = metal if color is None else _paint(rng, color)
            can_be_painted = paintable is None or paintable[index]
            placed.append(PlacedObject(index, scale, pose, paint if can_be_painted else None))
    return placed


def _parts(rng: Rng, bank: Sequence[BankObject], kind: PlaceKind) -> list[tuple[int, float]]:
    """Objects and sizes of a place of few different ones, mostly the longest and thinnest of three."""
    if kind.different is None:
        return []
    parts = []
    for _ in range(int(rng.integers(kind.different[0], kind.different[1] + 1))):
        drawn = [int(index) for index in rng.integers(len(bank), size=3)]
        slim = min(drawn, key=lambda index: _slimness(bank[index]))
        index = slim if rng.random() < 0.7 else drawn[0]
        length_m = float(np.exp(rng.uniform(*np.log(PART_LENGTH_M))))
        parts.append((index, length_m / float(_sides_m(bank[index])[2])))
    return parts


def _slimness(made: BankObject) -> float:
    """Middle side of the box of an object over its longest."""
    _, middle, longest = _sides_m(made)
    return float(middle / longest)


def _sides_m(made: BankObject) -> Array:
    """Sides of the box of an object, the shortest first."""
    return np.sort(np.ptp(made.points, axis=0).astype(np.float64))


def _bare_metal(rng: Rng) -> Paint:
    """A gray mirror-like coat, the same on all parts."""
    gray = np.clip(rng.uniform(60, 200) + rng.normal(0, 5, 3), 0, 255)
    return Paint(gray, float(rng.uniform(0, 0.4)), float(rng.uniform(0.4, 1)))


def _shared_color(rng: Rng) -> Array:
    """A color of objects and ground: mostly white, gray or black."""
    kind = rng.random()
    if kind < 0.45:
        return np.clip(rng.uniform(205, 250) + rng.normal(0, 4, 3), 0, 255)
    if kind < 0.65:
        return np.clip(rng.uniform(15, 60) + rng.normal(0, 3, 3), 0, 255)
    if kind < 0.85:
        return np.clip(rng.uniform(90, 200) + rng.normal(0, 4, 3), 0, 255)
    return np.asarray(random_color(rng), float)


def _paint(rng: Rng, color: Array) -> Paint:
    """Paint of nearly one color for an object."""
    near = np.clip(color * rng.uniform(0.85, 1.15) + rng.normal(0, 4, 3), 0, 255)
    contrast = float(rng.choice([0.0, rng.uniform(0, 0.15), rng.uniform(0.15, 0.5)]))
    return Paint(near, contrast, float(rng.choice([0.0, rng.uniform(0, 0.3), rng.uniform(0.5, 1)], p=[0.5, 0.3, 0.2])))


def render_scene(scene: TrainingScene, bank: Sequence[BankObject], seed: int) -> tuple[View, NDArray[np.float32]]:
    """Render a perfect picture, reflections included.

    Args:
        scene: The scene.
        bank: Its objects.
        seed: Number of the reflections.

    Returns:
        The picture, its `instance` an index into scene.placed and then the surroundings; and how mirror-like the
        surface of each pixel is, (H, W) float32 in [0, 1].
    """
    surfaces, poses = [], []
    for placed in scene.placed:
        surface = bank[placed.index].surface
        assert surface.texture is not None
        texture = surface.texture if placed.paint is None else placed.paint.texture(surface.texture)
        triangles_m = surface.triangles_m * np.float32(placed.scale)
        surfaces.append(replace(surface, triangles_m=triangles_m, texture=texture))
        poses.append(scene.world_to_camera @ placed.object_to_world)
    sun = scene.world_to_camera[:3, :3] @ scene.sun_direction
    view = render(
        [*surfaces, *scene.surroundings],
        [*poses, *[scene.world_to_camera] * len(scene.surroundings)],
        scene.camera,
        lighting=replace(scene.lighting, sun_direction=(float(sun[0]), float(sun[1]), float(sun[2]))),
        background=scene.background,
        samples=1,
    )
    shine_of = [bank[one.index].shine if one.paint is None else one.paint.shine for one in scene.placed]
    shines = np.array(shine_of + [0.0] * (len(scene.surroundings) + 1))
    shine = shines.astype(np.float32)[view.instance]
    return replace(view, rgb=add_reflections(view, shine, scene.camera, np.random.default_rng([24, seed]))), shine


def add_reflections(view: View, shine: NDArray[np.float32], camera: Camera, rng: Rng) -> NDArray[np.uint8]:
    """Add reflections of a random room where surfaces are shiny.

    The room is a small picture, sampled by the direction of the reflected ray. In half of the scenes it is added to
    what is there, as on varnish; in the others it takes its place, as on bare metal, which is as bright as a lamp here
    and as dark as a wall beside it.

    Args:
        view: The picture.
        shine: (H, W) float32 in [0, 1].
        camera: Its camera.
        rng: Source of the room.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows, columns = np.nonzero(shine > 0.05)
    if not len(rows):
        return view.rgb
    rays = camera.rays()
    points = rays * view.depth_m[..., None]
    normal = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))[rows, columns]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    ray = rays[rows, columns] / np.linalg.norm(rays[rows, columns], axis=1, keepdims=True)
    out = ray - 2 * (ray * normal).sum(axis=1, keepdims=True) * normal
    is_metal = rng.random() < 0.5
    room = _room_with_lamps(rng) if is_metal else 190 * _smooth_room(rng)
    u, v = (np.clip((out[:, k] * 0.5 + 0.5) * (ROOM_PX - 1), 0, ROOM_PX - 1).astype(int) for k in (0, 1))
    fresnel = 0.4 + 0.6 * (1 - np.abs((ray * normal).sum(axis=1))) ** 3
    reflected, own = (room[v, u])[:, None], view.rgb[rows, columns].astype(np.float32)
    mirrored = shine[rows, columns, None]
    if is_metal:
        mirrored = mirrored * rng.uniform(0.5, 1.0)
        lit = own * (1 - mirrored) + mirrored * reflected * (0.5 + own / 255)
    else:
        lit = own * (1 - 0.3 * mirrored) + reflected * fresnel[:, None] * mirrored
    rgb = view.rgb.copy()
    rgb[rows, columns] = np.clip(lit, 0, 255)
    return rgb


def _smooth_room(rng: Rng) -> NDArray[np.float32]:
    """Brightness of a room of soft spots, (ROOM_PX, ROOM_PX) from 0 to about 2."""
    room = cv2.GaussianBlur((rng.random((16, 16)) ** 4 * 2).astype(np.float32), (0, 0), rng.uniform(0.7, 2.0))
    return np.asarray(cv2.resize(room, (ROOM_PX, ROOM_PX), interpolation=cv2.INTER_CUBIC), np.float32)


def _room_with_lamps(rng: Rng) -> NDArray[np.float32]:
    """Brightness of dim walls with one to four bright lamps or windows, (ROOM_PX, ROOM_PX) from 0 on."""
    room = rng.uniform(10, 110) * (0.4 + _smooth_room(rng))
    for _ in range(int(rng.integers(1, 5))):
        first = rng.integers(0, ROOM_PX - 4, 2)
        last = first + rng.integers(3, ROOM_PX // 3, 2)
        room[first[0] : last[0], first[1] : last[1]] += rng.uniform(120, 420)
    return np.asarray(cv2.GaussianBlur(room.astype(np.float32), (0, 0), rng.uniform(0.5, 2.5)), np.float32)
