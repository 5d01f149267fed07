"""Random scenes: a table or bin full of objects, its surroundings, light, and a camera that looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.data.camera import Camera
from ism_ros.rendering.renderer import View, render
from ism_ros.rendering.scene import Lighting
from ism_ros.sim.synthesis.camera_poses import direction_of, look_at
from ism_ros.sim.synthesis.textured_sheets import textured_sheet
from training.training_scenes.height_field_placement import Ground, place
from training.training_scenes.random_objects import BankObject
from training.training_scenes.random_textures import draw_tile, random_color, sample_palette, smooth_noise

Array = NDArray[np.float64]
Rng = np.random.Generator

WIDTH, HEIGHT = 640, 480
"""Size of the pictures, pixels."""


@dataclass(frozen=True)
class PlacedObject:
    """An object at rest.

    Attributes:
        index: Its number in the bank.
        scale: Factor of its size.
        object_to_world: (4, 4) its pose, metres.
    """

    index: int
    scale: float
    object_to_world: Array


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


def make_scene(seed: int, bank: Sequence[BankObject]) -> TrainingScene:
    """Make one scene: objects side by side, stacked, in a pile or in a bin.

    Args:
        seed: Number of the scene.
        bank: The objects that may be in it.

    Returns:
        The scene; the same arguments give the same scene.
    """
    rng = np.random.default_rng([23, seed])
    kind = rng.choice(["table", "pile", "bin"], p=[0.62, 0.2, 0.18])
    count = int(rng.integers(2, 16)) if kind == "table" else int(rng.integers(6, 19))
    inside = rng.uniform(0.28, 0.5), rng.uniform(0.24, 0.4)
    walls = rng.uniform(0.06, 0.22)
    ground = Ground(walls, inside) if kind == "bin" else Ground()
    spread = rng.uniform(0.1, 0.24) if kind == "table" else rng.uniform(0.04, 0.12)
    placed: list[PlacedObject] = []
    same = rng.random() < 0.12
    for _ in range(count):
        index = placed[0].index if same and placed and rng.random() < 0.6 else int(rng.integers(len(bank)))
        made, scale = bank[index], float(rng.uniform(0.75, 1.3))
        how = str(rng.choice(["free", "touching", "on_top"], p=[0.4, 0.4, 0.2])) if kind == "table" else "pile"
        if how == "on_top" and not placed:
            how = "free"
        pose = place(ground, made.points * scale, made.rotations, made.weights, rng, how, spread)
        if pose is not None:
            placed.append(PlacedObject(index, scale, pose))
    azimuth = rng.uniform(0, 2 * np.pi)
    surroundings = _surroundings(rng, kind, walls, inside, azimuth)
    elevation = np.deg2rad(rng.uniform(45, 90) if kind == "bin" else rng.uniform(18, 85))
    focal = rng.uniform(460, 900)
    distance = np.clip(rng.uniform(0.45, 1.3) * focal / 615, 0.4, 1.9)
    target = np.array((*rng.normal(0, 0.05, 2), rng.uniform(0, 0.08)))
    eye = target + distance * direction_of(azimuth, elevation) + (0, 1e-4, 0)
    sun_azimuth, sun_elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(25, 88))
    sun = -direction_of(sun_azimuth, sun_elevation)
    centre = WIDTH / 2 + rng.normal(0, 8), HEIGHT / 2 + rng.normal(0, 8)
    return TrainingScene(
        placed=tuple(placed),
        surroundings=surroundings,
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


def _sheet(centre: Array, right: Array, up: Array, image: NDArray[np.uint8], repeats: float = 1.0) -> Surface:
    return surface_of(textured_sheet(centre, right, up, image, repeats))


def _ground_picture(rng: Rng) -> NDArray[np.uint8]:
    """The texture of a table top or floor: grain, cloth, stone, tiles, print, or plain."""
    styles = ["plain", "noise", "stripes", "checks", "gradient", "wood", "print", "dots"]
    style = str(rng.choice(styles, p=[0.22, 0.2, 0.08, 0.08, 0.08, 0.24, 0.05, 0.05]))
    size = 512
    palette = sample_palette(rng)
    if rng.random() < 0.7:  # most tops have muted colors
        palette = palette.mean(axis=1, keepdims=True) * (1 - 0.3 * rng.random()) + palette * 0.3 * rng.random()
    if rng.random() < 0.6:  # and tones of one color
        palette[1:] = np.clip(palette[0] * rng.uniform(0.75, 1.25, (3, 1)), 0, 255)
    if style == "wood":
        rows = np.arange(size)[:, None] + 20 * smooth_noise(rng, size, size, (300, 60))
        shade = 0.09 * np.sin(rows / rng.uniform(2, 12)) + 0.05 * smooth_noise(rng, size, size, (60, 2))
        picture = palette[0] * (1 + rng.uniform(0.4, 1.2) * shade[..., None])
    else:
        picture = draw_tile(rng, style, size, size, palette).astype(np.float32)
    grain = rng.uniform(0, 0.06) * smooth_noise(rng, size, size, (2, 2)) + rng.uniform(0, 0.06) * smooth_noise(
        rng, size, size, (90, 90)
    )
    return np.clip(picture * (1 + grain[..., None]), 0, 255).astype(np.uint8)


def _surroundings(
    rng: Rng, kind: str, walls: float, inside: tuple[float, float], azimuth: float
) -> tuple[Surface, ...]:
    """Ground, the bin, and walls and large pieces of furniture further off, none on the camera's side (`azimuth`)."""
    parts = []
    x, y = np.array((1.0, 0, 0)), np.array((0, 1.0, 0))
    spin = rng.uniform(0, 2 * np.pi)
    along, across = np.cos(spin) * x + np.sin(spin) * y, -np.sin(spin) * x + np.cos(spin) * y
    top = rng.uniform(0.45, 1.0, 2) if kind != "bin" and rng.random() < 0.7 else np.array((3.0, 3.0))
    offset = along * rng.normal(0, 0.08) + across * rng.normal(0, 0.08)
    repeats = 1.0 if top[0] < 2 else float(rng.uniform(2, 6))
    parts.append(_sheet(offset, along * top[0], across * top[1], _ground_picture(rng), repeats))
    if top[0] < 2:
        floor = np.array((0, 0, -rng.uniform(0.05, 0.9)))
        parts.append(_sheet(floor, x * 5, y * 5, _ground_picture(rng), float(rng.uniform(3, 9))))
        if rng.random() < 0.6:
            board = trimesh.creation.box(extents=(*(2 * top - 0.002), 0.03))
            parts.append(_solid(rng, board, offset - (0, 0, 0.0165), spin))
    for _ in range(int(rng.integers(0, 3))):
        angle = azimuth + np.pi + rng.uniform(-1.2, 1.2)
        out = np.array((np.cos(angle), np.sin(angle), 0))
        side = np.array((-out[1], out[0], 0))
        parts.append(_sheet(out * rng.uniform(1.4, 2.6), side * 4, np.array((0, 0, 3.0)), _ground_picture(rng), 2.0))
    if kind == "bin":
        parts += _bin(rng, walls, inside)
    elif rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):
            extents = rng.uniform(0.25, 0.9, 3)
            angle, far = azimuth + np.pi + rng.uniform(-1.7, 1.7), rng.uniform(0.8, 1.4)
            at = np.array((np.cos(angle) * far, np.sin(angle) * far, extents[2] / 2 - rng.uniform(0, 0.4)))
            parts.append(_solid(rng, trimesh.creation.box(extents=extents), at, rng.uniform(0, 6)))
    return tuple(parts)


def _bin(rng: Rng, walls: float, inside: tuple[float, float]) -> list[Surface]:
    color = random_color(rng)
    thick = rng.uniform(0.004, 0.02)
    parts = []
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        extents = np.array((thick, inside[1] + 2 * thick, walls)) if axis == 0 else np.array((inside[0], thick, walls))
        at = np.zeros(3)
        at[axis], at[2] = sign * (inside[axis] / 2 + thick / 2), walls / 2
        parts.append(_solid(rng, trimesh.creation.box(extents=extents), at, 0.0, color))
    return parts


def _solid(rng: Rng, mesh: trimesh.Trimesh, at: Array, spin: float, color: Array | None = None) -> Surface:
    mesh.apply_transform(trimesh.transformations.rotation_matrix(spin, (0, 0, 1)))
    mesh.apply_translation(at)
    rgb = random_color(rng) if color is None else color
    mesh.visual.face_colors = np.append(rgb, 255).astype(np.uint8)
    return surface_of(mesh)


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
        surfaces.append(replace(surface, triangles_m=surface.triangles_m * np.float32(placed.scale)))
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
    shines = np.array([bank[placed.index].shine for placed in scene.placed] + [0.0] * (len(scene.surroundings) + 1))
    shine = shines.astype(np.float32)[view.instance]
    return replace(view, rgb=add_reflections(view, shine, scene.camera, np.random.default_rng([24, seed]))), shine


def add_reflections(view: View, shine: NDArray[np.float32], camera: Camera, rng: Rng) -> NDArray[np.uint8]:
    """Add reflections of a random room where surfaces are shiny.

    The room is a small blurred picture, sampled by the direction of the reflected ray.

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
    room = cv2.GaussianBlur((rng.random((16, 16)) ** 4 * 2).astype(np.float32), (0, 0), rng.uniform(0.7, 2.0))
    room = cv2.resize(room, (64, 64), interpolation=cv2.INTER_CUBIC)
    u, v = (np.clip((out[:, k] * 0.5 + 0.5) * 63, 0, 63).astype(int) for k in (0, 1))
    fresnel = 0.4 + 0.6 * (1 - np.abs((ray * normal).sum(axis=1))) ** 3
    add = 190 * room[v, u] * fresnel * shine[rows, columns]
    rgb = view.rgb.copy()
    rgb[rows, columns] = np.clip(rgb[rows, columns] * (1 - 0.3 * shine[rows, columns, None]) + add[:, None], 0, 255)
    return rgb
