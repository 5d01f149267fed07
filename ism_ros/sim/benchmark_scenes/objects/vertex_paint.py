"""Vertex colors of meshes: a palette, paints as functions of the surface point, and parts joined to one mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

Array = NDArray[np.float64]
Paint = Callable[[Array], Array]
"""Function of surface points (N, 3), metres, to their RGB colors (N, 3) in [0, 255]."""

_PALETTE = np.array(
    [
        *((196, 40, 36), (220, 92, 30), (236, 178, 34), (242, 214, 92), (58, 132, 62), (122, 168, 60)),
        *((32, 104, 152), (64, 152, 196), (36, 52, 112), (110, 66, 140), (198, 92, 140), (124, 82, 52)),
        *((190, 150, 108), (226, 218, 200), (236, 236, 232), (146, 148, 150), (84, 88, 94), (40, 42, 46)),
    ],
    dtype=np.float64,
)
"""RGB colors that objects are painted with, before jitter."""
STEEL = np.array((158.0, 160.0, 164.0))
"""RGB of bare metal."""
RUBBER = np.array((44.0, 44.0, 48.0))
"""RGB of grips and tyres."""


def random_color(rng: np.random.Generator) -> Array:
    """Sample a color of the palette with jitter.

    Args:
        rng: Source of randomness.

    Returns:
        (3,) RGB in [0, 255].
    """
    return np.clip(_PALETTE[rng.integers(len(_PALETTE))] + rng.normal(0, 10, 3), 8, 246)


def two_colors(rng: np.random.Generator) -> tuple[Array, Array]:
    """Sample two different colors of the palette with jitter.

    Args:
        rng: Source of randomness.

    Returns:
        Two arrays (3,), RGB in [0, 255].
    """
    first, second = _PALETTE[rng.choice(len(_PALETTE), 2, replace=False)]
    return tuple(np.clip(c + rng.normal(0, 8, 3), 8, 246) for c in (first, second))  # type: ignore[return-value]


def plain_paint(color: Array) -> Paint:
    """Create a paint of one color.

    Args:
        color: (3,) RGB in [0, 255].

    Returns:
        The paint.
    """
    return lambda points: np.broadcast_to(color, points.shape)


def banded_paint(first: Array, second: Array, edges: Array) -> Paint:
    """Create a paint of horizontal bands of two alternating colors.

    Args:
        first: (3,) RGB of the lowest band.
        second: (3,) RGB of the next one.
        edges: (K,) heights in metres at which the color changes.

    Returns:
        The paint.
    """

    def paint(points: Array) -> Array:
        odd = np.searchsorted(np.sort(edges), points[:, 2]) % 2 == 1
        return np.where(odd[:, None], second, first)

    return paint


def dotted_paint(ground: Array, dot: Array, pitch: float, share: float) -> Paint:
    """Create a paint of dots on a lattice of azimuth and height.

    Args:
        ground: (3,) RGB between the dots.
        dot: (3,) RGB of the dots.
        pitch: Distance of dots in metres.
        share: Radius of a dot as a fraction of the pitch.

    Returns:
        The paint.
    """

    def paint(points: Array) -> Array:
        radius = np.maximum(np.hypot(points[:, 0], points[:, 1]).max(), 1e-3)
        u = np.arctan2(points[:, 1], points[:, 0]) * radius / pitch
        v = points[:, 2] / pitch
        u = u + 0.5 * (np.floor(v) % 2)
        inside = np.hypot(u % 1 - 0.5, v % 1 - 0.5) < share
        return np.where(inside[:, None], dot, ground)

    return paint


def _uneven(colors: Array, points: Array, rng: np.random.Generator) -> Array:
    """Add slow variations of a few percent, so that no surface has one exact color."""
    waves = rng.normal(0, 1, (5, 3)) * 2 * np.pi / 0.05
    phase = rng.uniform(0, 2 * np.pi, 5)
    shade = np.sin(points @ waves.T + phase).mean(axis=1)
    return np.clip(colors * (1 + 0.05 * shade[:, None]), 0, 255)


def paint_mesh(mesh: trimesh.Trimesh, paint: Paint, rng: np.random.Generator) -> trimesh.Trimesh:
    """Color the vertices of a closed mesh.

    Args:
        mesh: The mesh; turned inside out in place if its volume is negative.
        paint: The paint.
        rng: Source of its unevenness.

    Returns:
        A new mesh with vertex colors.
    """
    if mesh.volume < 0:
        mesh.invert()
    points = np.asarray(mesh.vertices)
    rgb = _uneven(paint(points), points, rng).astype(np.uint8)
    alpha = np.full((len(rgb), 1), 255, np.uint8)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=np.hstack([rgb, alpha]), process=False)


def join_parts(parts: list[trimesh.Trimesh], shine: float) -> trimesh.Trimesh:
    """Concatenate painted parts into one mesh.

    Args:
        parts: Meshes with vertex colors; they may intersect.
        shine: How mirror-like the object is, in [0, 1]; kept in metadata.

    Returns:
        One mesh with vertex colors.
    """
    visuals: list[Any] = [part.visual for part in parts]
    colors = np.vstack([visual.vertex_colors for visual in visuals])
    first = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    faces = np.vstack([part.faces + start for part, start in zip(parts, first, strict=True)])
    vertices = np.vstack([part.vertices for part in parts])
    mesh = trimesh.Trimesh(vertices, faces, vertex_colors=colors, process=False)
    mesh.metadata["shine"] = shine
    return mesh
