"""Random objects: a shape, a size, paint, and how they rest. Kept in a bank on disk, as scenes use each many times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.sim.synthesis.resting_poses import make_resting_body
from training.training_scenes.random_shapes import Rng, make_parts
from training.training_scenes.random_textures import draw_palette, draw_tile

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

TILE_PX = 96
"""Side of the picture on each of the six sides of a part."""
POINTS = 6000
STYLE_CHANCES = {
    "plain": 0.3,
    "noise": 0.1,
    "stripes": 0.11,
    "checks": 0.05,
    "dots": 0.07,
    "gradient": 0.07,
    "print": 0.22,
    "metal": 0.08,
}


@dataclass(frozen=True)
class BankObject:
    """One object. surface: in metres, centred on its box. points: (K, 3) of its surface. rotations: (R, 3, 3) to the
    world of the ways it rests, each with a weight (R,). shine: 0..1."""

    surface: Surface
    points: FloatArray
    rotations: FloatArray
    weights: FloatArray
    shine: float


def make_object(seed: int) -> BankObject:
    """Object number `seed`. Every fourth has the shape of the one before it in other paint."""
    shape_seed = seed - 1 if seed % 4 == 3 else seed
    for attempt in range(20):
        rng = np.random.default_rng([21, shape_seed, attempt])
        try:
            parts = make_parts(rng)
            mesh = trimesh.util.concatenate(parts)
            if not len(mesh.faces) or not np.isfinite(mesh.vertices).all() or len(mesh.faces) > 12000:
                continue
            return _finished(parts, rng, np.random.default_rng([22, seed]))
        except (ValueError, IndexError, np.linalg.LinAlgError):
            continue
    raise RuntimeError(f"object {seed} cannot be made")


def _finished(parts: list[trimesh.Trimesh], rng: Rng, paint_rng: Rng) -> BankObject:
    """Parts at their size, painted."""
    size_m = float(np.exp(rng.uniform(np.log(0.05), np.log(0.23))))
    whole = trimesh.util.concatenate(parts)
    scale = size_m / (whole.bounds[1] - whole.bounds[0]).max()
    middle = whole.bounds.mean(axis=0)
    for part in parts:
        part.apply_translation(-middle)
        part.apply_scale(scale)
    metal = paint_rng.random() < 0.1
    mesh = painted(parts, paint_rng, metal)
    body = make_resting_body(trimesh.util.concatenate(parts), POINTS)
    shine = float(paint_rng.uniform(0.5, 1) if metal else paint_rng.choice([0, paint_rng.uniform(0, 0.5)]))
    return BankObject(
        surface_of(mesh),
        body.points.astype(np.float32),
        body.rotations.astype(np.float32),
        body.weights.astype(np.float32),
        shine,
    )


def painted(parts: list[trimesh.Trimesh], rng: Rng, metal: bool = False) -> trimesh.Trimesh:
    """One textured mesh of `parts`; each has a row of the texture, six tiles for its six sides."""
    styles, chances = list(STYLE_CHANCES), np.array(list(STYLE_CHANCES.values()))
    palette = draw_palette(rng)
    rows, vertices, faces, uvs = [], [], [], []
    for index, part in enumerate(parts):
        if index and rng.random() < 0.6:
            palette = draw_palette(rng)
        style = "metal" if metal else styles[rng.choice(len(styles), p=chances)]
        same = rng.random() < 0.4
        seed = int(rng.integers(1 << 30))
        tiles = [
            draw_tile(np.random.default_rng(seed if same else seed + side), style, TILE_PX, TILE_PX, palette)
            for side in range(6)
        ]
        if style == "print" and rng.random() < 0.5:
            for side in rng.choice(6, 3, replace=False):
                tiles[side] = draw_tile(rng, "plain", TILE_PX, TILE_PX, palette)
        rows.append(np.concatenate(tiles, axis=1))
        corners = np.asarray(part.triangles)
        vertices.append(corners.reshape(-1, 3))
        faces.append(np.arange(len(corners) * 3).reshape(-1, 3) + 3 * sum(map(len, faces)))
        uvs.append(_side_uv(part, index, len(parts)))
    texture = np.concatenate(rows, axis=0)
    from PIL import Image

    material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(texture))
    visual = trimesh.visual.TextureVisuals(uv=np.concatenate(uvs), material=material)
    return trimesh.Trimesh(np.concatenate(vertices), np.concatenate(faces), visual=visual, process=False)


def _side_uv(part: trimesh.Trimesh, row: int, rows: int) -> Array:
    """(3F, 2): every face sees the tile of the side of the part's box that it looks towards."""
    corners = np.asarray(part.triangles)
    low, high = part.bounds
    share = (corners - low) / np.maximum(high - low, 1e-9)
    normals = np.asarray(part.face_normals)
    axis = np.abs(normals).argmax(axis=1)
    side = axis * 2 + (normals[np.arange(len(axis)), axis] > 0)
    across = np.take_along_axis(share, np.array([1, 0, 0])[axis][:, None, None], axis=2)[..., 0]
    upward = np.take_along_axis(share, np.array([2, 2, 1])[axis][:, None, None], axis=2)[..., 0]
    inner = 2.0 / TILE_PX
    u = (side[:, None] + inner + (1 - 2 * inner) * across) / 6
    v = 1 - (row + inner + (1 - 2 * inner) * (1 - upward)) / rows
    return np.stack([u, v], -1).reshape(-1, 2)


def write_object(path: Path, made: BankObject) -> None:
    """One .npz; the file appears whole or not at all."""
    surface = made.surface
    unfinished = path.with_suffix(".part.npz")
    np.savez(
        unfinished,
        triangles=surface.triangles_m,
        face_normals=surface.face_normals,
        normals=surface.normals,
        uv=np.asarray(surface.uv, np.float16),
        texture=surface.texture,
        points=made.points,
        rotations=made.rotations,
        weights=made.weights,
        shine=made.shine,
    )
    unfinished.replace(path)


def read_object(path: Path) -> BankObject:
    """What `write_object` wrote."""
    with np.load(path) as stored:
        triangles = stored["triangles"]
        surface = Surface(
            triangles,
            stored["face_normals"],
            stored["normals"],
            np.zeros((len(triangles), 3, 3), np.float32),
            stored["uv"].astype(np.float32),
            stored["texture"],
        )
        return BankObject(surface, stored["points"], stored["rotations"], stored["weights"], float(stored["shine"]))
