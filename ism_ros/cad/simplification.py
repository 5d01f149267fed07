"""Simplification of meshes of very many triangles, before they are rendered many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import trimesh

MAX_TRIANGLES = 300_000
"""Number of triangles up to which a mesh is rendered as it is; with more, templates show no more."""
KEPT_TRIANGLES = 200_000
"""Number of triangles that a simplified mesh has at most."""
_FINEST_CELLS = 600
"""Number of cells along the diagonal to begin with: finer than the pixels of a template."""


def simplify(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Make a mesh of more than MAX_TRIANGLES one of at most KEPT_TRIANGLES that looks the same.

    Vertices within a cell of a grid become one, where they lie on average (Rossignac and Borrel, Multi-resolution 3D
    approximations, 1993): what moves does so by less than a cell, and each corner keeps its own place in the texture,
    which methods that collapse edges do not promise.

    Args:
        mesh: Of any size.

    Returns:
        A new mesh; `mesh` itself where it is small enough.
    """
    if len(mesh.faces) <= MAX_TRIANGLES:
        return mesh
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    low, high = mesh.bounds
    cell = float(np.linalg.norm(high - low)) / _FINEST_CELLS
    while True:
        cluster = _clusters(vertices - low, cell)
        kept = _distinct(cluster[faces])
        if len(kept) <= KEPT_TRIANGLES:
            break
        cell *= max(1.05, 1.02 * float(np.sqrt(len(kept) / KEPT_TRIANGLES)))
    smaller = mesh.copy()
    visual: Any = smaller.visual
    if visual.kind == "vertex":
        colors = _means(np.asarray(visual.vertex_colors, np.float64), cluster)
        visual.vertex_colors = np.rint(colors).astype(np.uint8)
    smaller.vertices = _means(vertices, cluster)
    smaller.update_faces(kept)
    smaller.remove_unreferenced_vertices()
    return smaller


def _clusters(vertices: NDArray[np.float64], cell: float) -> NDArray[np.int64]:
    """Return the number (V,) of the cell of each vertex, cells without any not counted."""
    place = (vertices / cell).astype(np.int64)
    size = place.max(axis=0) + 1
    _, cluster = np.unique((place[:, 0] * size[1] + place[:, 1]) * size[2] + place[:, 2], return_inverse=True)
    return np.asarray(cluster).reshape(-1)


def _distinct(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of `faces` (F, 3) with three different corners, one of those with the same three."""
    ordered = np.sort(faces, axis=1)
    rows = np.flatnonzero((ordered[:, 0] < ordered[:, 1]) & (ordered[:, 1] < ordered[:, 2]))
    ordered = ordered[rows]
    count = int(ordered.max(initial=0)) + 1
    # a million clusters fit three times into 64 bits
    _, first = np.unique((ordered[:, 0] * count + ordered[:, 1]) * count + ordered[:, 2], return_index=True)
    return np.asarray(np.sort(rows[first]))


def _means(values: NDArray[np.float64], cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Replace each of `values` (V, C) by the mean of its cluster."""
    counts = np.bincount(cluster)
    means = [np.bincount(cluster, weights=column) / counts for column in values.T]
    return np.stack(means, axis=1)[cluster]
