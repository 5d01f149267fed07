"""Rays against triangles with embree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.data.camera import Camera

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Hits:
    """What N pixels see first.

    face: (N,) int64, -1 where nothing. depth_m: (N,) float32 along the optical axis, 0 where nothing.
    barycentric: (N, 3) float32 weights of the face's corners, meaningless where nothing.
    """

    face: NDArray[np.int64]
    depth_m: FloatArray
    barycentric: FloatArray


def pixel_rays(camera: Camera, pixels: NDArray[np.int64], shift_px: tuple[float, float]) -> FloatArray:
    """Directions (N, 3) float32 in the camera frame, z = 1, through `pixels` (flat indices, row by row).

    Pixel centres lie at whole numbers; `shift_px` (right, down) moves all of them.
    """
    v, u = np.divmod(pixels, camera.width)
    rays = np.ones((len(pixels), 3), dtype=np.float32)
    rays[:, 0], rays[:, 1] = camera.normalized(u, v, shift_px)
    return rays


def rotated(vectors: FloatArray, rotation: NDArray[np.floating[Any]]) -> FloatArray:
    """`rotation` (3, 3) applied to each row of `vectors` (N, 3)."""
    # Column by column: a matrix product of this shape starts BLAS threads, and broadcasting over three is slow.
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    out = np.empty((len(vectors), 3), dtype=np.float32)
    for axis, (a, b, c) in enumerate(rotation.astype(np.float32)):
        out[:, axis] = a * x + b * y + c * z
    return out


class RayTracer:
    """Triangles (F, 3, 3) in metres, in any one frame, seen by embree. Raises ImportError where it is missing."""

    def __init__(self, triangles_m: FloatArray) -> None:
        from embreex import mesh_construction, rtcore_scene

        self._scene = rtcore_scene.EmbreeScene(robust=True)
        mesh_construction.TriangleMesh(self._scene, np.ascontiguousarray(triangles_m, dtype=np.float32))

    def see(
        self,
        world_to_camera: NDArray[np.float64],
        camera: Camera,
        pixels: NDArray[np.int64],
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> Hits:
        """What each of `pixels` sees; see pixel_rays for the arguments."""
        rotation = world_to_camera[:3, :3]
        origin = -rotation.T @ world_to_camera[:3, 3]
        directions = rotated(pixel_rays(camera, pixels, shift_px), rotation.T)
        origins = np.broadcast_to(origin.astype(np.float32), directions.shape)
        found = self._scene.run(np.ascontiguousarray(origins), np.ascontiguousarray(directions), output=1)
        face = found["primID"].astype(np.int64)
        seen = face >= 0
        barycentric = np.empty((len(face), 3), dtype=np.float32)
        barycentric[:, 1], barycentric[:, 2] = found["u"], found["v"]
        barycentric[:, 0] = 1 - found["u"] - found["v"]
        # Rays have z = 1 in the camera frame, so the distance along them is the depth.
        return Hits(face, np.where(seen, found["tfar"], np.float32(0)), barycentric)

    def blocked(self, origins_m: FloatArray, direction: FloatArray) -> NDArray[np.bool_]:
        """Whether anything lies from each origin (N, 3) onwards along `direction` (3,); (N,) bool."""
        directions = np.ascontiguousarray(np.broadcast_to(direction.astype(np.float32), origins_m.shape))
        answer = self._scene.run(np.ascontiguousarray(origins_m, dtype=np.float32), directions, query="OCCLUDED")
        return np.asarray(answer == 0)
