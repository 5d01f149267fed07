"""Closed solids in metres, meshed finely enough to carry vertex colors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

Array = NDArray[np.float64]

EDGE_M = 0.004
"""Longest edge of a mesh that carries vertex colors: the finest detail that can be painted on it."""


def _subdivided(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Subdivide until no edge is longer than EDGE_M."""
    vertices, faces = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, EDGE_M, max_iter=12)
    fine = trimesh.Trimesh(vertices, faces, process=False)
    fine.merge_vertices()
    return fine


def box(extents: Any, centre: Any = (0, 0, 0)) -> trimesh.Trimesh:
    """Make a box.

    Args:
        extents: (3,) sides in metres.
        centre: (3,) its centre.

    Returns:
        The mesh.
    """
    box = _subdivided(trimesh.creation.box(extents=np.asarray(extents, float)))
    box.apply_translation(centre)
    return box


def wedge(bottom: tuple[float, float], top: tuple[float, float], height: float, centre: Any) -> trimesh.Trimesh:
    """Make a frustum of a box.

    Args:
        bottom: Sides along x and y at the bottom, metres.
        top: Those at the top.
        height: Side along z, metres.
        centre: (3,) its centre.

    Returns:
        The mesh.
    """
    box = trimesh.creation.box(extents=(1, 1, 1))
    corners = np.array(box.vertices)
    size = np.where(corners[:, 2:] > 0, np.asarray(top), np.asarray(bottom))
    corners[:, :2] *= size
    corners[:, 2] *= height
    wedge = _subdivided(trimesh.Trimesh(corners, box.faces, process=False))
    wedge.apply_translation(centre)
    return wedge


def ellipsoid(radii: Any, centre: Any) -> trimesh.Trimesh:
    """Make an ellipsoid.

    Args:
        radii: (3,) semi-axes in metres.
        centre: (3,) its centre.

    Returns:
        The mesh.
    """
    ball = trimesh.creation.icosphere(subdivisions=4 if max(radii) > 0.02 else 3)
    ball.apply_scale(radii)
    ball.apply_translation(centre)
    return ball


def densify(path: Array, step: float) -> Array:
    """Insert points into a polyline.

    Args:
        path: (N, D) points.
        step: Longest segment of the result.

    Returns:
        (M, D) points, the given ones among them.
    """
    pieces = [path[:1]]
    for start, end in itertools.pairwise(path):
        count = max(1, int(np.ceil(np.linalg.norm(end - start) / step)))
        pieces.append(start + (end - start) * (np.arange(1, count + 1) / count)[:, None])
    return np.vstack(pieces)


def grid_faces(rows: int, columns: int) -> NDArray[np.int64]:
    """Triangulate a grid of vertices.

    Args:
        rows: Vertices along the first axis.
        columns: Vertices along the second axis.

    Returns:
        (F, 3) vertex indices, two triangles for each cell.
    """
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def revolve_with_uv(profile: Any, segments: int = 96) -> tuple[Array, NDArray[np.int64], Array]:
    """Revolve a profile about z.

    Args:
        profile: (N, 2) radius and z in metres, from the bottom of the axis to its top.
        segments: Divisions of the full circle.

    Returns:
        Vertices (V, 3), faces (F, 3) and UV (V, 2): u once round, v by arc length from 1 at the start to 0 at the end.
    """
    path = densify(np.asarray(profile, float), EDGE_M)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    turn = np.linspace(0, 2 * np.pi, segments + 1)
    radius, height = path[:, 0], path[:, 1]
    vertices = np.stack(
        [
            radius[:, None] * np.cos(turn),
            radius[:, None] * np.sin(turn),
            np.repeat(height[:, None], len(turn), 1),
        ],
        -1,
    )
    uv = np.stack(np.broadcast_arrays(turn / (2 * np.pi), (1 - length / length[-1])[:, None]), -1)
    return vertices.reshape(-1, 3), grid_faces(len(path), len(turn)), uv.reshape(-1, 2)


def revolve(profile: Any, segments: int = 96) -> trimesh.Trimesh:
    """Revolve a profile about z into a closed mesh.

    Args:
        profile: (N, 2) radius and z in metres, from the bottom of the axis to its top.
        segments: Divisions of the full circle.

    Returns:
        The mesh.
    """
    vertices, faces, _ = revolve_with_uv(profile, segments)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.merge_vertices()
    mesh.update_faces(mesh.nondegenerate_faces())
    return mesh


def cylinder(radius: float, height: float, centre: Any, axis: str = "z", segments: int = 48) -> trimesh.Trimesh:
    """Make a cylinder.

    Args:
        radius: Metres.
        height: Metres.
        centre: (3,) its centre.
        axis: "x", "y" or "z".
        segments: Sides of its section.

    Returns:
        The mesh.
    """
    mesh = revolve([(0, -height / 2), (radius, -height / 2), (radius, height / 2), (0, height / 2)], segments)
    if axis == "x":
        mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (0, 1, 0)))
    elif axis == "y":
        mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0)))
    mesh.apply_translation(centre)
    return mesh


def tube(path: Any, radius: Any, sides: int = 20) -> trimesh.Trimesh:
    """Sweep a circle along a path, with closed ends.

    Args:
        path: (N, 3) points in the x-z plane, metres.
        radius: (N,) or one number, metres.
        sides: Sides of the section.

    Returns:
        The mesh.
    """
    path = np.asarray(path, float)
    radius = np.broadcast_to(np.asarray(radius, float), len(path))
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.array((0.0, 1.0, 0.0))
    up = np.cross(tangent, side)
    turn = np.linspace(0, 2 * np.pi, sides + 1)[:-1]
    ring = path[:, None] + radius[:, None, None] * (
        np.cos(turn)[None, :, None] * up[:, None] + np.sin(turn)[None, :, None] * side
    )
    rings = np.concatenate([np.repeat(path[:1, None], sides, 1), ring, np.repeat(path[-1:, None], sides, 1)])
    rings = np.concatenate([rings, rings[:, :1]], axis=1)
    mesh = trimesh.Trimesh(rings.reshape(-1, 3), grid_faces(len(rings), sides + 1), process=False)
    mesh.merge_vertices()
    mesh.update_faces(mesh.nondegenerate_faces())
    return mesh


def arc_path(radius: float, start_deg: float, end_deg: float, centre: tuple[float, float], count: int = 28) -> Array:
    """Sample an arc in the x-z plane.

    Args:
        radius: Its radius.
        start_deg: Angle of its start from x towards z, degrees.
        end_deg: Angle of its end.
        centre: x and z of its centre.
        count: Number of points.

    Returns:
        (count, 3) points.
    """
    angle = np.deg2rad(np.linspace(start_deg, end_deg, count))
    return np.stack([centre[0] + radius * np.cos(angle), np.zeros(count), centre[1] + radius * np.sin(angle)], axis=1)
