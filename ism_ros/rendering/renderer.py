"""Pictures of meshes, made on the CPU: no GL, no display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface, surface_of, texture_lookup
from ism_ros.data.camera import Camera
from ism_ros.rendering.ray_tracer import Hits, RayTracer, pixel_rays, rotated
from ism_ros.rendering.templates import TemplateSet
from ism_ros.rendering.viewpoints import object_to_camera_rotations

if TYPE_CHECKING:
    import trimesh

FloatArray = NDArray[np.float32]

RENDERER_VERSION = 2
"""Grows whenever templates come out differently: part of the key of templates cached on disk."""
TEMPLATE_SIZE_PX = 420
# As far as the reference puts its camera: perspective like that of an object on a table.
_DISTANCE_IN_RADII = 4.0
_FILLED_SHARE = 0.92


@dataclass(frozen=True)
class Lighting:
    """Light as a mix of three sources; colours are multiplied by their sum, clipped to white.

    ambient: from everywhere. headlight: from the camera, falling off with the angle of the surface. sun: parallel
    light towards `sun_direction` (camera frame, any length), casting shadows where `shadows` is set.
    """

    ambient: float = 0.35
    headlight: float = 0.65
    sun: float = 0.0
    sun_direction: tuple[float, float, float] = (0.3, 0.8, 0.5)
    shadows: bool = True


@dataclass(frozen=True)
class View:
    """What a camera sees.

    rgb: (H, W, 3) uint8. depth_m: (H, W) float32 along the optical axis, 0 = background. instance: (H, W) int32,
    the index of the mesh seen, -1 = background. xyz_m: (H, W, 3) float32, the point seen in the frame of its own
    mesh, 0 = background.
    """

    rgb: NDArray[np.uint8]
    depth_m: FloatArray
    instance: NDArray[np.int32]
    xyz_m: FloatArray


class Tracer(Protocol):
    """Finds what pixels see of a fixed set of triangles."""

    def see(
        self,
        world_to_camera: NDArray[np.float64],
        camera: Camera,
        pixels: NDArray[np.int64],
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> Hits: ...

    def blocked(self, origins_m: FloatArray, direction: FloatArray) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class Scene:
    """Surfaces that stay where they are while cameras move.

    rotations: (N, 3, 3) float32, object to world of each surface. tracer: holds their triangles, in the world frame,
    in the order of `surfaces`.
    """

    surfaces: Sequence[Surface]
    rotations: FloatArray
    tracer: Tracer

    @property
    def first_face(self) -> NDArray[np.int64]:
        """(N + 1,), the number of each surface's first triangle among all."""
        return np.cumsum([0, *map(len, self.surfaces)])


def create_tracer(triangles_m: FloatArray) -> Tracer:
    """The ray tracer, or the slower rasteriser where embreex is not to be had (no wheel for aarch64)."""
    try:
        return RayTracer(triangles_m)
    except ImportError:
        from ism_ros.rendering.rasterizer import Rasteriser

        return Rasteriser(triangles_m)


def render(
    meshes: Sequence[trimesh.Trimesh | Surface],
    poses: Sequence[NDArray[np.float64]],
    camera: Camera,
    *,
    lighting: Lighting | None = None,
    background: tuple[int, int, int] | NDArray[np.uint8] = (0, 0, 0),
    samples: int = 2,
) -> View:
    """The picture of `meshes`, each at its object-to-camera pose (4, 4), metres.

    Pixel centres lie at whole numbers, as in OpenCV. `samples` x `samples` rays smooth the colours of pixels at
    edges (1 = none); depth, instance and xyz are of the pixel's centre. `background` is a colour or an (H, W, 3)
    picture. Give surfaces (`surface_of`) instead of meshes when the same mesh is rendered many times.
    """
    if len(meshes) != len(poses):
        raise ValueError(f"{len(meshes)} meshes but {len(poses)} poses: give one pose for each mesh")
    surfaces = [mesh if isinstance(mesh, Surface) else surface_of(mesh) for mesh in meshes]
    backdrop = np.broadcast_to(np.asarray(background, dtype=np.uint8), (camera.height, camera.width, 3))
    if not surfaces:
        return _empty_view(backdrop)
    placed = [
        rotated(surface.triangles_m.reshape(-1, 3), pose[:3, :3]) + pose[:3, 3].astype(np.float32)
        for surface, pose in zip(surfaces, poses, strict=True)
    ]
    rotations = np.stack([pose[:3, :3] for pose in poses]).astype(np.float32)
    scene = Scene(surfaces, rotations, create_tracer(np.concatenate(placed).reshape(-1, 3, 3)))
    return see(scene, np.eye(4), camera, lighting or Lighting(), backdrop, samples)


def render_templates(
    mesh: trimesh.Trimesh | Surface,
    *,
    size_px: int = TEMPLATE_SIZE_PX,
    samples: int = 2,
    rotations: NDArray[np.float64] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TemplateSet:
    """`mesh` (metres) seen from the 42 viewpoints on black, in pictures of size_px x size_px.

    The cameras stand four radii of the object away from its middle and zoom until it fills the picture, so that a
    pencil seen from its tip is as sharp as from its side. samples: see render. rotations: (T, 3, 3) object-to-camera,
    where other viewpoints are wanted. progress: told (views done, T).
    """
    # Around its middle, so that no precision is lost for objects far from their origin.
    surface, middle = _centred(mesh)
    corners = surface.triangles_m.reshape(-1, 3)
    radius_m = float(np.linalg.norm(corners, axis=1).max())
    vertices = np.unique(corners, axis=0).astype(np.float64)
    scene = Scene([surface], np.eye(3, dtype=np.float32)[None], create_tracer(surface.triangles_m))
    backdrop = np.zeros((size_px, size_px, 3), dtype=np.uint8)
    rotations = object_to_camera_rotations() if rotations is None else rotations
    offset_m = _DISTANCE_IN_RADII * radius_m * np.array([0.0, 0.0, 1.0])
    views, intrinsics = [], []
    for index, rotation in enumerate(rotations):
        pose = np.eye(4)
        pose[:3, :3] = rotation
        pose[:3, 3] = offset_m
        camera = _filling_camera(vertices @ rotation.T + offset_m, size_px)
        views.append(see(scene, pose, camera, Lighting(), backdrop, samples))
        intrinsics.append(camera.intrinsics)
        if progress is not None:
            progress(index + 1, len(rotations))
    exact = np.float32 if _is_exact(np.abs(middle).max() + radius_m, radius_m) else np.float64
    return TemplateSet(
        rgb=np.stack([view.rgb for view in views]),
        masks=np.stack([view.instance >= 0 for view in views]),
        xyz_m=np.stack(
            [(view.xyz_m.astype(exact) + middle.astype(exact)) * (view.instance >= 0)[..., None] for view in views]
        ),
        rotations=rotations,
        translations_m=offset_m - rotations @ middle,
        intrinsics=np.stack(intrinsics),
    )


def _centred(mesh: trimesh.Trimesh | Surface) -> tuple[Surface, NDArray[np.float64]]:
    """The surface about the middle of its box, and where that lies in the object frame, (3,)."""
    if isinstance(mesh, Surface):
        corners = mesh.triangles_m.reshape(-1, 3)
        middle = ((corners.min(axis=0) + corners.max(axis=0)) / 2.0).astype(np.float64)
        return replace(mesh, triangles_m=mesh.triangles_m - middle.astype(np.float32)), middle
    middle = np.asarray(mesh.bounds, np.float64).mean(axis=0)
    return surface_of(mesh, middle), middle


def _is_exact(farthest_m: float, radius_m: float) -> bool:
    """Whether single precision resolves coordinates up to `farthest_m` to a ten-thousandth of the object."""
    return float(np.spacing(np.float32(farthest_m))) < 1e-4 * radius_m


def _filling_camera(points_m: NDArray[np.float64], size_px: int) -> Camera:
    """The square camera in which `points_m` (N, 3), in its frame, fill the picture but for a margin."""
    flat = points_m[:, :2] / points_m[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)
    focal = _FILLED_SHARE * size_px / max(float((high - low).max()), 1e-9)
    centre = (size_px - 1) / 2 - focal * (low + high) / 2
    return Camera(np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]), size_px, size_px)


def see(
    scene: Scene,
    world_to_camera: NDArray[np.float64],
    camera: Camera,
    lighting: Lighting,
    backdrop: NDArray[np.uint8],
    samples: int,
) -> View:
    """One view of `scene` before `backdrop` (H, W, 3); see render for the other arguments."""
    first_face = scene.first_face
    pixels = np.arange(camera.height * camera.width)
    hits = scene.tracer.see(world_to_camera, camera, pixels)
    owner = np.searchsorted(first_face, hits.face, side="right") - 1
    colours = backdrop.reshape(-1, 3).astype(np.float32)
    xyz = np.zeros((len(pixels), 3), dtype=np.float32)
    for index, surface in enumerate(scene.surfaces):
        rows = np.flatnonzero(owner == index)
        corners = surface.triangles_m.take(hits.face[rows] - first_face[index], axis=0)
        xyz[rows] = _interpolate(hits.barycentric[rows], corners)

    def shade(seen: Hits, at: NDArray[np.int64], shift_px: tuple[float, float]) -> FloatArray:
        rays = pixel_rays(camera, at, shift_px)
        return _shade(scene, world_to_camera, lighting, seen, rays, colours[at])

    centre = shade(hits, pixels, (0.0, 0.0))
    if samples > 1:
        edges = _edge_pixels(centre, hits, owner, camera)
        steps = (np.arange(samples) + 0.5) / samples - 0.5
        total = np.zeros((len(edges), 3), dtype=np.float32)
        for dv in steps:
            for du in steps:
                shift = (float(du), float(dv))
                total += shade(scene.tracer.see(world_to_camera, camera, edges, shift), edges, shift)
        centre[edges] = total / samples**2

    shape = (camera.height, camera.width)
    return View(
        rgb=np.clip(np.rint(centre), 0, 255).astype(np.uint8).reshape(*shape, 3),
        depth_m=hits.depth_m.reshape(shape),
        instance=owner.astype(np.int32).reshape(shape),
        xyz_m=xyz.reshape(*shape, 3),
    )


def _shade(
    scene: Scene,
    world_to_camera: NDArray[np.float64],
    lighting: Lighting,
    hits: Hits,
    rays: FloatArray,
    backdrop: FloatArray,
) -> FloatArray:
    """RGB (N, 3) float32 in [0, 255] of what `hits` are, seen along `rays` (N, 3), or else of `backdrop` (N, 3)."""
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
            albedo[rows] = texture_lookup(surface.texture, _interpolate(w, surface.uv.take(local, axis=0)))
        else:
            albedo[rows] = _interpolate(w, surface.colours.take(local, axis=0))
        to_camera = view_rotation @ scene.rotations[index]
        normals[rows] = rotated(_interpolate(w, surface.normals.take(local, axis=0)), to_camera)
        flat[rows] = rotated(surface.face_normals.take(local, axis=0), to_camera)

    # Files wind their triangles either way: every surface faces whoever looks at it.
    flat *= np.where(_dot(flat, rays) > 0, np.float32(-1), np.float32(1))[:, None]
    length = np.sqrt(_dot(normals, normals)) * np.where(_dot(normals, flat) < 0, np.float32(-1), np.float32(1))
    normals /= np.where(np.abs(length) > 1e-20, length, np.float32(1))[:, None]
    facing = -_dot(normals, rays) / np.sqrt(_dot(rays, rays))
    light = lighting.ambient + lighting.headlight * np.maximum(facing, 0)
    if lighting.sun > 0:
        to_sun = -np.asarray(lighting.sun_direction, dtype=np.float32)
        to_sun /= np.linalg.norm(to_sun)
        incidence = np.maximum(_dot(normals, to_sun[None]), 0)
        if lighting.shadows:
            lit = np.flatnonzero(incidence > 0)
            points = rays[lit] * hits.depth_m[seen[lit], None]
            # Start a little off the surface, or every point would shade itself.
            points += flat[lit] * (2e-4 * hits.depth_m[seen[lit], None])
            world = rotated(points - world_to_camera[:3, 3].astype(np.float32), view_rotation.T)
            incidence[lit[scene.tracer.blocked(world, to_sun @ view_rotation)]] = 0
        light = light + lighting.sun * incidence
    out[seen] = np.clip(albedo * light[:, None], 0, 255)
    return out


def _interpolate(weights: FloatArray, corners: FloatArray) -> FloatArray:
    """Corner values (N, 3, C) at barycentric weights (N, 3)."""
    first, second, third = weights[:, 0], weights[:, 1], weights[:, 2]
    out = np.empty((len(weights), corners.shape[2]), dtype=np.float32)
    for channel in range(corners.shape[2]):
        a, b, c = corners[:, 0, channel], corners[:, 1, channel], corners[:, 2, channel]
        out[:, channel] = first * a + second * b + third * c
    return out


def _dot(first: FloatArray, second: FloatArray) -> FloatArray:
    """Of rows: (N, 3), (N, 3) -> (N,)."""
    return first[:, 0] * second[:, 0] + first[:, 1] * second[:, 1] + first[:, 2] * second[:, 2]


def _edge_pixels(colours: FloatArray, hits: Hits, owner: NDArray[np.int64], camera: Camera) -> NDArray[np.int64]:
    """Flat indices of the pixels that differ from a neighbour in mesh, depth or brightness."""
    shape = (camera.height, camera.width)
    brightness = ((colours[:, 0] + colours[:, 1] + colours[:, 2]) / 3).reshape(shape)
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


def _empty_view(backdrop: NDArray[np.uint8]) -> View:
    shape = backdrop.shape[:2]
    return View(
        backdrop.copy(),
        np.zeros(shape, np.float32),
        np.full(shape, -1, np.int32),
        np.zeros((*shape, 3), np.float32),
    )
