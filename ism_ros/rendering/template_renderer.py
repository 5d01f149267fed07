"""Templates of an object, rendered from its mesh on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.data.camera import Camera
from ism_ros.rendering.renderer import render_scene
from ism_ros.rendering.scene import CreateTracer, Lighting, Scene, create_tracer
from ism_ros.rendering.templates import TemplateSet
from ism_ros.rendering.views.viewpoints import object_to_camera_rotations

if TYPE_CHECKING:
    import trimesh

RENDERER_VERSION = 3
"""Version of the rendered templates, part of the key under which they are cached; it grows when they come out
differently."""
TEMPLATE_SIZE_PX = 420
"""Side of the templates of objects."""
_DISTANCE_IN_RADII = 4.0
"""Distance of the camera, as far as the reference puts it: perspective like that of an object on a table."""
_FILLED_FRACTION = 0.92
"""Fraction of the side of the image that the object fills."""


def render_templates(
    mesh: trimesh.Trimesh | Surface,
    *,
    size_px: int = TEMPLATE_SIZE_PX,
    samples: int = 2,
    rotations: NDArray[np.float64] | None = None,
    progress: Callable[[int, int], None] | None = None,
    tracer: CreateTracer = create_tracer,
) -> TemplateSet:
    """Render templates of an object: square images on black from all sides.

    The cameras stand four radii of the object away from the centre of its box and zoom until it fills the image, so
    that a pencil seen from its tip is as sharp as from its side.

    Args:
        mesh: Of the object, metres.
        size_px: Side of the images, pixels.
        samples: Rays a pixel at edges, as of `render`.
        rotations: (T, 3, 3) object-to-camera; None = those of the 42 viewpoints.
        progress: Called with (views rendered, T).
        tracer: As of `render`.

    Returns:
        T templates with poses and intrinsics.
    """
    # About its centre, so that no precision is lost for objects far from their origin.
    surface, centre_m = _centred(mesh)
    corners = surface.triangles_m.reshape(-1, 3)
    radius_m = float(np.linalg.norm(corners, axis=1).max())
    vertices = np.unique(corners, axis=0).astype(np.float64)
    scene = Scene([surface], np.eye(3, dtype=np.float32)[None], tracer(surface.triangles_m))
    backdrop = np.zeros((size_px, size_px, 3), dtype=np.uint8)
    rotations = object_to_camera_rotations() if rotations is None else rotations
    offset_m = _DISTANCE_IN_RADII * radius_m * np.array([0.0, 0.0, 1.0])
    views, intrinsics = [], []
    for index, rotation in enumerate(rotations):
        pose = np.eye(4)
        pose[:3, :3] = rotation
        pose[:3, 3] = offset_m
        camera = _filling_camera(vertices @ rotation.T + offset_m, size_px)
        views.append(render_scene(scene, pose, camera, Lighting(), backdrop, samples))
        intrinsics.append(camera.intrinsics)
        if progress is not None:
            progress(index + 1, len(rotations))
    exact = np.float32 if _is_exact(np.abs(centre_m).max() + radius_m, radius_m) else np.float64
    return TemplateSet(
        rgb=np.stack([view.rgb for view in views]),
        masks=np.stack([view.instance >= 0 for view in views]),
        xyz_m=np.stack(
            [(view.xyz_m.astype(exact) + centre_m.astype(exact)) * (view.instance >= 0)[..., None] for view in views]
        ),
        rotations=rotations,
        translations_m=offset_m - rotations @ centre_m,
        intrinsics=np.stack(intrinsics),
    )


def _centred(mesh: trimesh.Trimesh | Surface) -> tuple[Surface, NDArray[np.float64]]:
    """Return the surface relative to the centre of its box, and where that lies in the object frame, (3,)."""
    if isinstance(mesh, Surface):
        corners = mesh.triangles_m.reshape(-1, 3)
        centre_m = ((corners.min(axis=0) + corners.max(axis=0)) / 2.0).astype(np.float64)
        return replace(mesh, triangles_m=mesh.triangles_m - centre_m.astype(np.float32)), centre_m
    centre_m = np.asarray(mesh.bounds, np.float64).mean(axis=0)
    return surface_of(mesh, centre_m), centre_m


def _is_exact(farthest_m: float, radius_m: float) -> bool:
    """Check whether float32 resolves coordinates up to `farthest_m` to a ten-thousandth of the object."""
    return float(np.spacing(np.float32(farthest_m))) < 1e-4 * radius_m


def _filling_camera(points_m: NDArray[np.float64], size_px: int) -> Camera:
    """Make the square camera in which `points_m` (N, 3), in its frame, fill the image but for a margin."""
    flat = points_m[:, :2] / points_m[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)
    focal = _FILLED_FRACTION * size_px / max(float((high - low).max()), 1e-9)
    centre = (size_px - 1) / 2 - focal * (low + high) / 2
    return Camera(np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]), size_px, size_px)
