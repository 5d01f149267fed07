"""Random shapes: primitives, superquadrics, revolved and extruded profiles, tubes, and compositions of them.

All have a size of about 1; `random_objects` scales them. Unions are meshes that intersect: rays hit only the outside.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import trimesh
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rng = np.random.Generator


def _grid(points: Array, around: bool = True) -> trimesh.Trimesh:
    """The surface through points (R, C, 3), closed along C where `around`."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(index, -1, axis=1) if around else index[:, 1:]
    left = index if around else index[:, :-1]
    a, b, c, d = left[:-1], right[:-1], right[1:], left[1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    mesh = trimesh.Trimesh(points.reshape(-1, 3), faces, process=False)
    mesh.merge_vertices(digits_vertex=7)
    mesh.update_faces(mesh.nondegenerate_faces(height=1e-9))
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def superquadric(rng: Rng) -> trimesh.Trimesh:
    """Make a superquadric, sometimes tapered.

    x = a cos^e1(t) cos^e2(p), y = b cos^e1(t) sin^e2(p), z = c sin^e1(t) (Barr, 1981).

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    e1, e2 = (float(rng.choice([rng.uniform(0.1, 0.4), rng.uniform(0.4, 1.2), rng.uniform(1.2, 2.0)])) for _ in "12")
    t = np.linspace(-np.pi / 2, np.pi / 2, 25)[:, None]
    p = np.linspace(0, 2 * np.pi, 48, endpoint=False)[None]

    def power(value: Array, exponent: float) -> Array:
        return np.sign(value) * np.abs(value) ** exponent

    x = power(np.cos(t), e1) * power(np.cos(p), e2)
    y = power(np.cos(t), e1) * power(np.sin(p), e2)
    z = np.broadcast_to(power(np.sin(t), e1), x.shape)
    points = np.stack([x, y, z], -1) * 0.5
    points[..., :2] *= 1 + rng.choice([0, rng.uniform(-0.6, 0.6)]) * points[..., 2:]
    return _grid(points)


def box(rng: Rng) -> trimesh.Trimesh:
    """Make a cube.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    return trimesh.creation.box(extents=(1, 1, 1))


def cylinder(rng: Rng) -> trimesh.Trimesh:
    """Make a cylinder.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    return _revolve(np.array([(0, -0.5), (0.5, -0.5), (0.5, 0.5), (0, 0.5)]))


def cone(rng: Rng) -> trimesh.Trimesh:
    """Make a cone or frustum.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    return _revolve(np.array([(0, -0.5), (0.5, -0.5), (0.5 * rng.uniform(0, 0.8), 0.5), (0, 0.5)]))


def torus(rng: Rng) -> trimesh.Trimesh:
    """Make a torus.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    return trimesh.creation.torus(0.5, rng.uniform(0.06, 0.25), major_sections=40, minor_sections=14)


def _revolve(profile: Array, segments: int = 48) -> trimesh.Trimesh:
    """A profile (N, 2) of radius and height revolved about z."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    radius, height = profile[:, :1], profile[:, 1:]
    return _grid(np.stack([radius * np.cos(angle), radius * np.sin(angle), height + 0 * angle], -1))


def revolved(rng: Rng) -> trimesh.Trimesh:
    """Make a vase, bottle, cup or bowl: steps or a smooth line of radii, half of them hollow from the top.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    count = int(rng.integers(3, 7))
    radii = rng.uniform(0.12, 0.5, count)
    heights = np.linspace(-0.5, 0.5, count)
    if rng.random() < 0.6:
        fine = np.linspace(-0.5, 0.5, 20)
        radii, heights = np.interp(fine, heights, radii), fine
        radii = np.convolve(np.pad(radii, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    elif rng.random() < 0.5:
        radii, heights = np.repeat(radii, 2), np.sort(np.r_[-0.5, np.repeat(heights[1:-1], 2), 0.5, 0])[: 2 * count]
    outside = np.stack([radii, heights], 1)
    if rng.random() < 0.5:
        wall, floor = rng.uniform(0.02, 0.07), -0.5 + rng.uniform(0.03, 0.1)
        inside = np.stack([np.maximum(radii - wall, 0.01), heights], 1)[::-1]
        inside = inside[inside[:, 1] > floor]
        end = [(inside[-1, 0], floor), (0, floor)] if len(inside) else [(0, 0.5)]
        profile = np.vstack([[(0, -0.5)], outside, inside, end])
    else:
        profile = np.vstack([[(0, -0.5)], outside, [(0, 0.5)]])
    return _revolve(profile)


def cup(rng: Rng) -> trimesh.Trimesh:
    """Make an open vessel with a thin wall: cup, glass, bowl, plate, pot.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    top, bottom = 0.5, rng.uniform(0.25, 0.5)
    wall = rng.uniform(0.02, 0.06)
    t = np.linspace(0, 1, 10)
    radius = bottom + (top - bottom) * t ** rng.uniform(0.3, 1.5)
    outside = np.stack([radius, t - 0.5], 1)
    inside = np.stack([radius - wall, np.maximum(t - 0.5, -0.5 + wall)], 1)[::-1]
    return _revolve(np.vstack([[(0, -0.5)], outside, inside, [(0, -0.5 + wall)]]))


def turned(rng: Rng) -> trimesh.Trimesh:
    """Make a part of a lathe: pin, bolt, shaft, bushing or ring, of one to four cylinders on one axis.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of length 1; rings are wider than long.
    """
    count = int(rng.integers(1, 5))
    slim = rng.uniform(0.05, 0.16) if rng.random() < 0.75 else rng.uniform(0.16, 0.8)
    radii = slim * np.where(rng.random(count) < 0.6, 1.0, rng.uniform(0.6, 1.6, count))
    heights = np.sort(np.r_[-0.5, rng.uniform(-0.45, 0.45, count - 1), 0.5])
    outside = np.stack([np.repeat(radii, 2), np.sort(np.r_[heights, heights[1:-1]])], 1)
    if slim > 0.16 and rng.random() < 0.7:
        bore = radii.min() * rng.uniform(0.3, 0.85)
        return _revolve(np.vstack([[(bore, -0.5)], outside, [(bore, 0.5), (bore, -0.5)]]), 32)
    return _revolve(np.vstack([[(0, -0.5)], outside, [(0, 0.5)]]), int(rng.choice([6, 32], p=[0.15, 0.85])))


def _outline(rng: Rng) -> Array:
    """A star-shaped outline (N, 2): regular polygon, gear, star, or a smooth blob."""
    kind = rng.random()
    if kind < 0.35:
        sides = int(rng.integers(3, 9))
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False) + rng.random()
        radius = np.full(sides, 0.5)
    elif kind < 0.6:
        teeth = int(rng.integers(4, 16))
        angle = np.linspace(0, 2 * np.pi, teeth * 4, endpoint=False)
        radius = np.where(np.arange(teeth * 4) // 2 % 2 == 0, 0.5, 0.5 * rng.uniform(0.5, 0.9))
    elif kind < 0.75:
        points = int(rng.integers(3, 8))
        angle = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False)
        radius = np.where(np.arange(2 * points) % 2 == 0, 0.5, 0.5 * rng.uniform(0.35, 0.75))
    else:
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        radius = 0.4 + sum(rng.normal(0, 0.09 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(1, 5))
        radius = np.clip(radius, 0.15, 0.6)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def extruded(rng: Rng) -> trimesh.Trimesh:
    """Extrude an outline along z, sometimes tapered, twisted, or with a hole through it.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    outline = _outline(rng)
    levels = np.linspace(-0.5, 0.5, 9)
    taper, twist = rng.choice([0, rng.uniform(-0.5, 0.5)]), rng.choice([0, 0, rng.uniform(-1, 1)])
    rings = []
    for z in levels:
        c, s = np.cos(twist * z), np.sin(twist * z)
        flat = outline @ np.array(((c, s), (-s, c))) * (1 + taper * z)
        rings.append(np.c_[flat, np.full(len(flat), z)])
    if rng.random() < 0.3:
        hole = rng.uniform(0.3, 0.6)
        inner = [ring * (hole, hole, 1) for ring in rings[::-1]]
        return _grid(np.stack([*rings, *inner, rings[0]]))
    bottom, top = (np.zeros_like(rings[0]) + np.array((0, 0, z)) for z in (-0.5, 0.5))
    return _grid(np.stack([bottom, *rings, top]))


def tube(rng: Rng) -> trimesh.Trimesh:
    """Make a pipe, rod, hook or banana: a round section along an arc or a wave.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    t = np.linspace(0, 1, 24)
    turn = rng.choice([0, rng.uniform(0.3, 2.5), rng.uniform(2.5, 5)])
    if turn > 0:
        path = np.stack([np.cos(turn * (t - 0.5)) - 1, 0 * t, np.sin(turn * (t - 0.5))], 1) / turn
        path[:, 2] += 0
    else:
        path = np.stack([0.05 * np.sin(t * rng.uniform(0, 9)), 0 * t, t - 0.5], 1)
    radius = rng.uniform(0.03, 0.14) * (1 - rng.choice([0, rng.uniform(0.3, 0.9)]) * np.abs(2 * t - 1) ** 3)
    return sweep_circle(path, radius)


def sweep_circle(path: Array, radius: Array, sides: int = 16) -> trimesh.Trimesh:
    """Sweep a circle along a path, with closed ends.

    Args:
        path: (N, 3) points in the x-z plane.
        radius: (N,) radii.
        sides: Sides of the section.

    Returns:
        The mesh.
    """
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.array((0.0, 1.0, 0.0))
    out = np.cross(tangent, side)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[None, :, None] * out[:, None] + np.sin(angle)[None, :, None] * side
    points = path[:, None] + ring * radius[:, None, None]
    ends = [np.repeat(path[k][None, None], sides, axis=1) for k in (0, -1)]
    return _grid(np.concatenate([ends[0], points, ends[1]]))


_BASES: dict[str, tuple[Callable[[Rng], trimesh.Trimesh], float]] = {
    "box": (box, 0.17),
    "superquadric": (superquadric, 0.17),
    "cylinder": (cylinder, 0.1),
    "cone": (cone, 0.04),
    "torus": (torus, 0.03),
    "revolved": (revolved, 0.17),
    "cup": (cup, 0.12),
    "extruded": (extruded, 0.13),
    "tube": (tube, 0.07),
}


def base(rng: Rng) -> trimesh.Trimesh:
    """Make a single body with random proportions: compact, flat or long.

    Args:
        rng: Source of randomness.

    Returns:
        A mesh of size about 1.
    """
    names = list(_BASES)
    probabilities = np.array([_BASES[name][1] for name in names])
    mesh = _BASES[names[rng.choice(len(names), p=probabilities / probabilities.sum())]][0](rng)
    kind = rng.random()
    scale = rng.uniform(0.6, 1.0, 3)
    if kind < 0.22:
        scale[2] *= rng.uniform(0.08, 0.5)
    elif kind < 0.44:
        scale[:2] *= rng.uniform(0.15, 0.5)
    if rng.random() < 0.6:
        scale[1] = scale[0]
    mesh.apply_scale(scale)
    return mesh
