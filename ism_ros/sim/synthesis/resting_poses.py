"""How a body rests on a plane: the stable orientations of a mesh and how likely each is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

Array = NDArray[np.float64]

MAX_SIDES = 60
"""Number of the largest flat sides of a convex hull that are considered."""


@dataclass(frozen=True)
class RestingBody:
    """What a layout needs of one mesh.

    Attributes:
        points: (K, 3) float64 points on its surface, metres.
        centre_of_mass: (3,) metres.
        rotations: (R, 3, 3) object-to-world rotations in which it rests.
        weights: (R,) probability of each, sums to 1.
    """

    points: Array
    centre_of_mass: Array
    rotations: Array
    weights: Array


def make_resting_body(mesh: trimesh.Trimesh, samples: int = 24_000) -> RestingBody:
    """Compute the resting orientations of a mesh.

    Args:
        mesh: The mesh, metres.
        samples: Number of points on its surface.

    Returns:
        The body; the same mesh gives the same body.
    """
    points, _ = trimesh.sample.sample_surface(mesh, samples, seed=0)
    centre = np.asarray(mesh.center_mass if mesh.volume > 0 else mesh.convex_hull.center_mass)
    rotations, weights = _resting_rotations(mesh, centre)
    return RestingBody(np.asarray(points), centre, rotations, weights)


def is_inside(point: Array, polygon: Array, margin_m: float) -> bool:
    """Say whether a point lies well inside the convex hull of others.

    Args:
        point: (2,) metres.
        polygon: (K, 2) points, metres.
        margin_m: Least distance from the hull's edges.

    Returns:
        False also where the hull is degenerate.
    """
    if len(polygon) < 3 or np.linalg.matrix_rank(polygon - polygon.mean(0), tol=1e-6) < 2:
        return False
    equations = ConvexHull(polygon).equations
    return bool((equations[:, :2] @ point + equations[:, 2] < -margin_m).all())


def _resting_rotations(mesh: trimesh.Trimesh, centre: Array) -> tuple[Array, Array]:
    """Object-to-world rotations (R, 3, 3) that put a face of the convex hull on the table, and their weights (R,).

    A face counts if the centre of mass lies above it; its weight is the solid angle under which the centre of
    mass sees it, approximately the probability to end on it in a random throw.
    """
    hull = mesh.convex_hull
    normals = np.asarray(hull.face_normals)
    corners = np.asarray(hull.vertices)
    rotations, weights = [], []
    for normal, area in _flat_sides(normals, np.asarray(hull.area_faces)):
        depth = corners @ normal
        on_face = corners[depth > depth.max() - 5e-4]
        rotation = trimesh.geometry.align_vectors(normal, (0, 0, -1))[:3, :3]
        if not is_inside((rotation @ centre)[:2], (on_face @ rotation.T)[:, :2], margin_m=1e-3):
            continue
        rotations.append(rotation)
        weights.append(area / max(depth.max() - centre @ normal, 1e-3) ** 2)
    if not rotations:
        return np.eye(3)[None], np.ones(1)
    return np.array(rotations), np.array(weights) / np.sum(weights)


def _flat_sides(normals: Array, areas: Array) -> list[tuple[Array, float]]:
    """Normals and areas of the largest flat sides, each made of triangles of about one normal."""
    left = np.ones(len(normals), bool)
    sides = []
    for face in np.argsort(-areas):
        if left[face]:
            same = left & (normals @ normals[face] > 0.9998)
            left &= ~same
            sides.append((normals[face], float(areas[same].sum())))
    return sorted(sides, key=lambda side: -side[1])[:MAX_SIDES]
