"""Household objects and toys with vertex colors: mug, bowl, duck, banana, car and brick."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.sim.benchmark_scenes.objects.solid_shapes import arc_path, box, cylinder, ellipsoid, revolve, tube, wedge
from ism_ros.sim.benchmark_scenes.objects.vertex_paint import (
    RUBBER,
    STEEL,
    banded_paint,
    dotted_paint,
    join_parts,
    paint_mesh,
    plain_paint,
    two_colors,
)

Array = NDArray[np.float64]


def make_mug(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a mug.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    radius, height = rng.uniform(0.036, 0.048), rng.uniform(0.075, 0.115)
    foot = radius * rng.uniform(0.72, 1.0)
    wall = 0.004
    profile = [(0, 0), (foot, 0), (radius, height), (radius - wall, height), (foot - wall, wall), (0, wall)]
    first, second = two_colors(rng)
    style = rng.integers(3)
    if style == 0:
        paint = banded_paint(first, second, height * np.sort(rng.uniform(0.15, 0.9, int(rng.integers(2, 6)))))
    elif style == 1:
        paint = dotted_paint(first, second, rng.uniform(0.016, 0.028), rng.uniform(0.25, 0.38))
    else:
        paint = banded_paint(first, second, np.array([height * 0.93]))
    reach, middle = radius * rng.uniform(0.55, 0.8), height * rng.uniform(0.48, 0.58)
    arc = arc_path(1.0, -105, 105, (0, 0)) * (reach, 1, height * 0.3)
    arc += (radius * 0.93, 0, middle)
    handle = first if rng.random() < 0.6 else second
    parts = [paint_mesh(revolve(profile), paint, rng), paint_mesh(tube(arc, 0.0055), plain_paint(handle), rng)]
    return join_parts(parts, shine=0.35)


def make_bowl(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a bowl.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    radius, height = rng.uniform(0.06, 0.085), rng.uniform(0.045, 0.07)
    foot, wall = radius * rng.uniform(0.4, 0.6), 0.0045
    s = np.linspace(0, 1, 14)
    bulge = rng.uniform(1.6, 2.6)
    outer = np.stack([foot + (radius - foot) * (1 - (1 - s) ** bulge), height * s], 1)
    inner = np.stack([outer[::-1, 0] - wall, np.maximum(outer[::-1, 1], wall)], 1)
    first, second = two_colors(rng)
    edges = height * np.sort(rng.uniform(0.25, 0.95, int(rng.integers(1, 4))))
    outside = banded_paint(first, second, edges)

    def paint(points: Array) -> Array:
        limit = np.interp(points[:, 2], outer[:, 1], outer[:, 0]) - 0.6 * wall
        inside = np.hypot(points[:, 0], points[:, 1]) < limit
        return np.where((inside & (points[:, 2] > 0.6 * wall))[:, None], second, outside(points))

    profile = np.vstack([[(0, 0)], outer, inner, [(0, wall)]])
    return join_parts([paint_mesh(revolve(profile), paint, rng)], shine=0.3)


def make_duck(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a duck.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    size = rng.uniform(0.035, 0.055)
    body, beak = two_colors(rng)
    wing = np.clip(body * rng.uniform(0.7, 1.15), 0, 250)
    head = size * rng.uniform(0.55, 0.7)
    centre = np.array((size * 0.75, 0, size * rng.uniform(0.95, 1.15)))
    parts = [
        paint_mesh(ellipsoid((size * 1.25, size * 0.85, size * 0.75), (0, 0, 0)), plain_paint(body), rng),
        paint_mesh(ellipsoid((head, head, head), centre), plain_paint(body), rng),
        paint_mesh(
            ellipsoid((head * 0.65, head * 0.5, head * 0.24), centre + np.array((head * 0.95, 0, -head * 0.1))),
            plain_paint(beak),
            rng,
        ),
        paint_mesh(
            ellipsoid((size * 0.35, size * 0.3, size * 0.3), (-size * 1.2, 0, size * 0.35)),
            plain_paint(body),
            rng,
        ),
    ]
    for side in (-1, 1):
        eye = centre + np.array((head * 0.72, side * head * 0.5, head * 0.35))
        parts.append(paint_mesh(ellipsoid([head * 0.2] * 3, eye), plain_paint(RUBBER), rng))
        place = (-size * 0.15, side * size * 0.72, size * 0.12)
        parts.append(paint_mesh(ellipsoid((size * 0.7, size * 0.25, size * 0.4), place), plain_paint(wing), rng))
    return join_parts(parts, shine=0.2)


def make_banana(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a banana.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    radius, thick = rng.uniform(0.08, 0.12), rng.uniform(0.014, 0.019)
    span = rng.uniform(70, 100)
    path = arc_path(radius, -90 - span / 2, -90 + span / 2, (0, 0), 60)
    s = np.linspace(-1, 1, 60)
    width = thick * np.clip(1.15 * (1 - np.abs(s) ** 3.2), 0.28, 1)
    ripeness = np.array([(228, 196, 60), (128, 160, 48), (186, 84, 60), (120, 86, 44), (238, 222, 140)], float)
    skin = np.clip(ripeness[rng.integers(len(ripeness))] + rng.normal(0, 14, 3), 20, 245)
    tip = np.array((92.0, 70.0, 40.0))
    freckles = rng.uniform(-1, 1, (int(rng.integers(4, 14)), 3)) * (radius * 0.6, thick, thick)
    freckles[:, 2] -= radius

    def paint(points: Array) -> Array:
        along = np.arctan2(points[:, 0], -points[:, 2]) / np.deg2rad(span / 2)
        near = np.linalg.norm(points[:, None] - freckles[None], axis=2).min(axis=1) < 0.008
        return np.where(((np.abs(along) > 0.9) | near)[:, None], tip, skin)

    return join_parts([paint_mesh(tube(path, width, sides=24), paint, rng)], shine=0.05)


def make_car(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a car.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    length, width, height = rng.uniform(0.1, 0.15), rng.uniform(0.05, 0.065), rng.uniform(0.022, 0.03)
    body, roof = two_colors(rng)
    glass = np.array((70.0, 92.0, 110.0))
    wheel = height * rng.uniform(0.55, 0.75)
    cabin = rng.uniform(0.45, 0.62) * length
    parts = [
        paint_mesh(box((length, width, height)), banded_paint(roof, body, np.array([-height * 0.15])), rng),
        paint_mesh(
            wedge(
                (cabin, width * 0.92),
                (cabin * 0.65, width * 0.8),
                height * 0.85,
                (-length * 0.05, 0, height * 0.9),
            ),
            banded_paint(glass, roof, np.array([height * 1.15])),
            rng,
        ),
    ]
    for x in (-0.3, 0.3):
        for side in (-1, 1):
            centre = (x * length, side * width * 0.47, -height / 2)
            parts.append(paint_mesh(cylinder(wheel, 0.014, centre, axis="y"), plain_paint(RUBBER), rng))
            centre = (x * length, side * (width * 0.47 + 0.007), -height / 2)
            parts.append(paint_mesh(cylinder(wheel * 0.5, 0.003, centre, axis="y"), plain_paint(STEEL), rng))
    return join_parts(parts, shine=0.3)


def make_brick(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a brick.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    columns, rows = [(3, 2), (4, 2), (2, 2), (3, 3), (4, 1)][int(rng.integers(5))]
    pitch, height = rng.uniform(0.022, 0.03), rng.uniform(0.03, 0.05)
    first, second = two_colors(rng)
    body = box((columns * pitch, rows * pitch, height))
    parts = [paint_mesh(body, banded_paint(first, second, np.array([rng.uniform(-0.3, 0.5) * height])), rng)]
    for i in range(columns):
        for j in range(rows):
            centre = ((i + 0.5 - columns / 2) * pitch, (j + 0.5 - rows / 2) * pitch, height / 2 + 0.004)
            parts.append(paint_mesh(cylinder(pitch * 0.31, 0.008, centre, segments=28), plain_paint(second), rng))
    return join_parts(parts, shine=0.15)
