"""Colors of what rays hit: albedo of vertices, faces or texture, times the light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.surfaces import texture_lookup
from ism_ros.data.camera import Camera
from ism_ros.rendering.rays import FloatArray, Hits, rotated
from ism_ros.rendering.scene import Lighting, Scene


def shade(
    scene: Scene,
    world_to_camera: NDArray[np.float64],
    lighting: Lighting,
    hits: Hits,
    rays: FloatArray,
    backdrop: FloatArray,
) -> FloatArray:
    """Compute the colors that a camera sees.

    Args:
        scene: What it sees.
        world_to_camera: (4, 4), metres.
        lighting: On the scene.
        hits: What N rays hit.
        rays: (N, 3), camera frame, z = 1.
        backdrop: (N, 3) RGB of the rays that hit nothing.

    Returns:
        (N, 3) float32 RGB in [0, 255]: albedo times the sum of the light (Lambert).
    """
    out = backdrop.copy()
    seen = np.flatnonzero(hits.face >= 0)
    if not len(seen):
        return out
    face, weights, rays = hits.face[seen], hits.barycentric.take(seen, axis=0), rays.take(seen, axis=0)
    first_face = scene.first_face
    owner = np.searchsorted(first_face, face, side="right") - 1
    albedo = np.empty((len(seen), 3), dtype=np.float32)
    normals = np.empty((len(seen), 3), dtype=np.float32)
    flat = np.empty((len(seen), 3), dtype=np.float32)
    view_rotation = world_to_camera[:3, :3].astype(np.float32)
    for index in np.unique(owner):
        surface = scene.surfaces[index]
        rows = np.flatnonzero(owner == index)
        local, w = face[rows] - first_face[index], weights[rows]
        if surface.texture is not None and surface.uv is not None:
            albedo[rows] = texture_lookup(surface.texture, interpolate(w, surface.uv.take(local, axis=0)))
        else:
            albedo[rows] = interpolate(w, surface.colors.take(local, axis=0))
        to_camera = view_rotation @ scene.rotations[index]
        normals[rows] = rotated(interpolate(w, surface.normals.take(local, axis=0)), to_camera)
        flat[rows] = rotated(surface.face_normals.take(local, axis=0), to_camera)

    # Files wind their triangles either way: every surface faces whoever looks at it.
    flat *= np.where(_dot(flat, rays) > 0, np.float32(-1), np.float32(1))[:, None]
    length = np.sqrt(_dot(normals, normals)) * np.where(_dot(normals, flat) < 0, np.float32(-1), np.float32(1))
    normals /= np.where(np.abs(length) > 1e-20, length, np.float32(1))[:, None]
    facing = -_dot(normals, rays) / np.sqrt(_dot(rays, rays))
    light = lighting.ambient + lighting.headlight * np.maximum(facing, 0)
    if lighting.sun > 0:
        points = rays * hits.depth_m[seen, None]
        # Start a little off the surface, or every point would shade itself.
        points += flat * (2e-4 * hits.depth_m[seen, None])
        light = light + lighting.sun * _sun_incidence(scene, world_to_camera, lighting, normals, points)
    out[seen] = np.clip(albedo * light[:, None], 0, 255)
    return out


def _sun_incidence(
    scene: Scene, world_to_camera: NDArray[np.float64], lighting: Lighting, normals: FloatArray, points_m: FloatArray
) -> FloatArray:
    """Compute the cosines (N,) between normals and sun, 0 in shadow; normals and points (N, 3) in the camera frame."""
    to_sun = -np.asarray(lighting.sun_direction, dtype=np.float32)
    to_sun /= np.linalg.norm(to_sun)
    incidence = np.maximum(_dot(normals, to_sun[None]), 0)
    if lighting.shadows:
        lit = np.flatnonzero(incidence > 0)
        view_rotation = world_to_camera[:3, :3].astype(np.float32)
        world = rotated(points_m[lit] - world_to_camera[:3, 3].astype(np.float32), view_rotation.T)
        incidence[lit[scene.tracer.occluded(world, to_sun @ view_rotation)]] = 0
    return incidence


def interpolate(weights: FloatArray, corners: FloatArray) -> FloatArray:
    """Interpolate values of the corners of triangles.

    Args:
        weights: (N, 3) barycentric.
        corners: (N, 3, C).

    Returns:
        (N, C) float32.
    """
    first, second, third = weights[:, 0], weights[:, 1], weights[:, 2]
    out = np.empty((len(weights), corners.shape[2]), dtype=np.float32)
    for channel in range(corners.shape[2]):
        a, b, c = corners[:, 0, channel], corners[:, 1, channel], corners[:, 2, channel]
        out[:, channel] = first * a + second * b + third * c
    return out


def _dot(first: FloatArray, second: FloatArray) -> FloatArray:
    """Multiply rows: (N, 3), (N, 3) -> (N,)."""
    return first[:, 0] * second[:, 0] + first[:, 1] * second[:, 1] + first[:, 2] * second[:, 2]


def edge_pixels(colors: FloatArray, hits: Hits, owner: NDArray[np.int64], camera: Camera) -> NDArray[np.int64]:
    """Find the pixels that differ from a neighbour in mesh, depth or brightness.

    Args:
        colors: (H * W, 3) RGB in [0, 255].
        hits: Of all pixels.
        owner: (H * W,) index of the mesh that each shows; -1 = background.
        camera: Gives height and width.

    Returns:
        (M,) flat indices.
    """
    shape = (camera.height, camera.width)
    brightness = ((colors[:, 0] + colors[:, 1] + colors[:, 2]) / 3).reshape(shape)
    depth = hits.depth_m.reshape(shape)
    mesh = owner.reshape(shape)
    edge = np.zeros(shape, dtype=bool)
    for here, there in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        differs = (
            (mesh[here] != mesh[there])
            | (np.abs(brightness[here] - brightness[there]) > 10)
            | (np.abs(depth[here] - depth[there]) > 0.02 * np.maximum(depth[here], 1e-6))
        )
        # A picture behind the objects is as smooth as it was given.
        differs &= (mesh[here] >= 0) | (mesh[there] >= 0)
        edge[here] |= differs
        edge[there] |= differs
    return np.flatnonzero(edge)
