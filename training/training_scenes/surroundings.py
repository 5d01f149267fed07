"""What surrounds the objects of a scene: table tops, floors, walls, furniture, bins, solids of one color."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.sim.synthesis.textured_sheets import textured_sheet
from training.training_scenes.random_textures import draw_tile, random_color, sample_palette, smooth_noise

Array = NDArray[np.float64]
Rng = np.random.Generator

X, Y = np.array((1.0, 0, 0)), np.array((0, 1.0, 0))
GROUND_STYLES = {
    "plain": 0.22,
    "noise": 0.2,
    "stripes": 0.08,
    "checks": 0.08,
    "gradient": 0.08,
    "wood": 0.24,
    "print": 0.05,
    "dots": 0.05,
}
"""Styles of table tops, floors and walls; their order is part of the random streams."""


def sheet(centre: Array, right: Array, up: Array, image: NDArray[np.uint8], repeats: float = 1.0) -> Surface:
    """Make a rectangle with a picture on it, as `textured_sheet`.

    Args:
        centre: (3,) metres.
        right: (3,) half of its side towards the right of the picture, metres.
        up: (3,) half of its side towards the top, metres.
        image: (h, w, 3) uint8 RGB.
        repeats: How many times the picture is repeated along each side.

    Returns:
        The surface.
    """
    return surface_of(textured_sheet(centre, right, up, image, repeats))


def solid(rng: Rng, mesh: trimesh.Trimesh, at: Array, spin: float = 0.0, color: Array | None = None) -> Surface:
    """Place a mesh and give it one color.

    Args:
        rng: Source of the color.
        mesh: The mesh; it is changed.
        at: (3,) where its origin goes, metres.
        spin: Rotation about the vertical axis, radians.
        color: (3,) RGB in [0, 255]; None = a random one.

    Returns:
        The surface.
    """
    mesh.apply_transform(trimesh.transformations.rotation_matrix(spin, (0, 0, 1)))
    mesh.apply_translation(at)
    rgb = random_color(rng) if color is None else color
    mesh.visual.face_colors = np.append(rgb, 255).astype(np.uint8)
    return surface_of(mesh)


def block(rng: Rng, extents: Array, at: Array, spin: float = 0.0, color: Array | None = None) -> Surface:
    """Make a box of one color.

    Args:
        rng: Source of the color.
        extents: (3,) metres.
        at: (3,) its centre, metres.
        spin: Rotation about the vertical axis, radians.
        color: (3,) RGB in [0, 255]; None = a random one.

    Returns:
        The surface.
    """
    return solid(rng, trimesh.creation.box(extents=extents), at, spin, color)


def ground_picture(rng: Rng, color: Array | None = None) -> NDArray[np.uint8]:
    """Draw the texture of a table top or floor: grain, cloth, stone, tiles, print, or plain.

    Args:
        rng: Source of randomness.
        color: (3,) RGB in [0, 255] that all of it is nearly of; None = random ones.

    Returns:
        (512, 512, 3) uint8 RGB.
    """
    style = str(rng.choice(list(GROUND_STYLES), p=list(GROUND_STYLES.values())))
    size = 512
    palette = sample_palette(rng)
    if color is not None:
        palette = np.clip(color * rng.uniform(0.88, 1.12, (len(palette), 1)), 0, 255).astype(np.float32)
    if rng.random() < 0.7:  # most tops have muted colors
        palette = palette.mean(axis=1, keepdims=True) * (1 - 0.3 * rng.random()) + palette * 0.3 * rng.random()
    if rng.random() < 0.6:  # and tones of one color
        palette[1:] = np.clip(palette[0] * rng.uniform(0.75, 1.25, (3, 1)), 0, 255)
    if color is not None:
        palette = palette + color - palette[:1]
    if style == "wood":
        rows = np.arange(size)[:, None] + 20 * smooth_noise(rng, size, size, (300, 60))
        shade = 0.09 * np.sin(rows / rng.uniform(2, 12)) + 0.05 * smooth_noise(rng, size, size, (60, 2))
        picture = palette[0] * (1 + rng.uniform(0.4, 1.2) * shade[..., None])
    else:
        picture = draw_tile(rng, style, size, size, np.clip(palette, 0, 255).astype(np.float32)).astype(np.float32)
    grain = rng.uniform(0, 0.06) * smooth_noise(rng, size, size, (2, 2)) + rng.uniform(0, 0.06) * smooth_noise(
        rng, size, size, (90, 90)
    )
    return np.clip(picture * (1 + grain[..., None]), 0, 255).astype(np.uint8)


def table_top(rng: Rng, is_large: bool, color: Array | None) -> list[Surface]:
    """Make a table top with the floor below it, or a ground that goes on.

    Args:
        rng: Source of randomness.
        is_large: Whether it goes on beyond the picture.
        color: (3,) RGB in [0, 255] of the top; None = random ones.

    Returns:
        The surfaces.
    """
    spin = rng.uniform(0, 2 * np.pi)
    along, across = np.cos(spin) * X + np.sin(spin) * Y, -np.sin(spin) * X + np.cos(spin) * Y
    top = np.array((3.0, 3.0)) if is_large else rng.uniform(0.45, 1.0, 2)
    offset = along * rng.normal(0, 0.08) + across * rng.normal(0, 0.08)
    repeats = float(rng.uniform(2, 6)) if is_large else 1.0
    parts = [sheet(offset, along * top[0], across * top[1], ground_picture(rng, color), repeats)]
    if not is_large:
        floor = np.array((0, 0, -rng.uniform(0.05, 0.9)))
        parts.append(sheet(floor, X * 5, Y * 5, ground_picture(rng), float(rng.uniform(3, 9))))
        if rng.random() < 0.6:
            board = np.array((*(2 * top - 0.002), 0.03))
            parts.append(block(rng, board, offset - (0, 0, 0.0165), spin))
    return parts


def walls_around(rng: Rng, azimuth: float, nearest_m: float = 1.4) -> list[Surface]:
    """Make up to two walls, none on the camera's side.

    Args:
        rng: Source of randomness.
        azimuth: Direction of the camera, radians.
        nearest_m: Least distance from the middle, metres.

    Returns:
        The surfaces.
    """
    parts = []
    for _ in range(int(rng.integers(0, 3))):
        angle = azimuth + np.pi + rng.uniform(-1.2, 1.2)
        out = np.array((np.cos(angle), np.sin(angle), 0))
        side, far = np.array((-out[1], out[0], 0)), rng.uniform(nearest_m, nearest_m + 1.2)
        parts.append(sheet(out * far, side * 4, np.array((0, 0, 3.0)), ground_picture(rng), 2.0))
    return parts


def furniture_around(rng: Rng, azimuth: float, nearest_m: float = 0.8) -> list[Surface]:
    """Make one to three large boxes, none on the camera's side.

    Args:
        rng: Source of randomness.
        azimuth: Direction of the camera, radians.
        nearest_m: Least distance from the middle, metres.

    Returns:
        The surfaces.
    """
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        extents = rng.uniform(0.25, 0.9, 3)
        angle, far = azimuth + np.pi + rng.uniform(-1.7, 1.7), rng.uniform(nearest_m, nearest_m + 0.6)
        at = np.array((np.cos(angle) * far, np.sin(angle) * far, extents[2] / 2 - rng.uniform(0, 0.4)))
        parts.append(block(rng, extents, at, rng.uniform(0, 6)))
    return parts
