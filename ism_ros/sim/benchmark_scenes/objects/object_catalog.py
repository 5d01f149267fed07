"""Objects made by rule: household and workshop things with colour and print, in metres, one per (kind, seed).

Each kind is a small program over a random generator; the same kind and seed give the same mesh. Meshes are
made of closed parts that may pass through each other (a handle into a cup), which is all that ray tracing and
convex hulls need. Printed things (carton, can, bottle, spray can) carry a UV texture and are best written as
GLB; all others carry vertex colours on a mesh of a few millimetres and are best written as PLY.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]
Paint = Callable[[Array], Array]

EDGE_M = 0.004
"""Longest edge of a mesh that carries vertex colours: the grain of what can be painted on it."""

_PALETTE = np.array(
    [
        *((196, 40, 36), (220, 92, 30), (236, 178, 34), (242, 214, 92), (58, 132, 62), (122, 168, 60)),
        *((32, 104, 152), (64, 152, 196), (36, 52, 112), (110, 66, 140), (198, 92, 140), (124, 82, 52)),
        *((190, 150, 108), (226, 218, 200), (236, 236, 232), (146, 148, 150), (84, 88, 94), (40, 42, 46)),
    ],
    dtype=np.float64,
)
_STEEL = np.array((158.0, 160.0, 164.0))
_RUBBER = np.array((44.0, 44.0, 48.0))
_WORDS = (
    "TOMATO",
    "OATS",
    "GLUE",
    "OOLONG",
    "CORN",
    "RICE",
    "NUTS",
    "WAX",
    "SALT",
    "PASTA",
    "SOAP",
    "COCOA",
    "BEANS",
)


def make_object(kind: str, seed: int) -> trimesh.Trimesh:
    """The object of `kind` (one of KINDS) number `seed`: 5 to 26 cm, centred on its bounding box, z up.

    metadata: `name`, and `shine` in 0..1, how mirror-like the surface is (depth cameras lose such parts).
    ValueError names the kinds there are.
    """
    if kind not in _MAKERS:
        raise ValueError(f"object kind '{kind}' is unknown; choose one of: {', '.join(KINDS)}")
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    mesh = _MAKERS[kind](rng)
    mesh.apply_translation(-mesh.bounds.mean(axis=0))
    mesh.metadata = {"name": f"{kind}_{seed}", "shine": float(mesh.metadata.get("shine", 0.1))}
    return mesh


def export_cad(mesh: trimesh.Trimesh, folder: Path) -> Path:
    """Writes `mesh` in metres as folder/NAME.glb if textured, else NAME.ply; returns the file."""
    textured = isinstance(mesh.visual, trimesh.visual.TextureVisuals)
    path = folder / f"{mesh.metadata['name']}.{'glb' if textured else 'ply'}"
    folder.mkdir(parents=True, exist_ok=True)
    mesh.export(path)
    return path


# --- colour ---


def _colour(rng: np.random.Generator) -> Array:
    return np.clip(_PALETTE[rng.integers(len(_PALETTE))] + rng.normal(0, 10, 3), 8, 246)


def _two_colours(rng: np.random.Generator) -> tuple[Array, Array]:
    first, second = _PALETTE[rng.choice(len(_PALETTE), 2, replace=False)]
    return tuple(np.clip(c + rng.normal(0, 8, 3), 8, 246) for c in (first, second))  # type: ignore[return-value]


def _plain(colour: Array) -> Paint:
    return lambda points: np.broadcast_to(colour, points.shape)


def _bands(first: Array, second: Array, edges: Array) -> Paint:
    """Horizontal bands that change colour at each height of `edges`."""

    def paint(points: Array) -> Array:
        odd = np.searchsorted(np.sort(edges), points[:, 2]) % 2 == 1
        return np.where(odd[:, None], second, first)

    return paint


def _dots(ground: Array, dot: Array, pitch: float, share: float) -> Paint:
    """Dots on a lattice of azimuth and height."""

    def paint(points: Array) -> Array:
        radius = np.maximum(np.hypot(points[:, 0], points[:, 1]).max(), 1e-3)
        u = np.arctan2(points[:, 1], points[:, 0]) * radius / pitch
        v = points[:, 2] / pitch
        u = u + 0.5 * (np.floor(v) % 2)
        inside = np.hypot(u % 1 - 0.5, v % 1 - 0.5) < share
        return np.where(inside[:, None], dot, ground)

    return paint


def _worn(colours: Array, points: Array, rng: np.random.Generator) -> Array:
    """Slow unevenness of a few per cent, so that no surface is of one exact colour."""
    waves = rng.normal(0, 1, (5, 3)) * 2 * np.pi / 0.05
    phase = rng.uniform(0, 2 * np.pi, 5)
    shade = np.sin(points @ waves.T + phase).mean(axis=1)
    return np.clip(colours * (1 + 0.05 * shade[:, None]), 0, 255)


def _painted(mesh: trimesh.Trimesh, paint: Paint, rng: np.random.Generator) -> trimesh.Trimesh:
    if mesh.volume < 0:
        mesh.invert()
    points = np.asarray(mesh.vertices)
    rgb = _worn(paint(points), points, rng).astype(np.uint8)
    alpha = np.full((len(rgb), 1), 255, np.uint8)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=np.hstack([rgb, alpha]), process=False)


def _joined(parts: list[trimesh.Trimesh], shine: float) -> trimesh.Trimesh:
    visuals: list[Any] = [part.visual for part in parts]
    colours = np.vstack([visual.vertex_colors for visual in visuals])
    first = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    faces = np.vstack([part.faces + start for part, start in zip(parts, first, strict=True)])
    vertices = np.vstack([part.vertices for part in parts])
    mesh = trimesh.Trimesh(vertices, faces, vertex_colors=colours, process=False)
    mesh.metadata["shine"] = shine
    return mesh


# --- solids ---


def _fine(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    vertices, faces = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, EDGE_M, max_iter=12)
    fine = trimesh.Trimesh(vertices, faces, process=False)
    fine.merge_vertices()
    return fine


def _box(extents: Any, centre: Any = (0, 0, 0)) -> trimesh.Trimesh:
    box = _fine(trimesh.creation.box(extents=np.asarray(extents, float)))
    box.apply_translation(centre)
    return box


def _wedge(bottom: tuple[float, float], top: tuple[float, float], height: float, centre: Any) -> trimesh.Trimesh:
    """A frustum of a box: x, y sizes at the bottom and at the top."""
    box = trimesh.creation.box(extents=(1, 1, 1))
    corners = np.array(box.vertices)
    size = np.where(corners[:, 2:] > 0, np.asarray(top), np.asarray(bottom))
    corners[:, :2] *= size
    corners[:, 2] *= height
    wedge = _fine(trimesh.Trimesh(corners, box.faces, process=False))
    wedge.apply_translation(centre)
    return wedge


def _ellipsoid(radii: Any, centre: Any) -> trimesh.Trimesh:
    ball = trimesh.creation.icosphere(subdivisions=4 if max(radii) > 0.02 else 3)
    ball.apply_scale(radii)
    ball.apply_translation(centre)
    return ball


def _densified(path: Array, step: float) -> Array:
    """The polyline `path` (N, D) with no segment longer than `step`."""
    pieces = [path[:1]]
    for start, end in itertools.pairwise(path):
        count = max(1, int(np.ceil(np.linalg.norm(end - start) / step)))
        pieces.append(start + (end - start) * (np.arange(1, count + 1) / count)[:, None])
    return np.vstack(pieces)


def _grid_faces(rows: int, columns: int) -> NDArray[np.int64]:
    """Two triangles for each cell of a rows x columns grid of vertices."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def _revolved(profile: Any, segments: int = 96) -> tuple[Array, NDArray[np.int64], Array]:
    """Turns a profile of (radius, z), from the bottom of the axis to its top, about z.

    Returns vertices, faces and UV: u once round, v by arc length from 1 at the start to 0 at the end.
    """
    path = _densified(np.asarray(profile, float), EDGE_M)
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
    return vertices.reshape(-1, 3), _grid_faces(len(path), len(turn)), uv.reshape(-1, 2)


def _turned(profile: Any, segments: int = 96) -> trimesh.Trimesh:
    vertices, faces, _ = _revolved(profile, segments)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.merge_vertices()
    mesh.update_faces(mesh.nondegenerate_faces())
    return mesh


def _cylinder(radius: float, height: float, centre: Any, axis: str = "z", segments: int = 48) -> trimesh.Trimesh:
    mesh = _turned([(0, -height / 2), (radius, -height / 2), (radius, height / 2), (0, height / 2)], segments)
    if axis == "x":
        mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (0, 1, 0)))
    elif axis == "y":
        mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0)))
    mesh.apply_translation(centre)
    return mesh


def _tube(path: Any, radius: Any, sides: int = 20) -> trimesh.Trimesh:
    """A tube along a path (N, 3) in the x-z plane, with closed ends; `radius` (N,) or one number."""
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
    mesh = trimesh.Trimesh(rings.reshape(-1, 3), _grid_faces(len(rings), sides + 1), process=False)
    mesh.merge_vertices()
    mesh.update_faces(mesh.nondegenerate_faces())
    return mesh


def _arc(radius: float, start_deg: float, end_deg: float, centre: tuple[float, float], count: int = 28) -> Array:
    """An arc in the x-z plane, (count, 3)."""
    angle = np.deg2rad(np.linspace(start_deg, end_deg, count))
    return np.stack([centre[0] + radius * np.cos(angle), np.zeros(count), centre[1] + radius * np.sin(angle)], axis=1)


# --- print ---


def _label(rng: np.random.Generator, width: int, height: int, ground: Array, ink: Array) -> NDArray[np.uint8]:
    """A printed label: stripes or discs, a word, lines of small print and sometimes a bar code."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = ground.astype(np.uint8)
    accent = tuple(int(c) for c in _colour(rng))
    ink_bgr = tuple(int(c) for c in ink)
    motif = rng.integers(5)
    if motif == 0:
        for k in range(int(rng.integers(2, 5))):
            top = int(height * (0.08 + 0.2 * k))
            cv2.rectangle(image, (0, top), (width, top + height // 14), accent, -1)
    elif motif == 1:
        for _ in range(int(rng.integers(3, 8))):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.circle(image, centre, int(rng.integers(height // 12, height // 5)), accent, -1, cv2.LINE_AA)
    elif motif == 2:
        slope = int(rng.integers(width // 4, width))
        points = np.array([(0, height), (0, height // 3), (slope, 0), (width, 0), (width, height // 4)])
        cv2.fillPoly(image, [points], accent, cv2.LINE_AA)
    elif motif == 3:
        cv2.ellipse(
            image,
            (width // 2, height // 2),
            (width * 2 // 5, height // 3),
            0,
            0,
            360,
            accent,
            -1,
            cv2.LINE_AA,
        )
    else:
        for column in range(0, width, max(8, width // int(rng.integers(5, 11)))):
            cv2.rectangle(image, (column, height * 3 // 5), (column + width // 24, height), accent, -1)
    word = str(rng.choice(_WORDS))
    (text_width, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
    scale = 0.8 * width / text_width
    at = (int(0.1 * width), int(height * rng.uniform(0.35, 0.6)))
    cv2.putText(image, word, at, cv2.FONT_HERSHEY_DUPLEX, scale, ink_bgr, max(2, int(scale * 3)), cv2.LINE_AA)
    for row in range(int(rng.integers(2, 6))):
        top = int(height * 0.66 + row * height * 0.045)
        right = int(width * rng.uniform(0.4, 0.85))
        cv2.line(image, (int(0.1 * width), top), (right, top), ink_bgr, max(1, height // 90))
    if rng.random() < 0.5:
        left, top = int(width * 0.62), int(height * 0.82)
        cv2.rectangle(image, (left, top), (left + width // 4, top + height // 8), (240, 240, 240), -1)
        for column in range(left + 4, left + width // 4 - 4, 5):
            cv2.line(
                image,
                (column, top + 3),
                (column, top + height // 8 - 3),
                (20, 20, 20),
                int(rng.integers(1, 4)),
            )
    return image


def _ink_for(ground: Array, rng: np.random.Generator) -> Array:
    dark = np.array((30.0, 30.0, 40.0))
    light = np.array((240.0, 238.0, 230.0))
    ink = light if ground.mean() < 120 else dark
    return ink if rng.random() < 0.7 else np.clip(255 - ground, 0, 255)


def _textured(vertices: Array, faces: Any, uv: Array, image: NDArray[np.uint8], shine: float) -> trimesh.Trimesh:
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(image), metallicFactor=0.0, roughnessFactor=1.0 - 0.7 * shine
    )
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    mesh = trimesh.Trimesh(vertices, faces, visual=visual, process=False)
    mesh.metadata["shine"] = shine
    return mesh


def _printed_turned(
    profile: Any, bands: list[tuple[float, float, NDArray[np.uint8] | Array]], ground: Array, shine: float
) -> trimesh.Trimesh:
    """A turned body whose texture is `ground` with `bands` on it: (from, to) in metres along the profile."""
    vertices, faces, uv = _revolved(profile)
    path = np.asarray(profile, float)
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    image = np.empty((768, 1024, 3), np.uint8)
    image[:] = ground.astype(np.uint8)
    for start, end, what in bands:
        # The profile starts at the bottom, which is v = 1, and so does the image with its first row: rows run
        # up the body, and a label, which has its top first, goes in upside down.
        first, last = (round(768 * min(max(s / length, 0.0), 1.0)) for s in (start, end))
        if last <= first:
            continue
        if what.ndim == 1:
            image[first:last] = what.astype(np.uint8)
        else:
            image[first:last] = cv2.resize(what, (1024, last - first), interpolation=cv2.INTER_AREA)[::-1]
    return _textured(vertices, faces, uv, image, shine)


# --- kinds ---


def _make_mug(rng: np.random.Generator) -> trimesh.Trimesh:
    radius, height = rng.uniform(0.036, 0.048), rng.uniform(0.075, 0.115)
    foot = radius * rng.uniform(0.72, 1.0)
    wall = 0.004
    profile = [(0, 0), (foot, 0), (radius, height), (radius - wall, height), (foot - wall, wall), (0, wall)]
    first, second = _two_colours(rng)
    style = rng.integers(3)
    if style == 0:
        paint = _bands(first, second, height * np.sort(rng.uniform(0.15, 0.9, int(rng.integers(2, 6)))))
    elif style == 1:
        paint = _dots(first, second, rng.uniform(0.016, 0.028), rng.uniform(0.25, 0.38))
    else:
        paint = _bands(first, second, np.array([height * 0.93]))
    reach, middle = radius * rng.uniform(0.55, 0.8), height * rng.uniform(0.48, 0.58)
    arc = _arc(1.0, -105, 105, (0, 0)) * (reach, 1, height * 0.3)
    arc += (radius * 0.93, 0, middle)
    handle = first if rng.random() < 0.6 else second
    parts = [_painted(_turned(profile), paint, rng), _painted(_tube(arc, 0.0055), _plain(handle), rng)]
    return _joined(parts, shine=0.35)


def _make_bowl(rng: np.random.Generator) -> trimesh.Trimesh:
    radius, height = rng.uniform(0.06, 0.085), rng.uniform(0.045, 0.07)
    foot, wall = radius * rng.uniform(0.4, 0.6), 0.0045
    s = np.linspace(0, 1, 14)
    bulge = rng.uniform(1.6, 2.6)
    outer = np.stack([foot + (radius - foot) * (1 - (1 - s) ** bulge), height * s], 1)
    inner = np.stack([outer[::-1, 0] - wall, np.maximum(outer[::-1, 1], wall)], 1)
    first, second = _two_colours(rng)
    edges = height * np.sort(rng.uniform(0.25, 0.95, int(rng.integers(1, 4))))
    outside = _bands(first, second, edges)

    def paint(points: Array) -> Array:
        limit = np.interp(points[:, 2], outer[:, 1], outer[:, 0]) - 0.6 * wall
        inside = np.hypot(points[:, 0], points[:, 1]) < limit
        return np.where((inside & (points[:, 2] > 0.6 * wall))[:, None], second, outside(points))

    profile = np.vstack([[(0, 0)], outer, inner, [(0, wall)]])
    return _joined([_painted(_turned(profile), paint, rng)], shine=0.3)


def _make_bottle(rng: np.random.Generator) -> trimesh.Trimesh:
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
    body, paper = _two_colours(rng)
    to = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(np.array(profile), axis=0), axis=1))])
    label = np.concatenate([_label(rng, 512, 360, paper, _ink_for(paper, rng))] * 2, axis=1)
    low, high = to[2] + 0.12 * (to[4] - to[2]), to[4] - rng.uniform(0.1, 0.4) * (to[4] - to[2])
    return _printed_turned(profile, [(low, high, label), (to[6], to[9], _colour(rng))], body, shine=0.4)


def _make_can(rng: np.random.Generator) -> trimesh.Trimesh:
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
    paper = _colour(rng)
    label = np.concatenate([_label(rng, 512, 400, paper, _ink_for(paper, rng))] * 2, axis=1)
    return _printed_turned(profile, [(to[3] + 0.003, to[4] - 0.003, label)], _STEEL, shine=0.55)


def _make_spray_can(rng: np.random.Generator) -> trimesh.Trimesh:
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
    paper, lid = _two_colours(rng)
    label = np.concatenate([_label(rng, 420, 640, paper, _ink_for(paper, rng))] * 2, axis=1)
    bands = [(to[1] + 0.004, to[2] - 0.003, label), (to[3], to[6], lid)]
    return _printed_turned(profile, bands, _STEEL, shine=0.45)


def _make_carton(rng: np.random.Generator) -> trimesh.Trimesh:
    size = np.array((rng.uniform(0.06, 0.16), rng.uniform(0.03, 0.07), rng.uniform(0.07, 0.2)))
    ground = _colour(rng)
    ink = _ink_for(ground, rng)
    front = _label(rng, 340, 340, ground, ink)
    back = front if rng.random() < 0.6 else _label(rng, 340, 340, ground, ink)
    sides = [_label(rng, 340, 340, ground if k < 2 else _colour(rng), ink) for k in range(4)]
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
    return _textured(np.vstack(vertices), np.array(faces), np.vstack(uv), atlas, shine=0.12)


def _make_bracket(rng: np.random.Generator) -> trimesh.Trimesh:
    length, depth, height = rng.uniform(0.07, 0.13), rng.uniform(0.035, 0.06), rng.uniform(0.05, 0.1)
    wall = rng.uniform(0.006, 0.01)
    body, bolt = (_colour(rng), _STEEL) if rng.random() < 0.6 else (_STEEL, _colour(rng))
    pieces = [
        _box((length, depth, wall), (0, 0, wall / 2)),
        _box((wall, depth, height), (-length / 2 + wall / 2, 0, height / 2)),
    ]
    if rng.random() < 0.5:
        pieces.append(_box((wall, depth, height * 0.8), (length / 2 - wall / 2, 0, height * 0.4)))
    else:
        pieces.append(_wedge((length * 0.5, wall), (0.008, wall), height * 0.6, (-length * 0.2, 0, height * 0.3)))
    parts = [_painted(piece, _plain(body), rng) for piece in pieces]
    for along in (-0.15, 0.25):
        head = _cylinder(0.008, 0.006, (along * length + 0.01, 0, wall + 0.003), segments=6)
        parts.append(_painted(head, _plain(bolt), rng))
    head = _cylinder(0.008, 0.006, (-length / 2 + wall + 0.003, 0, height * 0.78), axis="x", segments=6)
    parts.append(_painted(head, _plain(bolt), rng))
    return _joined(parts, shine=0.4)


def _make_duck(rng: np.random.Generator) -> trimesh.Trimesh:
    size = rng.uniform(0.035, 0.055)
    body, beak = _two_colours(rng)
    wing = np.clip(body * rng.uniform(0.7, 1.15), 0, 250)
    head = size * rng.uniform(0.55, 0.7)
    centre = np.array((size * 0.75, 0, size * rng.uniform(0.95, 1.15)))
    parts = [
        _painted(_ellipsoid((size * 1.25, size * 0.85, size * 0.75), (0, 0, 0)), _plain(body), rng),
        _painted(_ellipsoid((head, head, head), centre), _plain(body), rng),
        _painted(
            _ellipsoid((head * 0.65, head * 0.5, head * 0.24), centre + np.array((head * 0.95, 0, -head * 0.1))),
            _plain(beak),
            rng,
        ),
        _painted(
            _ellipsoid((size * 0.35, size * 0.3, size * 0.3), (-size * 1.2, 0, size * 0.35)),
            _plain(body),
            rng,
        ),
    ]
    for side in (-1, 1):
        eye = centre + np.array((head * 0.72, side * head * 0.5, head * 0.35))
        parts.append(_painted(_ellipsoid([head * 0.2] * 3, eye), _plain(_RUBBER), rng))
        place = (-size * 0.15, side * size * 0.72, size * 0.12)
        parts.append(_painted(_ellipsoid((size * 0.7, size * 0.25, size * 0.4), place), _plain(wing), rng))
    return _joined(parts, shine=0.2)


def _make_hammer(rng: np.random.Generator) -> trimesh.Trimesh:
    length, grip = rng.uniform(0.18, 0.24), rng.uniform(0.4, 0.6)
    handle, rubber = _two_colours(rng)
    thick = rng.uniform(0.011, 0.015)
    profile = [
        (0, 0),
        (thick, 0),
        (thick * 1.1, length * 0.3),
        (thick * 0.85, length * grip),
        (thick * 0.7, length),
    ]
    stick = _turned([*profile, (0, length)], 40)
    head = rng.uniform(0.07, 0.1)
    face = rng.uniform(0.012, 0.016)
    parts = [
        _painted(stick, _bands(rubber, handle, np.array([length * grip])), rng),
        _painted(_box((head * 0.5, 0.022, 0.024), (0, 0, length)), _plain(_STEEL), rng),
        _painted(_cylinder(face, head * 0.3, (head * 0.38, 0, length), axis="x"), _plain(_STEEL * 0.85), rng),
    ]
    claw = _wedge((0.022, 0.024), (0.03, 0.004), head * 0.5, (0, 0, 0))
    claw.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (0, 1, 0)))
    claw.apply_translation((-head * 0.42, 0, length - 0.003))
    parts.append(_painted(claw, _plain(_STEEL), rng))
    return _joined(parts, shine=0.3)


def _make_gear(rng: np.random.Generator) -> trimesh.Trimesh:
    teeth, radius = int(rng.integers(9, 18)), rng.uniform(0.03, 0.055)
    bore, height = radius * rng.uniform(0.2, 0.4), rng.uniform(0.015, 0.03)
    count = teeth * 12
    turn = np.linspace(0, 2 * np.pi, count + 1)
    tooth = np.clip(1.6 * np.sin(teeth * turn), -1, 1)
    rim = radius * (1 + 0.11 * tooth)
    levels = _densified(
        np.array([(0.0, -0.5), (1.0, -0.5), (1.0, 0.5), (0.0, 0.5), (0.0, -0.5)]) * (radius - bore, height),
        EDGE_M,
    )
    reach, z = levels[:, 0] / (radius - bore), levels[:, 1]
    r = bore + reach[:, None] * (rim - bore)
    ring = np.stack([r * np.cos(turn), r * np.sin(turn), np.repeat(z[:, None], count + 1, 1)], -1)
    wheel = trimesh.Trimesh(ring.reshape(-1, 3), _grid_faces(len(levels), count + 1), process=False)
    wheel.merge_vertices()
    body, hub = _two_colours(rng)

    def paint(points: Array) -> Array:
        near = np.hypot(points[:, 0], points[:, 1]) < radius * 0.62
        return np.where(near[:, None], hub, body)

    collar = _turned([(bore, 0), (bore * 1.5, 0), (bore * 1.5, height * 0.9), (bore, height * 0.9), (bore, 0)], 64)
    collar.apply_translation((0, 0, height * 0.4))
    parts = [_painted(wheel, paint, rng), _painted(collar, _plain(hub), rng)]
    return _joined(parts, shine=0.35)


def _make_brick(rng: np.random.Generator) -> trimesh.Trimesh:
    columns, rows = [(3, 2), (4, 2), (2, 2), (3, 3), (4, 1)][int(rng.integers(5))]
    pitch, height = rng.uniform(0.022, 0.03), rng.uniform(0.03, 0.05)
    first, second = _two_colours(rng)
    body = _box((columns * pitch, rows * pitch, height))
    parts = [_painted(body, _bands(first, second, np.array([rng.uniform(-0.3, 0.5) * height])), rng)]
    for i in range(columns):
        for j in range(rows):
            centre = ((i + 0.5 - columns / 2) * pitch, (j + 0.5 - rows / 2) * pitch, height / 2 + 0.004)
            parts.append(_painted(_cylinder(pitch * 0.31, 0.008, centre, segments=28), _plain(second), rng))
    return _joined(parts, shine=0.15)


def _make_drill(rng: np.random.Generator) -> trimesh.Trimesh:
    body, trim = _two_colours(rng)
    length, radius = rng.uniform(0.1, 0.13), rng.uniform(0.022, 0.028)
    drop = rng.uniform(0.085, 0.11)
    grip = _wedge((0.034, 0.03), (0.04, 0.032), drop, (-length * 0.2, 0, -drop / 2))
    chuck = _turned(
        [(0, 0), (radius * 0.75, 0), (radius * 0.45, 0.035), (0.005, 0.038), (0.005, 0.055), (0, 0.055)], 40
    )
    chuck.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (0, 1, 0)))
    chuck.apply_translation((length * 0.5, 0, 0))
    parts = [
        _painted(_cylinder(radius, length, (0, 0, 0), axis="x"), _plain(body), rng),
        _painted(_cylinder(radius * 1.04, length * 0.16, (-length * 0.46, 0, 0), axis="x"), _plain(_RUBBER), rng),
        _painted(grip, _bands(trim, _RUBBER, np.array([-drop * rng.uniform(0.3, 0.6)])), rng),
        _painted(_box((0.075, 0.045, 0.026), (-length * 0.2, 0, -drop - 0.006)), _plain(body), rng),
        _painted(chuck, _plain(_STEEL * 0.6), rng),
    ]
    return _joined(parts, shine=0.2)


def _make_banana(rng: np.random.Generator) -> trimesh.Trimesh:
    radius, thick = rng.uniform(0.08, 0.12), rng.uniform(0.014, 0.019)
    span = rng.uniform(70, 100)
    path = _arc(radius, -90 - span / 2, -90 + span / 2, (0, 0), 60)
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

    return _joined([_painted(_tube(path, width, sides=24), paint, rng)], shine=0.05)


def _make_car(rng: np.random.Generator) -> trimesh.Trimesh:
    length, width, height = rng.uniform(0.1, 0.15), rng.uniform(0.05, 0.065), rng.uniform(0.022, 0.03)
    body, roof = _two_colours(rng)
    glass = np.array((70.0, 92.0, 110.0))
    wheel = height * rng.uniform(0.55, 0.75)
    cabin = rng.uniform(0.45, 0.62) * length
    parts = [
        _painted(_box((length, width, height)), _bands(roof, body, np.array([-height * 0.15])), rng),
        _painted(
            _wedge(
                (cabin, width * 0.92),
                (cabin * 0.65, width * 0.8),
                height * 0.85,
                (-length * 0.05, 0, height * 0.9),
            ),
            _bands(glass, roof, np.array([height * 1.15])),
            rng,
        ),
    ]
    for x in (-0.3, 0.3):
        for side in (-1, 1):
            centre = (x * length, side * width * 0.47, -height / 2)
            parts.append(_painted(_cylinder(wheel, 0.014, centre, axis="y"), _plain(_RUBBER), rng))
            centre = (x * length, side * (width * 0.47 + 0.007), -height / 2)
            parts.append(_painted(_cylinder(wheel * 0.5, 0.003, centre, axis="y"), _plain(_STEEL), rng))
    return _joined(parts, shine=0.3)


def _make_screwdriver(rng: np.random.Generator) -> trimesh.Trimesh:
    grip, shaft = rng.uniform(0.085, 0.11), rng.uniform(0.07, 0.12)
    thick = rng.uniform(0.014, 0.018)
    first, second = _two_colours(rng)
    handle = _turned(
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
        _painted(handle, _bands(first, second, edges), rng),
        _painted(_cylinder(0.0038, shaft, (0, 0, grip + shaft / 2), segments=20), _plain(_STEEL), rng),
    ]
    return _joined(parts, shine=0.35)


_MAKERS: dict[str, Callable[[np.random.Generator], trimesh.Trimesh]] = {
    "mug": _make_mug,
    "bowl": _make_bowl,
    "bottle": _make_bottle,
    "can": _make_can,
    "spray_can": _make_spray_can,
    "carton": _make_carton,
    "bracket": _make_bracket,
    "duck": _make_duck,
    "hammer": _make_hammer,
    "gear": _make_gear,
    "brick": _make_brick,
    "drill": _make_drill,
    "banana": _make_banana,
    "car": _make_car,
    "screwdriver": _make_screwdriver,
}
KINDS = tuple(_MAKERS)
