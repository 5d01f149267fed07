"""Rays against triangles with embree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ism_ros.data.camera import Camera
from ism_ros.rendering.rays import FloatArray, Hits, pixel_rays, rotated


class RayTracer:
    """A Tracer by embree."""

    def __init__(self, triangles_m: FloatArray) -> None:
        """Build the search tree.

        Args:
            triangles_m: (F, 3, 3) corners in the world frame, metres.

        Raises:
            ImportError: embreex is not installed.
        """
        from embreex import mesh_construction, rtcore_scene

        self._scene = rtcore_scene.EmbreeScene(robust=True)
        mesh_construction.TriangleMesh(self._scene, np.ascontiguousarray(triangles_m, dtype=np.float32))

    def trace(
        self,
        world_to_camera: NDArray[np.float64],
        camera: Camera,
        pixels: NDArray[np.int64],
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> Hits:
        """Find what the rays through pixels hit first; see `scene.Tracer`."""
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

    def occluded(self, origins_m: FloatArray, direction: FloatArray) -> NDArray[np.bool_]:
        """Check what lies in the way of parallel rays; see `scene.Tracer`."""
        directions = np.ascontiguousarray(np.broadcast_to(direction.astype(np.float32), origins_m.shape))
        hit = self._scene.run(np.ascontiguousarray(origins_m, dtype=np.float32), directions, query="OCCLUDED")
        return np.asarray(hit == 0)
