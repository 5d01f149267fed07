"""What an object would cover in a picture if nothing occluded it, also beyond the picture's borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface
from ism_ros.data.camera import Camera
from ism_ros.rendering.scene import create_tracer

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Silhouette:
    """The unoccluded outline of one object.

    Attributes:
        mask: (H, W) bool, the part of it inside the picture.
        pixels: Number of its pixels, those outside the picture included.
        box_xywh: Its box in pixels of the picture, also beyond the border.
    """

    mask: NDArray[np.bool_]
    pixels: int
    box_xywh: list[int]


def silhouette(surface: Surface, object_to_camera: Array, camera: Camera) -> Silhouette:
    """Render the silhouette of one object, as far as one picture's size beyond every border.

    Args:
        surface: The object.
        object_to_camera: (4, 4) its pose, metres.
        camera: The camera.

    Returns:
        Mask, number of pixels and box.
    """
    rotation, translation = object_to_camera[:3, :3].astype(np.float32), object_to_camera[:3, 3].astype(np.float32)
    triangles = surface.triangles_m @ rotation.T + translation
    size = np.array((camera.width, camera.height))
    corners = np.stack(camera.project(triangles.reshape(-1, 3)), axis=1)
    first = np.maximum(np.floor(corners.min(axis=0)).astype(int), -size)
    width, height = (int(n) for n in np.minimum(np.ceil(corners.max(axis=0)).astype(int), 2 * size) - first + 1)
    shifted = Camera(
        np.array([[camera.fx, 0, camera.cx - first[0]], [0, camera.fy, camera.cy - first[1]], [0, 0, 1]]), width, height
    )
    hits = create_tracer(triangles).trace(np.eye(4), shifted, np.arange(width * height))
    covered = (hits.face >= 0).reshape(height, width)
    mask = np.zeros((camera.height, camera.width), bool)
    low, high = np.maximum(first, 0), np.minimum(first + np.array((width, height)), size)
    if (low < high).all():
        inside = slice(low[1] - first[1], high[1] - first[1]), slice(low[0] - first[0], high[0] - first[0])
        mask[low[1] : high[1], low[0] : high[0]] = covered[inside]
    box = box_of_mask(covered)
    return Silhouette(mask, int(covered.sum()), [int(box[0] + first[0]), int(box[1] + first[1]), box[2], box[3]])


def unoccluded_pixels(surface: Surface, object_to_camera: Array, camera: Camera) -> float:
    """Count the pixels that the object alone would cover, also beyond the picture's border, at a quarter of them.

    Args:
        surface: The object.
        object_to_camera: (4, 4) its pose, metres.
        camera: The camera.

    Returns:
        Number of pixels, a multiple of 4.
    """
    triangles = surface.triangles_m @ object_to_camera[:3, :3].T.astype(np.float32) + object_to_camera[:3, 3].astype(
        np.float32
    )
    points = triangles.reshape(-1, 3)
    u = points[:, 0] / points[:, 2] * camera.fx / 2
    v = points[:, 1] / points[:, 2] * camera.fy / 2
    left, top = np.floor((u.min(), v.min()))
    width, height = int(np.ceil(u.max() - left)) + 1, int(np.ceil(v.max() - top)) + 1
    around = Camera(np.array([[camera.fx / 2, 0, -left], [0, camera.fy / 2, -top], [0, 0, 1]]), width, height)
    hits = create_tracer(triangles).trace(np.eye(4), around, np.arange(width * height))
    return 4.0 * float((hits.face >= 0).sum())


def box_of_mask(mask: NDArray[np.bool_]) -> list[int]:
    """Compute the box of a mask as BOP writes it.

    Args:
        mask: (H, W) bool.

    Returns:
        x, y, width and height in whole pixels; four times -1 for an empty mask.
    """
    v, u = np.nonzero(mask)
    return [int(u.min()), int(v.min()), int(np.ptp(u)) + 1, int(np.ptp(v)) + 1] if len(u) else [-1, -1, -1, -1]
