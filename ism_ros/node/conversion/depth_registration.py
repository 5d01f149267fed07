"""Registration of depth from a separate depth camera to the color image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.data.camera import Camera

MAX_COVERED_PX = 8
"""Number of color pixels that one depth pixel may cover in each direction; more are two cameras that do not match."""
MAX_PX = np.float32(1e6)
"""Bound of projected pixel coordinates, so that they fit an integer."""


@dataclass(frozen=True)
class DepthCamera:
    """A depth camera and where it is.

    Attributes:
        camera: Its pinhole camera.
        distortion: OpenCV's coefficients, empty for none.
        to_color: (4, 4) transform of points in its optical frame to that of the color camera, metres.
    """

    camera: Camera
    distortion: tuple[float, ...]
    to_color: NDArray[np.float64]

    @cached_property
    def corner_rays(self) -> NDArray[np.float32]:
        """Rays (3, H + 1, W + 1) through the corners of the pixels, in the color camera's axes, at 1 m of depth."""
        camera = self.camera
        columns, rows = np.meshgrid(np.arange(camera.width + 1) - 0.5, np.arange(camera.height + 1) - 0.5)
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
        flat = cv2.undistortPoints(pixels, camera.intrinsics, np.array(self.distortion or [0.0] * 4)).reshape(-1, 2).T
        rays = self.to_color[:3, :3] @ np.concatenate([flat, np.ones((1, flat.shape[1]))])
        return rays.reshape(3, *columns.shape).astype(np.float32)


def depth_camera_for(camera: Camera, distortion: tuple[float, ...], to_color: NDArray[np.float64]) -> DepthCamera:
    """Return the depth camera, one and the same object for the same values, so that its rays are made only once.

    Args:
        camera: Its pinhole camera.
        distortion: OpenCV's coefficients, empty for none.
        to_color: (4, 4) transform of points in its optical frame to that of the color camera, metres.
    """
    intrinsics = tuple(camera.intrinsics.ravel().tolist())
    return _depth_camera(intrinsics, camera.width, camera.height, distortion, tuple(to_color.ravel().tolist()))


@lru_cache(maxsize=4)
def _depth_camera(
    intrinsics: tuple[float, ...], width: int, height: int, distortion: tuple[float, ...], to_color: tuple[float, ...]
) -> DepthCamera:
    return DepthCamera(Camera(np.array(intrinsics), width, height), distortion, np.array(to_color).reshape(4, 4))


def register_depth(depth_m: NDArray[np.float32], source: DepthCamera, target: Camera) -> NDArray[np.float32]:
    """Draw each depth pixel as the rectangle that it covers in the color image; the nearest wins.

    Args:
        depth_m: (h, w) metres along the depth camera's optical axis; 0, NaN and infinite = no reading.
        source: The depth camera, of that size.
        target: The color camera.

    Returns:
        (H, W) float32 metres along the color camera's optical axis, 0 = no reading.
    """
    known = np.isfinite(depth_m) & (depth_m > 0)
    depth_m = depth_m[known]
    low_x, low_y, low_z_m = _project(source.corner_rays[:, :-1, :-1][:, known], depth_m, source, target)
    high_x, high_y, high_z_m = _project(source.corner_rays[:, 1:, 1:][:, known], depth_m, source, target)
    first_x, last_x = _covered(low_x, high_x)
    first_y, last_y = _covered(low_y, high_y)
    visible = (low_z_m > 0) & (high_z_m > 0)
    visible &= (last_x >= 0) & (last_y >= 0) & (first_x < target.width) & (first_y < target.height)
    first_x, last_x, first_y, last_y = first_x[visible], last_x[visible], first_y[visible], last_y[visible]
    z_m = (low_z_m[visible] + high_z_m[visible]) / 2
    image = np.full(target.height * target.width, np.inf, dtype=np.float32)
    for y_step in range(_max_length(last_y - first_y)):
        y = first_y + y_step
        has_row = (y <= last_y) & (y >= 0) & (y < target.height)
        for x_step in range(_max_length(last_x - first_x)):
            x = first_x + x_step
            drawn = has_row & (x <= last_x) & (x >= 0) & (x < target.width)
            np.minimum.at(image, y[drawn] * target.width + x[drawn], z_m[drawn])
    image[np.isinf(image)] = 0.0
    return image.reshape(target.height, target.width)


def _project(
    rays: NDArray[np.float32], depth_m: NDArray[np.float32], source: DepthCamera, target: Camera
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Project points on rays (3, N) at `depth_m` (N,): x and y in the color image, pixels, and depth there, metres."""
    shift_m = source.to_color[:3, 3].astype(np.float32)
    points_m = rays * depth_m + shift_m[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # what lies behind is left out afterwards
        x, y = (np.clip(pixels, -MAX_PX, MAX_PX) for pixels in target.project(points_m.T))
    return np.nan_to_num(x), np.nan_to_num(y), points_m[2]


def _covered(low: NDArray[np.float32], high: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the first and last pixel whose centres lie between two corners; at least the one nearest to both."""
    middle = np.rint((low + high) / 2)
    first = np.minimum(np.ceil(np.minimum(low, high)), middle)
    last = np.maximum(np.ceil(np.maximum(low, high)) - 1, middle)
    return first.astype(np.int32), np.minimum(last, first + MAX_COVERED_PX - 1).astype(np.int32)


def _max_length(lengths: NDArray[np.int32]) -> int:
    return int(lengths.max()) + 1 if lengths.size else 0
