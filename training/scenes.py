"""Random scenes: a table, bin or shelf full of things, what is around it, light, and a camera that looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.data.frame import Camera
from ism_ros.rendering.renderer import View, render
from ism_ros.rendering.scene import Lighting
from ism_ros.sim.scenes import looking_at
from training.objects import BankObject
from training.settle import Ground, place
from training.textures import draw_palette, draw_tile, random_colour, waves

Array = NDArray[np.float64]
Rng = np.random.Generator

WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class Placed:
    """Object number `index` of the bank at rest: its scale and its object-to-world (4, 4)."""

    index: int
    scale: float
    object_to_world: Array


@dataclass(frozen=True)
class TrainingScene:
    """What stands where; the world's z is up and the ground at 0. sun_direction: (3,), where light travels to."""

    placed: tuple[Placed, ...]
    surroundings: tuple[Surface, ...]
    camera: Camera
    world_to_camera: Array
    lighting: Lighting
    sun_direction: Array
    background: NDArray[np.uint8]


def make_scene(seed: int, bank: Sequence[BankObject]) -> TrainingScene:
    """Scene number `seed` of objects out of `bank`: 1 to 20 of them, side by side, stacked, in a pile or in a bin."""
    rng = np.random.default_rng([23, seed])
    kind = rng.choice(["table", "pile", "bin"], p=[0.62, 0.2, 0.18])
    count = int(rng.integers(2, 16)) if kind == "table" else int(rng.integers(6, 19))
    inside = rng.uniform(0.28, 0.5), rng.uniform(0.24, 0.4)
    walls = rng.uniform(0.06, 0.22)
    ground = Ground(walls, inside) if kind == "bin" else Ground()
    spread = rng.uniform(0.1, 0.24) if kind == "table" else rng.uniform(0.04, 0.12)
    placed: list[Placed] = []
    same = rng.random() < 0.12
    for _ in range(count):
        index = placed[0].index if same and placed and rng.random() < 0.6 else int(rng.integers(len(bank)))
        made, scale = bank[index], float(rng.uniform(0.75, 1.3))
        how = str(rng.choice(["beside", "touching", "upon"], p=[0.4, 0.4, 0.2])) if kind == "table" else "pile"
        if how == "upon" and not placed:
            how = "beside"
        pose = place(ground, made.points * scale, made.rotations, made.weights, rng, how, spread)
        if pose is not None:
            placed.append(Placed(index, scale, pose))
    azimuth = rng.uniform(0, 2 * np.pi)
    surroundings = _surroundings(rng, kind, walls, inside, azimuth)
    elevation = np.deg2rad(rng.uniform(45, 90) if kind == "bin" else rng.uniform(18, 85))
    focal = rng.uniform(460, 900)
    distance = np.clip(rng.uniform(0.45, 1.3) * focal / 615, 0.4, 1.9)
    out = np.array((np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)))
    target = np.array((*rng.normal(0, 0.05, 2), rng.uniform(0, 0.08)))
    eye = target + distance * out + (0, 1e-4, 0)
    sun_azimuth, sun_elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(25, 88))
    sun = -np.array(
        (
            np.cos(sun_azimuth) * np.cos(sun_elevation),
            np.sin(sun_azimuth) * np.cos(sun_elevation),
            np.sin(sun_elevation),
        )
    )
    centre = WIDTH / 2 + rng.normal(0, 8), HEIGHT / 2 + rng.normal(0, 8)
    return TrainingScene(
        placed=tuple(placed),
        surroundings=surroundings,
        camera=Camera(np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]), WIDTH, HEIGHT),
        world_to_camera=looking_at(eye, target, roll=rng.normal(0, 0.12) if rng.random() < 0.9 else rng.uniform(0, 6)),
        lighting=Lighting(
            ambient=rng.uniform(0.3, 0.75),
            headlight=rng.uniform(0, 0.3),
            sun=float(rng.choice([0, rng.uniform(0.1, 0.8)], p=[0.2, 0.8])),
            shadows=bool(rng.random() < 0.85),
        ),
        sun_direction=sun,
        background=draw_tile(rng, str(rng.choice(["plain", "noise", "gradient"])), HEIGHT, WIDTH, draw_palette(rng)),
    )


def _sheet(centre: Array, right: Array, up: Array, image: NDArray[np.uint8], repeats: float = 1.0) -> Surface:
    """A rectangle about `centre` spanned by two half sides, with a picture on it."""
    vertices = np.array([centre - right - up, centre + right - up, centre + right + up, centre - right + up])
    uv = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float) * repeats
    material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(image))
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return surface_of(trimesh.Trimesh(vertices, [(0, 1, 2), (0, 2, 3)], visual=visual, process=False))


def _ground_picture(rng: Rng) -> NDArray[np.uint8]:
    """A table top or floor: grain, cloth, stone, tiles, print, or plain."""
    styles = ["plain", "noise", "stripes", "checks", "gradient", "wood", "print", "dots"]
    style = str(rng.choice(styles, p=[0.22, 0.2, 0.08, 0.08, 0.08, 0.24, 0.05, 0.05]))
    size = 512
    palette = draw_palette(rng)
    if rng.random() < 0.7:  # most tops are of muted colours
        palette = palette.mean(axis=1, keepdims=True) * (1 - 0.3 * rng.random()) + palette * 0.3 * rng.random()
    if rng.random() < 0.6:  # and calm: tones of one colour
        palette[1:] = np.clip(palette[0] * rng.uniform(0.75, 1.25, (3, 1)), 0, 255)
    if style == "wood":
        rows = np.arange(size)[:, None] + 20 * waves(rng, size, size, (300, 60))
        shade = 0.09 * np.sin(rows / rng.uniform(2, 12)) + 0.05 * waves(rng, size, size, (60, 2))
        picture = palette[0] * (1 + rng.uniform(0.4, 1.2) * shade[..., None])
    else:
        picture = draw_tile(rng, style, size, size, palette).astype(np.float32)
    grain = rng.uniform(0, 0.06) * waves(rng, size, size, (2, 2)) + rng.uniform(0, 0.06) * waves(
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
    colour = random_colour(rng)
    thick = rng.uniform(0.004, 0.02)
    parts = []
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        extents = np.array((thick, inside[1] + 2 * thick, walls)) if axis == 0 else np.array((inside[0], thick, walls))
        at = np.zeros(3)
        at[axis], at[2] = sign * (inside[axis] / 2 + thick / 2), walls / 2
        parts.append(_solid(rng, trimesh.creation.box(extents=extents), at, 0.0, colour))
    return parts


def _solid(rng: Rng, mesh: trimesh.Trimesh, at: Array, spin: float, colour: Array | None = None) -> Surface:
    mesh.apply_transform(trimesh.transformations.rotation_matrix(spin, (0, 0, 1)))
    mesh.apply_translation(at)
    rgb = random_colour(rng) if colour is None else colour
    mesh.visual.face_colors = np.append(rgb, 255).astype(np.uint8)
    return surface_of(mesh)


def look(scene: TrainingScene, bank: Sequence[BankObject], seed: int) -> tuple[View, NDArray[np.float32]]:
    """A perfect picture of `scene`, mirroring surfaces included, and how shiny each pixel is (H, W) in [0, 1].

    View.instance is the index into scene.placed; what is above is the surroundings.
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
    return replace(view, rgb=mirrored(view, shine, scene.camera, np.random.default_rng([24, seed]))), shine


def mirrored(view: View, shine: NDArray[np.float32], camera: Camera, rng: Rng) -> NDArray[np.uint8]:
    """Colours with reflections of a random room added where surfaces shine.

    The room is a small blurred picture looked up by the direction of the mirrored ray.
    """
    rows, columns = np.nonzero(shine > 0.05)
    if not len(rows):
        return view.rgb
    y, x = np.mgrid[: camera.height, : camera.width].astype(np.float32)
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], -1)
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
