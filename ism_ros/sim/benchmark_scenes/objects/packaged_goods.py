"""Packaged goods with printed textures: bottle, can, spray can and carton."""

from __future__ import annotations

import numpy as np
import trimesh

from ism_ros.sim.benchmark_scenes.objects.printed_labels import ink_color, printed_label, printed_solid, textured_mesh
from ism_ros.sim.benchmark_scenes.objects.vertex_paint import STEEL, random_color, two_colors


def make_bottle(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a bottle.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    radius, height = rng.uniform(0.026, 0.038), rng.uniform(0.16, 0.24)
    neck = radius * rng.uniform(0.32, 0.5)
    shoulder, throat, cap = height * rng.uniform(0.55, 0.68), height * 0.82, height * 0.9
    waist = radius * rng.uniform(0.82, 1.0)
    profile = [
        (0, 0),
        (radius * 0.94, 0),
        (radius, 0.006),
        (waist, shoulder * 0.5),
        (radius, shoulder),
        (neck, throat),
        (neck, cap),
        (neck * 1.25, cap),
        (neck * 1.25, height),
        (0, height),
    ]
    body, paper = two_colors(rng)
    to = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(np.array(profile), axis=0), axis=1))])
    label = np.concatenate([printed_label(rng, 512, 360, paper, ink_color(paper, rng))] * 2, axis=1)
    low, high = to[2] + 0.12 * (to[4] - to[2]), to[4] - rng.uniform(0.1, 0.4) * (to[4] - to[2])
    return printed_solid(profile, [(low, high, label), (to[6], to[9], random_color(rng))], body, shine=0.4)


def make_can(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a can.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    radius, height = rng.uniform(0.028, 0.05), rng.uniform(0.06, 0.13)
    rim = 0.003
    profile = [
        (0, rim),
        (radius - 0.004, rim),
        (radius - 0.003, 0),
        (radius, 0),
        (radius, height),
        (radius - 0.003, height),
        (radius - 0.004, height - rim),
        (0, height - rim),
    ]
    to = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(np.array(profile), axis=0), axis=1))])
    paper = random_color(rng)
    label = np.concatenate([printed_label(rng, 512, 400, paper, ink_color(paper, rng))] * 2, axis=1)
    return printed_solid(profile, [(to[3] + 0.003, to[4] - 0.003, label)], STEEL, shine=0.55)


def make_spray_can(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a spray can.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    radius, height = rng.uniform(0.024, 0.034), rng.uniform(0.13, 0.2)
    cap = height + rng.uniform(0.02, 0.045)
    inset = radius * rng.uniform(0.6, 0.85)
    profile = [
        (0, 0),
        (radius, 0),
        (radius, height),
        (inset, height + 0.008),
        (inset, cap - 0.004),
        (inset - 0.004, cap),
        (0, cap),
    ]
    to = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(np.array(profile), axis=0), axis=1))])
    paper, lid = two_colors(rng)
    label = np.concatenate([printed_label(rng, 420, 640, paper, ink_color(paper, rng))] * 2, axis=1)
    bands = [(to[1] + 0.004, to[2] - 0.003, label), (to[3], to[6], lid)]
    return printed_solid(profile, bands, STEEL, shine=0.45)


def make_carton(rng: np.random.Generator) -> trimesh.Trimesh:
    """Make a carton.

    Args:
        rng: Source of its proportions and colors.

    Returns:
        The mesh in metres, metadata `shine` in [0, 1].
    """
    size = np.array((rng.uniform(0.06, 0.16), rng.uniform(0.03, 0.07), rng.uniform(0.07, 0.2)))
    ground = random_color(rng)
    ink = ink_color(ground, rng)
    front = printed_label(rng, 340, 340, ground, ink)
    back = front if rng.random() < 0.6 else printed_label(rng, 340, 340, ground, ink)
    sides = [printed_label(rng, 340, 340, ground if k < 2 else random_color(rng), ink) for k in range(4)]
    tiles = [sides[0], sides[1], front, back, sides[2], sides[3]]
    atlas = np.zeros((680, 1020, 3), np.uint8)
    for k, tile in enumerate(tiles):
        row, column = divmod(k, 3)
        atlas[row * 340 : (row + 1) * 340, column * 340 : (column + 1) * 340] = tile
    corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
    vertices, faces, uv = [], [], []
    # Each side is spanned by its own right and up as seen from outside.
    spans = [
        ((0, 1, 0), (0, 0, 1)),
        ((0, -1, 0), (0, 0, 1)),
        ((1, 0, 0), (0, 0, 1)),
        ((-1, 0, 0), (0, 0, 1)),
        ((1, 0, 0), (0, 1, 0)),
        ((1, 0, 0), (0, -1, 0)),
    ]
    for k, (right, up) in enumerate(np.asarray(spans, float)):
        outward = np.cross(right, up)
        points = (outward / 2 + corner[:, :1] * right + corner[:, 1:] * up) * size
        faces += [(4 * k, 4 * k + 1, 4 * k + 2), (4 * k, 4 * k + 2, 4 * k + 3)]
        row, column = divmod(k, 3)
        tile_uv = (corner + 0.5) * 0.99 + 0.005
        uv.append(np.stack([(column + tile_uv[:, 0]) / 3, 1 - (row + 1 - tile_uv[:, 1]) / 2], 1))
        vertices.append(points)
    return textured_mesh(np.vstack(vertices), np.array(faces), np.vstack(uv), atlas, shine=0.12)
