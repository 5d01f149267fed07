"""Workshop tools and parts with vertex colors: bracket, hammer, gear, drill and screwdriver."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.sim.benchmark_scenes.objects.solid_shapes import EDGE_M, box, cylinder, densify, grid_faces, revolve, wedge
from ism_ros.sim.benchmark_scenes.objects.vertex_paint import (
    RUBBER,
    STEEL,
    banded_paint,
    join_parts,
    paint_mesh,
    plain_paint,
    random_color,
    two_colors,
)

Array = NDArray[np.float64]


def make_bracket(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a bracket.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    length, depth, height = rng.uniform(0.07, 0.13), rng.uniform(0.035, 0.06), rng.uniform(0.05, 0.1)
    wall = rng.uniform(0.006, 0.01)
    body, bolt = (random_color(rng), STEEL) if rng.random() < 0.6 else (STEEL, random_color(rng))
    pieces = [
        box((length, depth, wall), (0, 0, wall / 2)),
        box((wall, depth, height), (-length / 2 + wall / 2, 0, height / 2)),
    ]
    if rng.random() < 0.5:
        pieces.append(box((wall, depth, height * 0.8), (length / 2 - wall / 2, 0, height * 0.4)))
    else:
        pieces.append(wedge((length * 0.5, wall), (0.008, wall), height * 0.6, (-length * 0.2, 0, height * 0.3)))
    parts = [paint_mesh(piece, plain_paint(body), rng) for piece in pieces]
    for along in (-0.15, 0.25):
        head = cylinder(0.008, 0.006, (along * length + 0.01, 0, wall + 0.003), segments=6)
        parts.append(paint_mesh(head, plain_paint(bolt), rng))
    head = cylinder(0.008, 0.006, (-length / 2 + wall + 0.003, 0, height * 0.78), axis="x", segments=6)
    parts.append(paint_mesh(head, plain_paint(bolt), rng))
    return join_parts(parts, shine=0.4)


def make_hammer(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a hammer.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    length, grip = rng.uniform(0.18, 0.24), rng.uniform(0.4, 0.6)
    handle, rubber = two_colors(rng)
    thick = rng.uniform(0.011, 0.015)
    profile = [
        (0, 0),
        (thick, 0),
        (thick * 1.1, length * 0.3),
        (thick * 0.85, length * grip),
        (thick * 0.7, length),
    ]
    stick = revolve([*profile, (0, length)], 40)
    head = rng.uniform(0.07, 0.1)
    face = rng.uniform(0.012, 0.016)
    parts = [
        paint_mesh(stick, banded_paint(rubber, handle, np.array([length * grip])), rng),
        paint_mesh(box((head * 0.5, 0.022, 0.024), (0, 0, length)), plain_paint(STEEL), rng),
        paint_mesh(cylinder(face, head * 0.3, (head * 0.38, 0, length), axis="x"), plain_paint(STEEL * 0.85), rng),
    ]
    claw = wedge((0.022, 0.024), (0.03, 0.004), head * 0.5, (0, 0, 0))
    claw.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (0, 1, 0)))
    claw.apply_translation((-head * 0.42, 0, length - 0.003))
    parts.append(paint_mesh(claw, plain_paint(STEEL), rng))
    return join_parts(parts, shine=0.3)


def make_gear(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a gear.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    teeth, radius = int(rng.integers(9, 18)), rng.uniform(0.03, 0.055)
    bore, height = radius * rng.uniform(0.2, 0.4), rng.uniform(0.015, 0.03)
    count = teeth * 12
    turn = np.linspace(0, 2 * np.pi, count + 1)
    tooth = np.clip(1.6 * np.sin(teeth * turn), -1, 1)
    rim = radius * (1 + 0.11 * tooth)
    levels = densify(
        np.array([(0.0, -0.5), (1.0, -0.5), (1.0, 0.5), (0.0, 0.5), (0.0, -0.5)]) * (radius - bore, height),
        EDGE_M,
    )
    reach, z = levels[:, 0] / (radius - bore), levels[:, 1]
    r = bore + reach[:, None] * (rim - bore)
    ring = np.stack([r * np.cos(turn), r * np.sin(turn), np.repeat(z[:, None], count + 1, 1)], -1)
    wheel = trimesh.Trimesh(ring.reshape(-1, 3), grid_faces(len(levels), count + 1), process=False)
    wheel.merge_vertices()
    body, hub = two_colors(rng)

    def paint(points: Array) -> Array:
        near = np.hypot(points[:, 0], points[:, 1]) < radius * 0.62
        return np.where(near[:, None], hub, body)

    collar = revolve([(bore, 0), (bore * 1.5, 0), (bore * 1.5, height * 0.9), (bore, height * 0.9), (bore, 0)], 64)
    collar.apply_translation((0, 0, height * 0.4))
    parts = [paint_mesh(wheel, paint, rng), paint_mesh(collar, plain_paint(hub), rng)]
    return join_parts(parts, shine=0.35)


def make_drill(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a drill.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    body, trim = two_colors(rng)
    length, radius = rng.uniform(0.1, 0.13), rng.uniform(0.022, 0.028)
    drop = rng.uniform(0.085, 0.11)
    grip = wedge((0.034, 0.03), (0.04, 0.032), drop, (-length * 0.2, 0, -drop / 2))
    chuck = revolve(
        [(0, 0), (radius * 0.75, 0), (radius * 0.45, 0.035), (0.005, 0.038), (0.005, 0.055), (0, 0.055)], 40
    )
    chuck.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (0, 1, 0)))
    chuck.apply_translation((length * 0.5, 0, 0))
    parts = [
        paint_mesh(cylinder(radius, length, (0, 0, 0), axis="x"), plain_paint(body), rng),
        paint_mesh(cylinder(radius * 1.04, length * 0.16, (-length * 0.46, 0, 0), axis="x"), plain_paint(RUBBER), rng),
        paint_mesh(grip, banded_paint(trim, RUBBER, np.array([-drop * rng.uniform(0.3, 0.6)])), rng),
        paint_mesh(box((0.075, 0.045, 0.026), (-length * 0.2, 0, -drop - 0.006)), plain_paint(body), rng),
        paint_mesh(chuck, plain_paint(STEEL * 0.6), rng),
    ]
    return join_parts(parts, shine=0.2)


def make_screwdriver(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a screwdriver.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    grip, shaft = rng.uniform(0.085, 0.11), rng.uniform(0.07, 0.12)
    thick = rng.uniform(0.014, 0.018)
    first, second = two_colors(rng)
    handle = revolve(
        [
            (0, 0),
            (thick * 0.8, 0),
            (thick, grip * 0.2),
            (thick * 0.9, grip * 0.6),
            (thick * 0.6, grip * 0.85),
            (thick * 0.75, grip),
            (0, grip),
        ],
        6 if rng.random() < 0.5 else 36,
    )
    edges = grip * np.sort(rng.uniform(0.1, 0.9, int(rng.integers(1, 4))))
    parts = [
        paint_mesh(handle, banded_paint(first, second, edges), rng),
        paint_mesh(cylinder(0.0038, shaft, (0, 0, grip + shaft / 2), segments=20), plain_paint(STEEL), rng),
    ]
    return join_parts(parts, shine=0.35)
