"""Things at rest on a table: on a face they stand on, side by side, touching, sometimes one upon another.

Objects are kept apart as height fields: nothing is ever above and below another thing in the same cell unless
it rests on it. That forbids some poses that exist (a spoon under a bowl's rim) and never lets bodies overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

Array = NDArray[np.float64]

CELL_M = 0.004
REACH_M = 0.4
"""Half the side of the square of table that is managed, about the origin."""
_CELLS = int(2 * REACH_M / CELL_M)


@dataclass(frozen=True)
class Body:
    """What the layout needs of one mesh: surface points (K, 3), the ways it rests and how likely each is."""

    points: Array
    centre_of_mass: Array
    rotations: Array
    weights: Array


def body_of(mesh: trimesh.Trimesh, samples: int = 24_000) -> Body:
    """Prepares `mesh` (metres); the same mesh gives the same body."""
    points, _ = trimesh.sample.sample_surface(mesh, samples, seed=0)
    centre = np.asarray(mesh.center_mass if mesh.volume > 0 else mesh.convex_hull.center_mass)
    rotations, weights = _resting(mesh, centre)
    return Body(np.asarray(points), centre, rotations, weights)


def _resting(mesh: trimesh.Trimesh, centre: Array) -> tuple[Array, Array]:
    """Object-to-world rotations (R, 3, 3) that put a face of the convex hull on the table, and their weights.

    A face counts if the centre of mass lies above it; its weight is the solid angle under which the centre of
    mass sees it, about the chance to end on it in a random throw.
    """
    hull = mesh.convex_hull
    normals = np.asarray(hull.face_normals)
    corners = np.asarray(hull.vertices)
    rotations, weights = [], []
    for normal, area in _sides(normals, np.asarray(hull.area_faces)):
        depth = corners @ normal
        on_face = corners[depth > depth.max() - 5e-4]
        rotation = trimesh.geometry.align_vectors(normal, (0, 0, -1))[:3, :3]
        if not _inside((rotation @ centre)[:2], (on_face @ rotation.T)[:, :2], margin=1e-3):
            continue
        rotations.append(rotation)
        weights.append(area / max(depth.max() - centre @ normal, 1e-3) ** 2)
    if not rotations:
        return np.eye(3)[None], np.ones(1)
    return np.array(rotations), np.array(weights) / np.sum(weights)


def _sides(normals: Array, areas: Array, most: int = 60) -> list[tuple[Array, float]]:
    """Normals and areas of the `most` largest flat sides, each made of triangles of about one normal."""
    left = np.ones(len(normals), bool)
    sides = []
    for face in np.argsort(-areas):
        if left[face]:
            same = left & (normals @ normals[face] > 0.9998)
            left &= ~same
            sides.append((normals[face], float(areas[same].sum())))
    return sorted(sides, key=lambda side: -side[1])[:most]


def _inside(point: Array, polygon: Array, margin: float) -> bool:
    """Whether `point` (2,) lies in the convex hull of `polygon` (K, 2), at least `margin` from its edge."""
    if len(polygon) < 3 or np.linalg.matrix_rank(polygon - polygon.mean(0), tol=1e-6) < 2:
        return False
    equations = ConvexHull(polygon).equations
    return bool((equations[:, :2] @ point + equations[:, 2] < -margin).all())


@dataclass(frozen=True)
class _Footprint:
    """Lowest and highest point of a body over each cell it covers, heights above its lowest point."""

    cells: NDArray[np.int64]
    bottom: Array
    top: Array

    @staticmethod
    def of(points: Array) -> _Footprint:
        index = np.floor(points[:, :2] / CELL_M).astype(np.int64)
        cells, group = np.unique(index, axis=0, return_inverse=True)
        bottom = np.full(len(cells), np.inf)
        top = np.full(len(cells), -np.inf)
        np.minimum.at(bottom, group.ravel(), points[:, 2])
        np.maximum.at(top, group.ravel(), points[:, 2])
        return _Footprint(cells, bottom, top)


class Table:
    """The heights of what already lies on the table, and where the next thing can go."""

    def __init__(self) -> None:
        self._height = np.zeros((_CELLS, _CELLS))

    def place(self, body: Body, rng: np.random.Generator, stack: bool, spread_m: float) -> Array | None:
        """Object-to-world (4, 4) of `body` put on the table, or upon something if `stack`; None: no room."""
        for _ in range(12):
            rotation = _turn(rng.uniform(0, 2 * np.pi)) @ body.rotations[rng.choice(len(body.weights), p=body.weights)]
            points = body.points @ rotation.T
            low = points[:, 2].min()
            print_ = _Footprint.of(points - (0, 0, low))
            at = self._upon(print_, (rotation @ body.centre_of_mass)[:2], rng) if stack else None
            if at is None:
                at = self._beside(print_, rng, spread_m)
            if at is None:
                continue
            cell, height = at
            rows = print_.cells + cell
            self._height[rows[:, 0], rows[:, 1]] = np.maximum(self._height[rows[:, 0], rows[:, 1]], height + print_.top)
            pose = np.eye(4)
            pose[:3, :3] = rotation
            pose[:2, 3] = (cell - _CELLS // 2) * CELL_M
            pose[2, 3] = height - low
            return pose
        return None

    def _rest_height(self, print_: _Footprint, cell: NDArray[np.int64]) -> float | None:
        """How high the body comes to rest with its origin over `cell`, None where it leaves the table."""
        rows = print_.cells + cell
        if rows.min() < 0 or rows.max() >= _CELLS:
            return None
        return float((self._height[rows[:, 0], rows[:, 1]] - print_.bottom).max())

    def _beside(
        self, print_: _Footprint, rng: np.random.Generator, spread_m: float
    ) -> tuple[NDArray[np.int64], float] | None:
        """A free place: half of the time pushed against what is there, else anywhere about the middle."""
        middle = np.full(2, _CELLS // 2)
        for _ in range(20):
            if rng.random() < 0.5 and self._height.any():
                angle = rng.uniform(0, 2 * np.pi)
                step = np.array((np.cos(angle), np.sin(angle)))
                aim = middle + rng.normal(0, 0.25 * spread_m / CELL_M, 2)
                cell = self._pushed(print_, aim, step)
            else:
                cell = np.rint(middle + rng.normal(0, 0.6 * spread_m / CELL_M, 2)).astype(np.int64)
                # Free means free of a rim of one cell as well: these do not touch.
                around = [self._rest_height(print_, cell + d) for d in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))]
                cell = cell if all(h is not None and h <= 0 for h in around) else None
            if cell is not None and np.linalg.norm(cell - middle) * CELL_M < 1.5 * spread_m:
                return cell, 0.0
        return None

    def _pushed(self, print_: _Footprint, aim: Array, step: Array) -> NDArray[np.int64] | None:
        """The last free cell on the way in from outside along `step` towards `aim`."""
        free = None
        for distance in np.arange(0.3 / CELL_M, -1, -1.0):
            cell = np.rint(aim + step * distance).astype(np.int64)
            height = self._rest_height(print_, cell)
            if height is None:
                continue
            if height > 0:
                break
            free = cell
        return free

    def _upon(
        self, print_: _Footprint, centre: Array, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], float] | None:
        """A place on top of something, its centre of mass above where it touches."""
        occupied = np.argwhere(self._height > 0.02)
        if not len(occupied):
            return None
        for _ in range(30):
            cell = occupied[rng.integers(len(occupied))] - np.rint(centre / CELL_M).astype(np.int64)
            height = self._rest_height(print_, cell)
            if height is None or height < 0.01:
                continue
            rows = print_.cells + cell
            gap = height + print_.bottom - self._height[rows[:, 0], rows[:, 1]]
            touching = (print_.cells[gap < 0.0015] + 0.5) * CELL_M
            if len(touching) >= 12 and _inside(centre, touching, margin=0.006):
                return cell, height
        return None


def _turn(angle: float) -> Array:
    """Rotation about the vertical."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1.0)))
