"""The room of a scene: a table with a textured top, the floor under it and a wall behind it."""

from __future__ import annotations

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.sim.synthesis.textured_sheets import textured_sheet

Array = NDArray[np.float64]

TABLE_TOPS = ("wood", "cloth", "plain", "checker", "stone")
"""Textures of the table top; their order is part of the random streams."""
TABLE_SIZE_M = (1.3, 1.0)
"""Sides of the table along x and y, metres."""
FLOOR_Z_M = -0.74
"""Height of the floor, metres."""


def make_room(table_top: str, wall_azimuth: float, rng: np.random.Generator) -> tuple[Surface, ...]:
    """Make table, floor and wall in the world frame: z up, table top at z = 0 about the origin.

    Args:
        table_top: One of TABLE_TOPS.
        wall_azimuth: Direction from the table in which the wall stands, radians.
        rng: Source of randomness.

    Returns:
        Surfaces of table top, board, floor and wall.
    """
    width, depth = TABLE_SIZE_M
    top = textured_sheet((0, 0, 0), (width / 2, 0, 0), (0, depth / 2, 0), _TOPS[table_top](rng))
    edge = np.clip(_tint(rng) * 0.6, 0, 255)
    board = trimesh.creation.box(extents=(width, depth, 0.03))
    board.apply_translation((0, 0, -0.0155))
    board.visual.face_colors = np.append(edge, 255).astype(np.uint8)
    floor = textured_sheet((0, 0, FLOOR_Z_M), (4, 0, 0), (0, 4, 0), _FLOORS[rng.integers(len(_FLOORS))](rng))
    out = np.array((np.cos(wall_azimuth), np.sin(wall_azimuth), 0.0))
    along = np.array((-out[1], out[0], 0.0))
    wall = textured_sheet(out * rng.uniform(1.2, 2.4) + (0, 0, 1.2), along * 4, np.array((0, 0, 2.4)), _plain(rng))
    return tuple(surface_of(mesh) for mesh in (top, board, floor, wall))


def _tint(rng: np.random.Generator) -> Array:
    """RGB of a table or wall: anything from white to gray and brown to a muted hue."""
    gray = rng.uniform(70, 225)
    return np.clip(gray + rng.normal(0, 22, 3), 25, 240)


def _noise(rng: np.random.Generator, height: int, width: int, grain_px: tuple[float, float]) -> Array:
    """Smooth noise (height, width), mean 0, standard deviation 1; `grain_px`: size of its grain along x and y."""
    small = rng.normal(0, 1, (max(2, int(height / grain_px[1])), max(2, int(width / grain_px[0]))))
    big = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray((big - big.mean()) / (big.std() + 1e-9), np.float64)


def _shaded(color: Array, shade: Array) -> NDArray[np.uint8]:
    return np.clip(color * (1 + shade[..., None]), 0, 255).astype(np.uint8)


def _wood(rng: np.random.Generator) -> NDArray[np.uint8]:
    base = np.array([(150, 104, 66), (186, 146, 100), (112, 76, 50), (204, 176, 138)][rng.integers(4)], float)
    height, width = 900, 1170
    rows = np.arange(height)[:, None] + 22 * _noise(rng, height, width, (400, 90))
    rings = np.sin(rows / rng.uniform(5, 11)) + 0.6 * np.sin(rows / rng.uniform(17, 30))
    shade = 0.07 * rings + 0.05 * _noise(rng, height, width, (60, 2)) + 0.03 * _noise(rng, height, width, (300, 40))
    planks = int(rng.integers(1, 6))
    for k in range(planks):
        top, bottom = (int(height * edge / planks) for edge in (k, k + 1))
        shade[top:bottom] += rng.normal(0, 0.05)
        shade[top : top + 2] -= 0.35
    return _shaded(base, shade)


def _cloth(rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = 900, 1170
    y, x = np.mgrid[:height, :width]
    first, second = _tint(rng), _tint(rng)
    pitch = int(rng.integers(40, 120))
    striped = (x // pitch % 2 == 0) if rng.random() < 0.5 else ((x // pitch + y // pitch) % 2 == 0) & (y % pitch > 9)
    color = np.where(striped[..., None], first, 0.7 * first + 0.3 * second)
    weave = 0.05 * np.sin(x * 1.7) * np.sin(y * 1.7) + 0.03 * _noise(rng, height, width, (2, 2))
    return np.clip(color * (1 + weave[..., None]), 0, 255).astype(np.uint8)


def _plain(rng: np.random.Generator) -> NDArray[np.uint8]:
    return _shaded(_tint(rng), 0.025 * _noise(rng, 512, 512, (120, 120)) + 0.008 * _noise(rng, 512, 512, (2, 2)))


def _checker(rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = 900, 1170
    y, x = np.mgrid[:height, :width]
    pitch = int(rng.integers(36, 110))
    first, second = _tint(rng), _tint(rng)
    color = np.where(((x // pitch + y // pitch) % 2 == 0)[..., None], first, 0.5 * first + 0.5 * second)
    return np.clip(color * (1 + 0.03 * _noise(rng, height, width, (50, 50))[..., None]), 0, 255).astype(np.uint8)


def _stone(rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = 900, 1170
    shade = 0.08 * _noise(rng, height, width, (3, 3)) + 0.05 * _noise(rng, height, width, (25, 25))
    return _shaded(_tint(rng), shade)


_TOPS = {"wood": _wood, "cloth": _cloth, "plain": _plain, "checker": _checker, "stone": _stone}
_FLOORS = (_wood, _plain, _checker, _stone)
