"""Texture atlases: several textured parts joined into one mesh with one texture.

trimesh.visual.material.pack does much the same, but wraps uv of single vertices, which tears triangles that cross the
edge of a texture that repeats; here such textures are laid out as often as they repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from ism_ros.cad.surfaces import Surface

FloatArray = NDArray[np.float32]
"""float32 of any shape."""

_MAX_SIDE_PX = 4096
"""Side of a repeated texture, above which it is reduced."""
_TEXELS_PER_FACE = 4
"""Side of the square of texels that a face gets whose corners differ in color."""


def atlas_mesh(surfaces: Sequence[Surface]) -> trimesh.Trimesh:
    """Join surfaces into one mesh, their textures below one another in a single image.

    Textures that repeat are laid out as often as they do. Parts without a texture get one: a single color, or a
    small square for each face whose corners differ.

    Args:
        surfaces: At least one.

    Returns:
        The mesh, in the frame of the surfaces, metres.
    """
    pictures, coordinates = zip(*map(_picture_and_uv, surfaces), strict=True)
    # One texel of margin, for the neighbours that bilinear look-up takes in.
    padded = [np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge") for picture in pictures]
    height, width = sum(len(picture) for picture in padded), max(picture.shape[1] for picture in padded)
    atlas = np.zeros((height, width, 3), dtype=np.uint8)
    placed, top = [], 0
    for picture, uv in zip(padded, coordinates, strict=True):
        atlas[top : top + len(picture), : picture.shape[1]] = picture
        x = 1 + uv[..., 0] * (picture.shape[1] - 2)
        y = top + 1 + (1 - uv[..., 1]) * (len(picture) - 2)
        placed.append(np.stack([x / width, 1 - y / height], axis=-1))
        top += len(picture)
    corners = np.concatenate([surface.triangles_m for surface in surfaces]).reshape(-1, 3)
    visual = trimesh.visual.TextureVisuals(
        uv=np.concatenate(placed).reshape(-1, 2),
        material=trimesh.visual.material.SimpleMaterial(image=Image.fromarray(atlas)),
    )
    return trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3), visual=visual, process=False)


def _picture_and_uv(surface: Surface) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Make an image and coordinates (F, 3, 2) within [0, 1] that color `surface` as it is."""
    if surface.texture is not None and surface.uv is not None:
        return _unrolled(surface.texture, surface.uv)
    if np.ptp(surface.colors.reshape(-1, 3), axis=0).max() < 1:
        color = np.rint(surface.colors[:1, :1]).astype(np.uint8)
        return color, np.full((len(surface), 3, 2), 0.5)
    return _baked(surface.colors)


def _unrolled(texture: NDArray[np.uint8], uv: FloatArray) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Repeat the texture as often as single faces run across it, and return coordinates that stay inside."""
    inside = uv - np.floor(uv.min(axis=1, keepdims=True) + 1e-6)
    times = np.maximum(np.ceil(inside.reshape(-1, 2).max(axis=0) - 1e-5), 1).astype(int)
    room = np.maximum(_MAX_SIDE_PX // times, 1)
    step = int(np.ceil(max(texture.shape[1] / room[0], texture.shape[0] / room[1], 1)))
    if step > 1:
        texture = np.asarray(Image.fromarray(texture).reduce(step))
    return np.tile(texture, (times[1], times[0], 1)), np.clip(inside / times, 0, 1)


def _baked(colors: FloatArray) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Make a small square of texels for each face, with the colors (F, 3, 3) of its corners blended across."""
    side = _TEXELS_PER_FACE
    columns = int(np.ceil(np.sqrt(len(colors))))
    rows = -(-len(colors) // columns)
    along = (np.arange(side) - 0.5) / (side - 2)
    right, down = np.meshgrid(along, along)
    weights = np.stack([1 - right - down, right, down], axis=-1)
    squares = np.einsum("yxk,fkc->fyxc", weights, colors)
    grid = np.zeros((rows * columns, side, side, 3))
    grid[: len(colors)] = squares
    picture = grid.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    row, column = np.divmod(np.arange(len(colors)), columns)
    corner = np.array([[1.0, 1.0], [side - 1.0, 1.0], [1.0, side - 1.0]])
    x = (column[:, None] * side + corner[:, 0]) / (columns * side)
    y = (row[:, None] * side + corner[:, 1]) / (rows * side)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), np.stack([x, 1 - y], axis=-1)
