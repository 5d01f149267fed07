"""Things put down one after another on a table or into a bin, as height fields: they never run into each other.

A body comes to rest as deep as the heights under its footprint allow. On a table it stands beside the others, at times
pushed against them, or upon one of them; in a pile it goes where it lies lowest of several tries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rng = np.random.Generator

CELL_M = 0.005
CELLS = 192
_NOTHING = 1e3


@dataclass(frozen=True)
class Footprint:
    """Lowest and highest point over each cell (h, w), metres above the lowest of all; 1000, -1000 where nothing is."""

    bottom: Array
    top: Array


def footprint_of(points: NDArray[np.floating]) -> tuple[Footprint, Array]:
    """The footprint of points (K, 3), and the corner (2,) of its first cell."""
    low = points[:, :2].min(axis=0)
    cell = np.floor((points[:, :2] - low) / CELL_M).astype(np.int64)
    shape = tuple(cell.max(axis=0) + 1)
    flat = cell[:, 0] * shape[1] + cell[:, 1]
    bottom, top = np.full(shape[0] * shape[1], _NOTHING), np.full(shape[0] * shape[1], -_NOTHING)
    height = points[:, 2] - points[:, 2].min()
    np.minimum.at(bottom, flat, height)
    np.maximum.at(top, flat, height)
    return Footprint(bottom.reshape(shape), top.reshape(shape)), low


class Ground:
    """Heights (CELLS, CELLS) of what lies there, centred on the origin."""

    def __init__(self, walls_m: float = 0.0, inside_m: tuple[float, float] = (0.0, 0.0)) -> None:
        """walls_m: height of a bin's walls around the rectangle `inside_m`; 0 = a table."""
        self.height = np.zeros((CELLS, CELLS))
        if walls_m > 0:
            self.height[:] = _NOTHING
            half = (np.array(inside_m) / 2 / CELL_M).astype(int)
            middle = CELLS // 2
            self.height[middle - half[0] : middle + half[0], middle - half[1] : middle + half[1]] = 0

    def rest_height(self, foot: Footprint, row: int, column: int) -> float:
        """How high a body rests with its first cell there; 1000 outside."""
        rows, columns = foot.bottom.shape
        if row < 0 or column < 0 or row + rows > CELLS or column + columns > CELLS:
            return _NOTHING
        return float((self.height[row : row + rows, column : column + columns] - foot.bottom).max())

    def put(self, foot: Footprint, row: int, column: int, height: float) -> None:
        """Marks the body as lying there."""
        rows, columns = foot.bottom.shape
        here = self.height[row : row + rows, column : column + columns]
        np.maximum(here, height + foot.top, out=here)

    def contact_ok(self, foot: Footprint, row: int, column: int, height: float) -> bool:
        """Whether the middle of the footprint lies among the cells where the body touches what is below it."""
        rows, columns = foot.bottom.shape
        gap = height + foot.bottom - self.height[row : row + rows, column : column + columns]
        touching = np.argwhere((gap < 0.003) & (foot.bottom < _NOTHING / 2))
        if len(touching) < 6:
            return False
        middle = np.array((rows, columns)) / 2
        low, high = touching.min(axis=0), touching.max(axis=0)
        return bool((middle > low).all() and (middle < high).all())

    def beside(self, foot: Footprint, rng: Rng, spread_m: float, touching: bool) -> tuple[int, int, float] | None:
        """A free place on the table about its middle; `touching`: pushed in from outside until it meets something."""
        size = np.array(foot.bottom.shape)
        for _ in range(12):
            aim = CELLS / 2 - size / 2 + rng.normal(0, 0.6 * spread_m / CELL_M, 2)
            if not touching:
                row, column = np.rint(aim).astype(int)
                if self.rest_height(foot, row, column) <= 1e-6:
                    return int(row), int(column), 0.0
                continue
            angle = rng.uniform(0, 2 * np.pi)
            step = np.array((np.cos(angle), np.sin(angle)))
            free = None
            for distance in np.arange(70, -1, -1.0):
                row, column = np.rint(aim + step * distance).astype(int)
                height = self.rest_height(foot, row, column)
                if height >= _NOTHING / 2:
                    continue
                if height > 1e-6:
                    break
                free = int(row), int(column), 0.0
            if free is not None:
                return free
        return None

    def upon(self, foot: Footprint, rng: Rng) -> tuple[int, int, float] | None:
        """A place on top of something, its middle above where it touches."""
        occupied = np.argwhere((self.height > 0.01) & (self.height < _NOTHING / 2))
        if not len(occupied):
            return None
        size = np.array(foot.bottom.shape)
        for _ in range(12):
            row, column = (occupied[rng.integers(len(occupied))] - size // 2 + rng.integers(-3, 4, 2)).astype(int)
            height = self.rest_height(foot, row, column)
            if 0.005 < height < 0.35 and self.contact_ok(foot, row, column, height):
                return int(row), int(column), height
        return None

    def lowest(self, foot: Footprint, rng: Rng, spread_m: float, tries: int = 14) -> tuple[int, int, float] | None:
        """Of some random places that where the body comes to lie lowest."""
        size = np.array(foot.bottom.shape)
        best = None
        for _ in range(tries):
            row, column = np.rint(CELLS / 2 - size / 2 + rng.normal(0, spread_m / CELL_M, 2)).astype(int)
            height = self.rest_height(foot, row, column)
            if height < 0.4 and (best is None or height < best[2]):
                best = int(row), int(column), height
        return best


def turn(rng: Rng) -> Array:
    """A random turn about the vertical (3, 3)."""
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1.0)))


def any_rotation(rng: Rng) -> Array:
    """Uniform over all rotations: from a random unit quaternion (Shoemake, 1992)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    )


def place(
    ground: Ground,
    points: NDArray[np.floating],
    rotations: NDArray[np.floating],
    weights: NDArray[np.floating],
    rng: Rng,
    how: str,
    spread_m: float,
) -> Array | None:
    """Object-to-world (4, 4) of the body with surface `points` (K, 3), or None where no place was found.

    rotations (R, 3, 3), weights (R,): the ways it rests. how: 'beside', 'touching', 'upon' or 'pile'.
    """
    for _ in range(4):
        if how == "pile" and rng.random() < 0.5:
            rotation = any_rotation(rng)
        else:
            chances = np.asarray(weights, np.float64)
            rotation = turn(rng) @ rotations[rng.choice(len(chances), p=chances / chances.sum())]
        turned = points @ rotation.T.astype(points.dtype)
        foot, corner = footprint_of(turned)
        if how == "upon":
            at = ground.upon(foot, rng)
        elif how == "pile":
            at = ground.lowest(foot, rng, spread_m)
        else:
            at = ground.beside(foot, rng, spread_m, how == "touching")
        if at is None:
            continue
        row, column, height = at
        ground.put(foot, row, column, height)
        pose = np.eye(4)
        pose[:3, :3] = rotation
        pose[:2, 3] = (np.array((row, column)) - CELLS / 2) * CELL_M - corner
        pose[2, 3] = height - float(turned[:, 2].min())
        return pose
    return None
