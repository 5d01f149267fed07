"""Objects at rest on a table: on a face they stand on, side by side, touching, sometimes one on top of another.

Objects are kept apart as height fields: no cell holds one object above and another one below, unless one rests on the
other. That forbids some poses that exist (a spoon under a bowl's rim) and never lets bodies overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ism_ros.sim.synthesis.camera_poses import rotation_about_z
from ism_ros.sim.synthesis.resting_poses import RestingBody, is_inside

Array = NDArray[np.float64]

CELL_M = 0.004
"""Side of a cell of the height field, metres."""
HALF_SIDE_M = 0.4
"""Half the side of the square of table that objects are placed on, about the origin, metres."""
_CELLS = int(2 * HALF_SIDE_M / CELL_M)


@dataclass(frozen=True)
class _Footprint:
    """Lowest and highest point of a body over each cell it covers, metres above its lowest point.

    Attributes:
        cells: (C, 2) int64 cells, relative to the body's origin.
        bottom: (C,) lowest point.
        top: (C,) highest point.
    """

    cells: NDArray[np.int64]
    bottom: Array
    top: Array

    @staticmethod
    def of(points: Array) -> _Footprint:
        """Compute the footprint of surface points (K, 3), the lowest of them at z = 0."""
        index = np.floor(points[:, :2] / CELL_M).astype(np.int64)
        cells, group = np.unique(index, axis=0, return_inverse=True)
        bottom = np.full(len(cells), np.inf)
        top = np.full(len(cells), -np.inf)
        np.minimum.at(bottom, group.ravel(), points[:, 2])
        np.maximum.at(top, group.ravel(), points[:, 2])
        return _Footprint(cells, bottom, top)


class Table:
    """The height field of what lies on the table, and the search for where the next object can go."""

    def __init__(self) -> None:
        """Create an empty table."""
        self._height = np.zeros((_CELLS, _CELLS))

    def place(self, body: RestingBody, rng: np.random.Generator, stack: bool, spread_m: float) -> Array | None:
        """Put an object on the table.

        Args:
            body: The object.
            rng: Source of randomness.
            stack: Try to put it on top of another object first.
            spread_m: How far from the middle objects are spread, metres.

        Returns:
            (4, 4) object-to-world transform, or None where no free place was found.
        """
        for _ in range(12):
            rotation = (
                rotation_about_z(rng.uniform(0, 2 * np.pi))
                @ body.rotations[rng.choice(len(body.weights), p=body.weights)]
            )
            points = body.points @ rotation.T
            low = points[:, 2].min()
            footprint = _Footprint.of(points - (0, 0, low))
            found = self._on_top(footprint, (rotation @ body.centre_of_mass)[:2], rng) if stack else None
            if found is None:
                found = self._on_table(footprint, rng, spread_m)
            if found is None:
                continue
            cell, height = found
            rows = footprint.cells + cell
            self._height[rows[:, 0], rows[:, 1]] = np.maximum(
                self._height[rows[:, 0], rows[:, 1]], height + footprint.top
            )
            pose = np.eye(4)
            pose[:3, :3] = rotation
            pose[:2, 3] = (cell - _CELLS // 2) * CELL_M
            pose[2, 3] = height - low
            return pose
        return None

    def _rest_height(self, footprint: _Footprint, cell: NDArray[np.int64]) -> float | None:
        """How high the body comes to rest with its origin over `cell`, None where it leaves the table."""
        rows = footprint.cells + cell
        if rows.min() < 0 or rows.max() >= _CELLS:
            return None
        return float((self._height[rows[:, 0], rows[:, 1]] - footprint.bottom).max())

    def _on_table(
        self, footprint: _Footprint, rng: np.random.Generator, spread_m: float
    ) -> tuple[NDArray[np.int64], float] | None:
        """A free cell: half of the time pushed against what is there, else anywhere around the middle."""
        middle = np.full(2, _CELLS // 2)
        for _ in range(20):
            if rng.random() < 0.5 and self._height.any():
                angle = rng.uniform(0, 2 * np.pi)
                step = np.array((np.cos(angle), np.sin(angle)))
                aim = middle + rng.normal(0, 0.25 * spread_m / CELL_M, 2)
                cell = self._pushed(footprint, aim, step)
            else:
                cell = np.rint(middle + rng.normal(0, 0.6 * spread_m / CELL_M, 2)).astype(np.int64)
                # Free means free of a rim of one cell as well: these do not touch.
                around = [self._rest_height(footprint, cell + d) for d in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))]
                cell = cell if all(h is not None and h <= 0 for h in around) else None
            if cell is not None and np.linalg.norm(cell - middle) * CELL_M < 1.5 * spread_m:
                return cell, 0.0
        return None

    def _pushed(self, footprint: _Footprint, aim: Array, step: Array) -> NDArray[np.int64] | None:
        """The last free cell when moving in from outside against `step` towards `aim`."""
        free = None
        for distance in np.arange(0.3 / CELL_M, -1, -1.0):
            cell = np.rint(aim + step * distance).astype(np.int64)
            height = self._rest_height(footprint, cell)
            if height is None:
                continue
            if height > 0:
                break
            free = cell
        return free

    def _on_top(
        self, footprint: _Footprint, centre: Array, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], float] | None:
        """A cell on top of another object, the centre of mass above the contact area."""
        occupied = np.argwhere(self._height > 0.02)
        if not len(occupied):
            return None
        for _ in range(30):
            cell = occupied[rng.integers(len(occupied))] - np.rint(centre / CELL_M).astype(np.int64)
            height = self._rest_height(footprint, cell)
            if height is None or height < 0.01:
                continue
            rows = footprint.cells + cell
            gap = height + footprint.bottom - self._height[rows[:, 0], rows[:, 1]]
            touching = (footprint.cells[gap < 0.0015] + 0.5) * CELL_M
            if len(touching) >= 12 and is_inside(centre, touching, margin_m=0.006):
                return cell, height
        return None
