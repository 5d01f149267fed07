"""Rays through pixels, what they hit, and rotations of many vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.data.camera import Camera

FloatArray = NDArray[np.float32]
"""float32 of any shape."""


@dataclass(frozen=True)
class Hits:
    """What the rays through N pixels hit first.

    Attributes:
        face: (N,) int64, index of the triangle; -1 where nothing is hit.
        depth_m: (N,) float32, metres along the optical axis; 0 where nothing is hit.
        barycentric: (N, 3) float32, weights of the triangle's corners; meaningless where nothing is hit.
    """

    face: NDArray[np.int64]
    depth_m: FloatArray
    barycentric: FloatArray


def pixel_rays(camera: Camera, pixels: NDArray[np.int64], shift_px: tuple[float, float]) -> FloatArray:
    """Compute the directions of the rays through pixels.

    Args:
        camera: Whose pixels they are; their centres lie at whole numbers.
        pixels: (N,) flat indices, row by row.
        shift_px: Added to all of them (right, down).

    Returns:
        (N, 3) float32 in the camera frame, z = 1.
    """
    v, u = np.divmod(pixels, camera.width)
    rays = np.ones((len(pixels), 3), dtype=np.float32)
    rays[:, 0], rays[:, 1] = camera.normalized(u, v, shift_px)
    return rays


def rotated(vectors: FloatArray, rotation: NDArray[np.floating[Any]]) -> FloatArray:
    """Rotate vectors.

    Args:
        vectors: (N, 3).
        rotation: (3, 3), applied to each row.

    Returns:
        (N, 3) float32.
    """
    # Column by column: a matrix product of this shape starts BLAS threads, and broadcasting over three is slow.
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    out = np.empty((len(vectors), 3), dtype=np.float32)
    for axis, (a, b, c) in enumerate(rotation.astype(np.float32)):
        out[:, axis] = a * x + b * y + c * z
    return out
