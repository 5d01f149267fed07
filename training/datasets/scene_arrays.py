"""One training scene as arrays: picture, depth and instances, and crops of its objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from training.training_scenes.random_cameras import observe
from training.training_scenes.random_objects import BankObject
from training.training_scenes.random_scenes import TrainingScene, make_scene, render_scene

CROP_PX = 128
"""Side of a crop, pixels."""
CROP_MARGIN = 1.25
"""Side of a crop as a multiple of the longer side of the object's box."""
MIN_PIXELS = 80
"""Objects with fewer visible pixels at 640 x 480 are surroundings."""
MIN_CROP_PX = 28
"""Least longer side of the box of an object that is cropped, pixels at 640 x 480."""
MIN_VISIBLE_SHARE = 0.2
"""Least visible share of an object that is cropped."""
DEPTH_STEPS = 32
"""Units of stored depth a pixel."""
NO_READING, MAX_DEPTH = -32768, 32767
"""Stored depth where there is none, and the largest one."""

Arrays = dict[str, NDArray[Any]]


def make_row(seed: int, bank: Sequence[BankObject]) -> Arrays:
    """Render one scene.

    Args:
        seed: Number of the scene.
        bank: The objects that may be in it.

    Returns:
        Arrays by name, as described in training.make_data; crops (M, ...) of those objects that are seen well enough.
    """
    scene = make_scene(seed, bank)
    view, shine = render_scene(scene, bank, seed)
    frame = observe(view.rgb, view.depth_m, shine, scene.camera, seed)
    instance = np.where(view.instance < len(scene.placed), view.instance + 1, 0).astype(np.uint8)
    counts = np.bincount(instance.reshape(-1), minlength=len(scene.placed) + 1)
    instance[counts[instance] < MIN_PIXELS] = 0
    assert frame.depth_m is not None
    camera = scene.camera
    half = cv2.resize(frame.rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return {
        "rgb": np.asarray(half, np.uint8),
        "depth_mm": np.clip(frame.depth_m[::2, ::2] * 1000, 0, 65535).round().astype(np.uint16),
        "instance": instance[::2, ::2],
        "camera": np.array((camera.fx / 2, camera.fy / 2, camera.cx / 2, camera.cy / 2), np.float32),
        **_crops(frame, instance, scene, bank, counts),
    }


def _crops(
    frame: Frame, instance: NDArray[np.uint8], scene: TrainingScene, bank: Sequence[BankObject], counts: Any
) -> Arrays:
    """Crops of all objects that are seen well enough."""
    assert frame.depth_m is not None
    out: dict[str, list[Any]] = {"rgb": [], "mask": [], "depth": [], "object": [], "rotation": [], "visible": []}
    for label, placed in enumerate(scene.placed, start=1):
        mask = instance == label
        if not mask.any():
            continue
        pose = scene.world_to_camera @ placed.object_to_world
        alone = _unoccluded_pixels(bank[placed.index], placed.scale, pose, scene.camera)
        visible = min(1.0, counts[label] / max(alone, 1.0))
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        if max(width, height) < MIN_CROP_PX or visible < MIN_VISIBLE_SHARE:
            continue
        side = CROP_MARGIN * max(width, height)
        corner = np.array((x + width / 2, y + height / 2)) - side / 2
        to_crop = np.array(((CROP_PX / side, 0, 0), (0, CROP_PX / side, 0)))
        to_crop[:, 2] = -corner * CROP_PX / side
        size = (CROP_PX, CROP_PX)
        interpolation = cv2.INTER_AREA if side > 2 * CROP_PX else cv2.INTER_LINEAR
        border = cv2.BORDER_REPLICATE
        out["rgb"].append(cv2.warpAffine(frame.rgb, to_crop, size, flags=interpolation, borderMode=border))
        out["mask"].append(cv2.warpAffine(mask.astype(np.uint8), to_crop, size, flags=cv2.INTER_NEAREST) > 0)
        depth_m = cv2.warpAffine(frame.depth_m, to_crop, size, flags=cv2.INTER_NEAREST)
        out["depth"].append(stored_depth(depth_m, out["mask"][-1], scene.camera.fx * CROP_PX / side))
        out["object"].append(placed.index)
        out["rotation"].append(allocentric_rotation(pose))
        out["visible"].append(visible)
    count = len(out["object"])
    return {
        "crop_rgb": np.array(out["rgb"], np.uint8).reshape(count, CROP_PX, CROP_PX, 3),
        "crop_mask": np.array(out["mask"], bool).reshape(count, CROP_PX, CROP_PX),
        "crop_depth": np.array(out["depth"], np.int16).reshape(count, CROP_PX, CROP_PX),
        "crop_object": np.array(out["object"], np.int32),
        "crop_rotation": np.array(out["rotation"], np.float32).reshape(count, 3, 3),
        "crop_visible": np.array(out["visible"], np.float32),
    }


def stored_depth(depth_m: NDArray[np.float32], mask: NDArray[np.bool_], focal_px: float) -> NDArray[np.int16]:
    """Convert the depth of a crop to what a shard holds.

    Args:
        depth_m: (S, S) float32 metres, 0 = no reading.
        mask: (S, S) bool of the object.
        focal_px: Focal length in pixels of the crop.

    Returns:
        (S, S) int16 depth behind the median of the object, in DEPTH_STEPS a pixel of the crop at its distance;
        NO_READING where there is none.
    """
    known = depth_m > 0
    if not (known & mask).any():
        return np.full(depth_m.shape, NO_READING, np.int16)
    distance_m = np.median(depth_m[known & mask])
    return depth_steps((depth_m / distance_m - 1) * focal_px, known)


def depth_steps(depth_px: NDArray[np.floating], known: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Convert relative depth to the units in which it is stored.

    Args:
        depth_px: Pixels of a crop.
        known: Bool of the same shape, where there is a reading.

    Returns:
        int16 of the same shape, in DEPTH_STEPS a pixel; NO_READING where there is none.
    """
    steps = np.clip(np.rint(depth_px * DEPTH_STEPS), -MAX_DEPTH, MAX_DEPTH)
    return np.where(known, steps, NO_READING).astype(np.int16)


def allocentric_rotation(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the rotation that an object needs in the middle of the picture to look as it does at its place.

    Args:
        pose: (4, 4) object-to-camera transform.

    Returns:
        (3, 3) rotation: the viewing ray turned onto the optical axis.
    """
    direction = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
    axis = np.cross(direction, (0, 0, 1.0))
    vector = axis / max(float(np.linalg.norm(axis)), 1e-12) * np.arccos(np.clip(direction[2], -1, 1))
    return cv2.Rodrigues(vector)[0] @ pose[:3, :3]


def _unoccluded_pixels(made: BankObject, scale: float, pose: NDArray[np.float64], camera: Camera) -> float:
    """Pixels that the whole object would cover, approximately: its surface points on a grid of 4 pixels."""
    points = made.points * scale @ pose[:3, :3].T + pose[:3, 3]
    ahead = points[points[:, 2] > 0.05]
    u = ahead[:, 0] / ahead[:, 2] * camera.fx / 4
    v = ahead[:, 1] / ahead[:, 2] * camera.fy / 4
    cells = np.unique(np.floor(np.stack([u, v], 1)).astype(np.int64), axis=0)
    return 16.0 * 0.85 * len(cells)
