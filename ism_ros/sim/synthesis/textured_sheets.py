"""Textured rectangles: table tops, floors and walls."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray
from PIL import Image


def textured_sheet(
    centre: ArrayLike, right: ArrayLike, up: ArrayLike, image: NDArray[np.uint8], repeats: float = 1.0
) -> trimesh.Trimesh:
    """Make a rectangle with a picture on it.

    Args:
        centre: (3,) its centre, metres.
        right: (3,) half of its side towards the right of the picture, metres.
        up: (3,) half of its side towards the top of the picture, metres.
        image: (h, w, 3) uint8 RGB.
        repeats: How many times the picture is repeated along each side.

    Returns:
        A mesh of two triangles with a UV texture.
    """
    c, r, u = (np.asarray(value, float) for value in (centre, right, up))
    vertices = np.array([c - r - u, c + r - u, c + r + u, c - r + u])
    uv = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float) * repeats
    material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(image))
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(vertices, [(0, 1, 2), (0, 2, 3)], visual=visual, process=False)
