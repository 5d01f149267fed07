"""Pixels against triangles in plain numpy, for machines without embree: slower, with the same results.

Edge functions in homogeneous coordinates (Olano and Greer, Triangle Scan Conversion using 2D Homogeneous Coordinates,
1997): a ray d through a pixel meets the triangle with corners P (columns) where e = P^-1 d has no negative part; the
depth is 1 / sum(e) and e / sum(e) are the barycentric weights. Nothing has to be clipped at the camera's plane.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.data.camera import Camera
from ism_ros.rendering.rays import FloatArray, Hits

DoubleArray = NDArray[Any]
"""float64 of any shape."""

_MAX_PAIRS = 500_000
"""Candidate (triangle, pixel) pairs tested at once, which bounds the memory."""
_SHADOW_MAP_PX = 1024
"""Side of the depth map that the sun sees."""
_SUN_DISTANCE = 1e4
"""Distance of the sun in radii of the scene, from which its light is as good as parallel."""


class Rasterizer:
    """A Tracer by a z-buffer."""

    def __init__(self, triangles_m: FloatArray) -> None:
        """Keep the triangles.

        Args:
            triangles_m: (F, 3, 3) corners in the world frame, metres.
        """
        self._triangles = np.asarray(triangles_m, dtype=np.float64)
        self._shadow_maps: dict[bytes, _ShadowMap] = {}

    def trace(
        self,
        world_to_camera: NDArray[np.float64],
        camera: Camera,
        pixels: NDArray[np.int64],
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> Hits:
        """Find what the rays through pixels hit first; see `scene.Tracer`."""
        corners = self._triangles @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
        needed = np.zeros((camera.height, camera.width), dtype=bool)
        needed.flat[pixels] = True
        edges = _edge_functions(corners)
        face, depth_m = _nearest(corners, edges, camera, shift_px, needed)
        face, depth_m = face[pixels], depth_m[pixels]
        seen = np.flatnonzero(face >= 0)
        weights = np.zeros((len(pixels), 3), dtype=np.float32)
        v, u = np.divmod(pixels[seen], camera.width)
        parts = _evaluate(edges, face[seen], *camera.normalized(u, v, shift_px))
        weights[seen] = (parts / parts.sum(axis=0)).T
        return Hits(face, depth_m.astype(np.float32), weights)

    def occluded(self, origins_m: FloatArray, direction: FloatArray) -> NDArray[np.bool_]:
        """Check what lies in the way of parallel rays; see `scene.Tracer`.

        This is read from a depth map seen from far away in that direction, so it is only as fine as its pixels.
        """
        towards = np.asarray(direction, dtype=np.float64)
        key = towards.tobytes()
        if key not in self._shadow_maps:
            self._shadow_maps[key] = _ShadowMap(self._triangles, towards / np.linalg.norm(towards))
        return self._shadow_maps[key].occluded(origins_m)


class _ShadowMap:
    """Depth map of a scene as its sun sees it."""

    def __init__(self, triangles: DoubleArray, to_sun: DoubleArray) -> None:
        points = triangles.reshape(-1, 3)
        centre_m = (points.min(axis=0) + points.max(axis=0)) / 2
        radius = float(np.linalg.norm(points - centre_m, axis=1).max())
        distance = _SUN_DISTANCE * radius
        aside = np.cross(to_sun, np.eye(3)[np.argmin(np.abs(to_sun))])
        aside /= np.linalg.norm(aside)
        self._rotation = np.stack([aside, np.cross(-to_sun, aside), -to_sun])
        self._translation = np.array([0, 0, distance]) - self._rotation @ centre_m
        centre = (_SHADOW_MAP_PX - 1) / 2
        focal = centre * distance / radius
        self._camera = Camera(np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]]), *[_SHADOW_MAP_PX] * 2)
        self._texel = 2 * radius / _SHADOW_MAP_PX
        corners = triangles @ self._rotation.T + self._translation
        everywhere = np.ones((_SHADOW_MAP_PX, _SHADOW_MAP_PX), dtype=bool)
        face, depth = _nearest(corners, _edge_functions(corners), self._camera, (0.0, 0.0), everywhere)
        self._depth = np.where(face >= 0, depth, np.inf)

    def occluded(self, origins_m: FloatArray) -> NDArray[np.bool_]:
        points = origins_m.astype(np.float64) @ self._rotation.T + self._translation
        u, v = (np.rint(pixels).astype(np.int64) for pixels in self._camera.project(points))
        inside = (u >= 0) & (u < self._camera.width) & (v >= 0) & (v < self._camera.height)
        flat = np.where(inside, v * self._camera.width + u, 0)
        # Within a texel or two, a slanted surface would shade itself.
        return inside & (self._depth[flat] < points[:, 2] - 3 * self._texel)


def _edge_functions(corners: DoubleArray) -> DoubleArray:
    """Compute P^-1 (F, 3, 3) of each triangle; its last axis multiplies the ray (x, y, 1). Flat ones give zeros."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    rows = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    determinant = np.einsum("ij,ij->i", a, rows[:, 0])
    inverse = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=np.abs(determinant) > 1e-30)
    return np.asarray(rows * inverse[:, None, None])


def _evaluate(edges: DoubleArray, face: NDArray[np.int64], x: DoubleArray, y: DoubleArray) -> DoubleArray:
    """Compute e (3, N) of each (face, ray) pair."""
    chosen = edges[face]
    return np.stack([chosen[:, i, 0] * x + chosen[:, i, 1] * y + chosen[:, i, 2] for i in range(3)])


def _nearest(
    corners: DoubleArray,
    edges: DoubleArray,
    camera: Camera,
    shift_px: tuple[float, float],
    needed: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], DoubleArray]:
    """Find the nearest triangle of every needed pixel and its depth, both (H * W,); -1 and 0 where there is none."""
    left, top, width, height = _extents(corners, edges, camera, shift_px)
    is_needed = _count_in_boxes(needed, left, top, width, height) > 0
    candidates = np.flatnonzero(is_needed)
    sizes = (width * height)[candidates]
    nearest = np.full(needed.size, -1, dtype=np.int64)
    inverse_depth = np.zeros(needed.size)
    ends = np.cumsum(sizes)
    start = 0
    while start < len(candidates):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + _MAX_PAIRS, side="right")), start + 1)
        faces, counts = candidates[start:stop], sizes[start:stop]
        face = np.repeat(faces, counts)
        place = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
        v, u = np.divmod(place, width[face])
        u += left[face]
        v += top[face]
        pixel = v * camera.width + u
        keep = needed.flat[pixel]
        face, u, v, pixel = face[keep], u[keep], v[keep], pixel[keep]
        parts = _evaluate(edges, face, *camera.normalized(u, v, shift_px))
        closeness = parts.sum(axis=0)
        hit = np.flatnonzero((parts >= 0).all(axis=0) & (closeness > inverse_depth[pixel]))
        # Of several writes to one pixel the last one stays: the nearest.
        hit = hit[np.argsort(closeness[hit], kind="stable")]
        inverse_depth[pixel[hit]] = closeness[hit]
        nearest[pixel[hit]] = face[hit]
        start = stop
    depth = np.divide(1.0, inverse_depth, out=np.zeros_like(inverse_depth), where=inverse_depth > 0)
    return nearest, depth


def _extents(
    corners: DoubleArray, edges: DoubleArray, camera: Camera, shift_px: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Bound the pixels that each triangle may cover: left, top, width and height (F,); width 0 where it covers none.

    A triangle that reaches behind the camera may cover all of them.
    """
    z = corners[:, :, 2]
    ahead = np.asarray((z > 1e-6).all(axis=1))
    safe_z = np.where(ahead[:, None], z, 1.0)
    u = corners[:, :, 0] / safe_z * camera.fx + (camera.cx - shift_px[0])
    v = corners[:, :, 1] / safe_z * camera.fy + (camera.cy - shift_px[1])

    def span(values: DoubleArray, limit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = np.clip(np.ceil(values.min(axis=1) - 1e-6), 0, limit)
        last = np.clip(np.floor(values.max(axis=1) + 1e-6), -1, limit - 1)
        first, last = np.where(ahead, first, 0), np.where(ahead, last, limit - 1)
        return first.astype(np.int64), np.maximum(last - first + 1, 0).astype(np.int64)

    left, width = span(u, camera.width)
    top, height = span(v, camera.height)
    nothing = (z <= 0).all(axis=1) | ~edges.any(axis=(1, 2)) | (width == 0) | (height == 0)
    width[nothing] = height[nothing] = 0
    return left, top, width, height


def _count_in_boxes(
    marked: NDArray[np.bool_],
    left: NDArray[np.int64],
    top: NDArray[np.int64],
    width: NDArray[np.int64],
    height: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Count the marked pixels in each box by a summed-area table."""
    table = np.zeros((marked.shape[0] + 1, marked.shape[1] + 1), dtype=np.int64)
    table[1:, 1:] = marked.cumsum(axis=0).cumsum(axis=1)
    right, bottom = left + width, top + height
    return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
