"""Random objects: a shape, a size, a texture and resting poses. Kept on disk, as scenes use each many times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.runtime.atomic_files import open_atomically
from ism_ros.sim.synthesis.resting_poses import make_resting_body
from training.training_scenes.random_compositions import make_parts
from training.training_scenes.random_shapes import Rng
from training.training_scenes.random_textures import draw_tile, sample_palette

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

TILE_PX = 96
"""Side of the picture on each of the six sides of a part, pixels."""
POINTS = 6000
"""Points on the surface of an object, for its placement."""
STYLE_PROBABILITIES = {
    "plain": 0.3,
    "noise": 0.1,
    "stripes": 0.11,
    "checks": 0.05,
    "dots": 0.07,
    "gradient": 0.07,
    "print": 0.22,
    "metal": 0.08,
}
"""Styles of texture; their order is part of the random streams."""


@dataclass(frozen=True)
class BankObject:
    """One object.

    Attributes:
        surface: Triangles and texture in metres, centred on its box.
        points: (K, 3) float32 points on its surface, metres.
        rotations: (R, 3, 3) object-to-world rotations in which it rests.
        weights: (R,) probability of each.
        shine: How mirror-like it is, in [0, 1].
    """

    surface: Surface
    points: FloatArray
    rotations: FloatArray
    weights: FloatArray
    shine: float


def make_object(seed: int) -> BankObject:
    """Make one object; every fourth has the shape of the one before it with another texture.

    Args:
        seed: Number of the object.

    Returns:
        The object; the same seed gives the same object.

    Raises:
        RuntimeError: No valid mesh was found.
    """
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


def _finished(parts: list[trimesh.Trimesh], rng: Rng, texture_rng: Rng) -> BankObject:
    """Scale and texture the parts of an object."""
    size_m = float(np.exp(rng.uniform(np.log(0.05), np.log(0.23))))
    whole = trimesh.util.concatenate(parts)
    scale = size_m / (whole.bounds[1] - whole.bounds[0]).max()
    middle = whole.bounds.mean(axis=0)
    for part in parts:
        part.apply_translation(-middle)
        part.apply_scale(scale)
    metal = texture_rng.random() < 0.1
    mesh = texture_parts(parts, texture_rng, metal)
    body = make_resting_body(trimesh.util.concatenate(parts), POINTS)
    shine = float(texture_rng.uniform(0.5, 1) if metal else texture_rng.choice([0, texture_rng.uniform(0, 0.5)]))
    return BankObject(
        surface_of(mesh),
        body.points.astype(np.float32),
        body.rotations.astype(np.float32),
        body.weights.astype(np.float32),
        shine,
    )


def texture_parts(parts: list[trimesh.Trimesh], rng: Rng, metal: bool = False) -> trimesh.Trimesh:
    """Join parts into one textured mesh; each part has a row of the texture, six tiles for its six sides.

    Args:
        parts: The meshes.
        rng: Source of randomness.
        metal: Texture all of them as brushed metal.

    Returns:
        The mesh.
    """
    styles, probabilities = list(STYLE_PROBABILITIES), np.array(list(STYLE_PROBABILITIES.values()))
    palette = sample_palette(rng)
    rows, vertices, faces, uvs = [], [], [], []
    for index, part in enumerate(parts):
        if index and rng.random() < 0.6:
            palette = sample_palette(rng)
        style = "metal" if metal else styles[rng.choice(len(styles), p=probabilities)]
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
    material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(texture))
    visual = trimesh.visual.TextureVisuals(uv=np.concatenate(uvs), material=material)
    return trimesh.Trimesh(np.concatenate(vertices), np.concatenate(faces), visual=visual, process=False)


def _side_uv(part: trimesh.Trimesh, row: int, rows: int) -> Array:
    """(3F, 2) UV: every face has the tile of the side of the part's box that it faces."""
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
    """Write an object; the file appears whole or not at all.

    Args:
        path: The .npz file.
        made: The object.
    """
    surface = made.surface
    with open_atomically(path, "wb") as stream:
        np.savez(
            stream,
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


def read_object(path: Path) -> BankObject:
    """Read an object.

    Args:
        path: What `write_object` wrote.

    Returns:
        The object.
    """
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
