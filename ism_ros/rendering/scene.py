"""What is rendered: surfaces in a world, the light on them, and what finds the surface that a pixel shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface
from ism_ros.data.camera import Camera
from ism_ros.rendering.ray_tracer import RayTracer
from ism_ros.rendering.rays import FloatArray, Hits


@dataclass(frozen=True)
class Lighting:
    """Light of three sources; colors are multiplied by their sum, clipped to white.

    Attributes:
        ambient: Light from everywhere.
        headlight: Light from the camera, times the cosine between surface normal and ray.
        sun: Parallel light, times the cosine between surface normal and sun.
        sun_direction: In which that light travels, camera frame, any length.
        shadows: Whether it casts shadows.
    """

    ambient: float = 0.35
    headlight: float = 0.65
    sun: float = 0.0
    sun_direction: tuple[float, float, float] = (0.3, 0.8, 0.5)
    shadows: bool = True


class Tracer(Protocol):
    """Finds what pixels show of a fixed set of triangles."""

    def trace(
        self,
        world_to_camera: NDArray[np.float64],
        camera: Camera,
        pixels: NDArray[np.int64],
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> Hits:
        """Find what the rays through pixels hit first.

        Args:
            world_to_camera: (4, 4), metres.
            camera: Whose pixels they are; their centres lie at whole numbers.
            pixels: (N,) flat indices, row by row.
            shift_px: Added to all of them (right, down).

        Returns:
            One hit a pixel.
        """
        ...

    def occluded(self, origins_m: FloatArray, direction: FloatArray) -> NDArray[np.bool_]:
        """Check what lies in the way of parallel rays.

        Args:
            origins_m: (N, 3) where they start, world frame, metres.
            direction: (3,) of all of them, world frame.

        Returns:
            (N,) bool, true where a ray hits anything.
        """
        ...


@dataclass(frozen=True)
class Scene:
    """Surfaces that stay where they are while cameras move.

    Attributes:
        surfaces: N surfaces, each in a frame of its own.
        rotations: (N, 3, 3) float32, from the frame of each surface to the world.
        tracer: Holds their triangles, in the world frame, in the order of `surfaces`.
    """

    surfaces: Sequence[Surface]
    rotations: FloatArray
    tracer: Tracer

    @property
    def first_face(self) -> NDArray[np.int64]:
        """Index (N + 1,) of each surface's first triangle among all."""
        return np.cumsum([0, *map(len, self.surfaces)])


CreateTracer = Callable[[FloatArray], Tracer]
"""Creates a Tracer of triangles (F, 3, 3) in the world frame, metres."""


def create_tracer(triangles_m: FloatArray) -> Tracer:
    """Create the ray tracer, or the slower rasterizer where embreex is not installed (no wheel for aarch64).

    Args:
        triangles_m: (F, 3, 3) corners in the world frame, metres.

    Returns:
        Either one.
    """
    try:
        return RayTracer(triangles_m)
    except ImportError:
        from ism_ros.rendering.rasterizer import Rasterizer

        return Rasterizer(triangles_m)
