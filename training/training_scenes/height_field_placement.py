"""Placement of objects one after another on a table or in a bin, as height fields, so that they never intersect.

An object comes to rest as deep as the heights under its footprint allow. On a table it stands next to the others,
sometimes pushed against them, or on top of one of them; in a pile it goes where it lies lowest of several tries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ism_ros.sim.synthesis.camera_poses import rotation_about_z

Array = NDArray[np.float64]
Rng = np.random.Generator

CELL_M = 0.005
"""Side of a cell, metres."""
CELLS = 192
"""Cells of a side of the height field."""
TILT_RAD = 0.15
"""Standard deviation of the tilt of objects in a heap, radians."""
_NOTHING = 1e3
"""Height that stands for no surface, metres."""


@dataclass(frozen=True)
class Footprint:
    """Lowest and highest point of an object over each cell, metres above its lowest point.

    Attributes:
        bottom: (h, w) float64, 1000 where there is no surface.
        top: (h, w) float64, -1000 where there is no surface.
    """

    bottom: Array
    top: Array


def footprint_of(points: NDArray[np.floating]) -> tuple[Footprint, Array]:
    """Compute the footprint of surface points.

    Args:
        points: (K, 3) metres.

    Returns:
        The footprint, and the corner (2,) of its first cell, metres.
    """
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
    """The height field of what lies on a table or in a bin.

    Attributes:
        height: (CELLS, CELLS) float64 metres, centred on the origin.
    """

    def __init__(self, walls_m: float = 0.0, inside_m: tuple[float, float] = (0.0, 0.0)) -> None:
        """Create an empty table or bin.

        Args:
            walls_m: Height of a bin's walls, metres; 0 = a table.
            inside_m: Sides of the bin's floor, metres.
        """
        self.height = np.zeros((CELLS, CELLS))
        if walls_m > 0:
            self.height[:] = _NOTHING
            half = (np.array(inside_m) / 2 / CELL_M).astype(int)
            middle = CELLS // 2
            self.height[middle - half[0] : middle + half[0], middle - half[1] : middle + half[1]] = 0

    def fill(self, low_m: Array, high_m: Array, height_m: float) -> None:
        """Raise a rectangle of the ground, as a plate on it does.

        Args:
            low_m: (2,) its lower corner, metres.
            high_m: (2,) its upper corner, metres.
            height_m: Its height, metres.
        """
        first = np.clip(np.floor(low_m / CELL_M + CELLS / 2).astype(int), 0, CELLS)
        last = np.clip(np.ceil(high_m / CELL_M + CELLS / 2).astype(int), 0, CELLS)
        here = self.height[first[0] : last[0], first[1] : last[1]]
        np.maximum(here, height_m, out=here)

    def height_at(self, at_m: Array) -> float:
        """Read the height at a point.

        Args:
            at_m: (2,) metres.

        Returns:
            Metres.
        """
        row, column = np.clip(np.floor(at_m / CELL_M + CELLS / 2).astype(int), 0, CELLS - 1)
        return float(self.height[row, column])

    def rest_height(self, foot: Footprint, row: int, column: int) -> float:
        """Compute how high an object rests.

        Args:
            foot: Its footprint.
            row: Row of its first cell.
            column: Column of its first cell.

        Returns:
            Height of its lowest point, metres; 1000 outside of the field.
        """
        rows, columns = foot.bottom.shape
        if row < 0 or column < 0 or row + rows > CELLS or column + columns > CELLS:
            return _NOTHING
        return float((self.height[row : row + rows, column : column + columns] - foot.bottom).max())

    def put(self, foot: Footprint, row: int, column: int, height: float) -> None:
        """Add an object to the height field.

        Args:
            foot: Its footprint.
            row: Row of its first cell.
            column: Column of its first cell.
            height: Height of its lowest point, metres.
        """
        rows, columns = foot.bottom.shape
        here = self.height[row : row + rows, column : column + columns]
        np.maximum(here, height + foot.top, out=here)

    def is_supported(self, foot: Footprint, row: int, column: int, height: float) -> bool:
        """Say whether the middle of the footprint lies within the area of contact with what is below.

        Args:
            foot: The footprint.
            row: Row of its first cell.
            column: Column of its first cell.
            height: Height of its lowest point, metres.

        Returns:
            True where it does.
        """
        rows, columns = foot.bottom.shape
        gap = height + foot.bottom - self.height[row : row + rows, column : column + columns]
        touching = np.argwhere((gap < 0.003) & (foot.bottom < _NOTHING / 2))
        if len(touching) < 6:
            return False
        middle = np.array((rows, columns)) / 2
        low, high = touching.min(axis=0), touching.max(axis=0)
        return bool((middle > low).all() and (middle < high).all())

    def find_free(self, foot: Footprint, rng: Rng, spread_m: float, touching: bool) -> tuple[int, int, float] | None:
        """Find a free place on the table around its middle.

        Args:
            foot: Footprint of the object.
            rng: Source of randomness.
            spread_m: How far from the middle, metres.
            touching: Push it in from outside until it meets another object.

        Returns:
            Row and column of its first cell and height of its lowest point, or None where there is no such place.
        """
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

    def find_on_top(self, foot: Footprint, rng: Rng) -> tuple[int, int, float] | None:
        """Find a place on top of another object, the middle above the area of contact.

        Args:
            foot: Footprint of the object.
            rng: Source of randomness.

        Returns:
            Row and column of its first cell and height of its lowest point, or None where there is no such place.
        """
        occupied = np.argwhere((self.height > 0.01) & (self.height < _NOTHING / 2))
        if not len(occupied):
            return None
        size = np.array(foot.bottom.shape)
        for _ in range(12):
            row, column = (occupied[rng.integers(len(occupied))] - size // 2 + rng.integers(-3, 4, 2)).astype(int)
            height = self.rest_height(foot, row, column)
            if 0.005 < height < 0.35 and self.is_supported(foot, row, column, height):
                return int(row), int(column), height
        return None

    def find_lowest(self, foot: Footprint, rng: Rng, spread_m: float, tries: int = 14) -> tuple[int, int, float] | None:
        """Find of some random places the one where the object lies lowest.

        Args:
            foot: Footprint of the object.
            rng: Source of randomness.
            spread_m: How far from the middle, metres.
            tries: How many places.

        Returns:
            Row and column of its first cell and height of its lowest point, or None where there is no such place.
        """
        size = np.array(foot.bottom.shape)
        best = None
        for _ in range(tries):
            row, column = np.rint(CELLS / 2 - size / 2 + rng.normal(0, spread_m / CELL_M, 2)).astype(int)
            height = self.rest_height(foot, row, column)
            if height < 0.4 and (best is None or height < best[2]):
                best = int(row), int(column), height
        return best


def random_rotation(rng: Rng) -> Array:
    """Sample a rotation uniformly, from a random unit quaternion (Shoemake, 1992).

    Args:
        rng: Source of randomness.

    Returns:
        (3, 3) rotation matrix.
    """
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    )


def tilt(rng: Rng) -> Array:
    """Sample a rotation by a small angle about a level axis.

    Args:
        rng: Source of randomness.

    Returns:
        (3, 3) rotation matrix.
    """
    vector = np.array((*rng.normal(0, TILT_RAD, 2), 0.0))
    return Rotation.from_rotvec(vector).as_matrix()


def place(
    ground: Ground,
    points: NDArray[np.floating],
    rotations: NDArray[np.floating],
    weights: NDArray[np.floating],
    rng: Rng,
    how: str,
    spread_m: float,
) -> Array | None:
    """Place one object.

    Args:
        ground: What lies there already; the object is added to it.
        points: (K, 3) points on its surface, metres.
        rotations: (R, 3, 3) object-to-world rotations in which it rests.
        weights: (R,) weight of each.
        rng: Source of randomness.
        how: "free", "touching", "on_top", "pile" or "heap", a pile in which all lie nearly as they rest alone.
        spread_m: How far from the middle, metres.

    Returns:
        (4, 4) object-to-world transform, or None where no place was found.
    """
    for _ in range(4):
        if how == "pile" and rng.random() < 0.5:
            rotation = random_rotation(rng)
        else:
            probabilities = np.asarray(weights, np.float64)
            rotation = (
                rotation_about_z(rng.uniform(0, 2 * np.pi))
                @ rotations[rng.choice(len(probabilities), p=probabilities / probabilities.sum())]
            )
        if how == "heap":
            rotation = tilt(rng) @ rotation
        rotated = points @ rotation.T.astype(points.dtype)
        foot, corner = footprint_of(rotated)
        if how == "on_top":
            found = ground.find_on_top(foot, rng)
        elif how in ("pile", "heap"):
            found = ground.find_lowest(foot, rng, spread_m)
        else:
            found = ground.find_free(foot, rng, spread_m, how == "touching")
        if found is None:
            continue
        row, column, height = found
        ground.put(foot, row, column, height)
        pose = np.eye(4)
        pose[:3, :3] = rotation
        pose[:2, 3] = (np.array((row, column)) - CELLS / 2) * CELL_M - corner
        pose[2, 3] = height - float(rotated[:, 2].min())
        return pose
    return None
