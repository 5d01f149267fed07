"""Images of meshes, made on the CPU: no GL, no display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.data.camera import Camera
from ism_ros.rendering.rays import FloatArray, Hits, pixel_rays, rotated
from ism_ros.rendering.scene import CreateTracer, Lighting, Scene, create_tracer
from ism_ros.rendering.shading import edge_pixels, interpolate, shade

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True)
class View:
    """What a camera sees.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32, metres along the optical axis; 0 = background.
        instance: (H, W) int32, index of the mesh; -1 = background.
        xyz_m: (H, W, 3) float32, the point in the frame of its own mesh, metres; 0 = background.
    """

    rgb: NDArray[np.uint8]
    depth_m: FloatArray
    instance: NDArray[np.int32]
    xyz_m: FloatArray


def render(
    meshes: Sequence[trimesh.Trimesh | Surface],
    poses: Sequence[NDArray[np.float64]],
    camera: Camera,
    *,
    lighting: Lighting | None = None,
    background: tuple[int, int, int] | NDArray[np.uint8] = (0, 0, 0),
    samples: int = 2,
    tracer: CreateTracer = create_tracer,
) -> View:
    """Render meshes, each at its pose.

    Args:
        meshes: In metres; give surfaces (`surface_of`) when the same mesh is rendered many times.
        poses: Object-to-camera (4, 4) of each, metres.
        camera: Pixel centres lie at whole numbers, as in OpenCV.
        lighting: On the meshes; None = Lighting().
        background: A color, or an image (H, W, 3) uint8.
        samples: samples x samples rays smooth the colors of pixels at edges (1 = none); depth, instance and xyz are of
            the pixel's centre.
        tracer: Creates what finds the surface that a pixel shows.

    Returns:
        The view.

    Raises:
        ValueError: There are not as many poses as meshes.
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
    scene = Scene(surfaces, rotations, tracer(np.concatenate(placed).reshape(-1, 3, 3)))
    return render_scene(scene, np.eye(4), camera, lighting or Lighting(), backdrop, samples)


def render_scene(
    scene: Scene,
    world_to_camera: NDArray[np.float64],
    camera: Camera,
    lighting: Lighting,
    backdrop: NDArray[np.uint8],
    samples: int,
) -> View:
    """Render one view of a scene.

    Args:
        scene: What is seen.
        world_to_camera: (4, 4), metres.
        camera: Of the view.
        lighting: On the scene.
        backdrop: (H, W, 3) RGB behind it.
        samples: As of `render`.

    Returns:
        The view.
    """
    first_face = scene.first_face
    pixels = np.arange(camera.height * camera.width)
    hits = scene.tracer.trace(world_to_camera, camera, pixels)
    owner = np.searchsorted(first_face, hits.face, side="right") - 1
    colors = backdrop.reshape(-1, 3).astype(np.float32)

    def shade_at(found: Hits, at: NDArray[np.int64], shift_px: tuple[float, float]) -> FloatArray:
        rays = pixel_rays(camera, at, shift_px)
        return shade(scene, world_to_camera, lighting, found, rays, colors[at])

    rgb = shade_at(hits, pixels, (0.0, 0.0))
    if samples > 1:
        edges = edge_pixels(rgb, hits, owner, camera)
        steps = (np.arange(samples) + 0.5) / samples - 0.5
        total = np.zeros((len(edges), 3), dtype=np.float32)
        for dv in steps:
            for du in steps:
                shift = (float(du), float(dv))
                total += shade_at(scene.tracer.trace(world_to_camera, camera, edges, shift), edges, shift)
        rgb[edges] = total / samples**2

    shape = (camera.height, camera.width)
    return View(
        rgb=np.clip(np.rint(rgb), 0, 255).astype(np.uint8).reshape(*shape, 3),
        depth_m=hits.depth_m.reshape(shape),
        instance=owner.astype(np.int32).reshape(shape),
        xyz_m=_points_in_meshes(scene, hits, owner).reshape(*shape, 3),
    )


def _points_in_meshes(scene: Scene, hits: Hits, owner: NDArray[np.int64]) -> FloatArray:
    """Compute what each ray hits (N, 3) in the frame of the mesh that it hits, metres."""
    first_face = scene.first_face
    xyz_m = np.zeros((len(hits.face), 3), dtype=np.float32)
    for index, surface in enumerate(scene.surfaces):
        rows = np.flatnonzero(owner == index)
        corners = surface.triangles_m.take(hits.face[rows] - first_face[index], axis=0)
        xyz_m[rows] = interpolate(hits.barycentric[rows], corners)
    return xyz_m


def _empty_view(backdrop: NDArray[np.uint8]) -> View:
    shape = backdrop.shape[:2]
    return View(
        backdrop.copy(),
        np.zeros(shape, np.float32),
        np.full(shape, -1, np.int32),
        np.zeros((*shape, 3), np.float32),
    )
