"""Depth of a camera that stands beside the colour camera, moved into the colour picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.data.frame import Camera

MOST_SPREAD_PX = 8
"""So many colour pixels one depth pixel may cover in each direction; more would be two cameras that do not go together.
"""

FAR_PX = np.float32(1e6)


@dataclass(frozen=True)
class DepthCamera:
    """A depth camera and where it is.

    distortion: OpenCV's coefficients, empty for none. to_colour: (4, 4) from points in its optical frame to points in
    that of the colour camera, metres.
    """

    camera: Camera
    distortion: tuple[float, ...]
    to_colour: NDArray[np.float64]

    @cached_property
    def corner_rays(self) -> NDArray[np.float32]:
        """(3, H + 1, W + 1), through the corners between the pixels, in the colour camera's axes, as long as 1 m of
        depth."""
        camera = self.camera
        columns, rows = np.meshgrid(np.arange(camera.width + 1) - 0.5, np.arange(camera.height + 1) - 0.5)
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
        flat = cv2.undistortPoints(pixels, camera.intrinsics, np.array(self.distortion or [0.0] * 4)).reshape(-1, 2).T
        rays = self.to_colour[:3, :3] @ np.concatenate([flat, np.ones((1, flat.shape[1]))])
        return rays.reshape(3, *columns.shape).astype(np.float32)


def depth_camera_for(camera: Camera, distortion: tuple[float, ...], to_colour: NDArray[np.float64]) -> DepthCamera:
    """The same object for the same camera, which so makes its rays only once."""
    intrinsics = tuple(camera.intrinsics.ravel().tolist())
    return _depth_camera(intrinsics, camera.width, camera.height, distortion, tuple(to_colour.ravel().tolist()))


@lru_cache(maxsize=4)
def _depth_camera(
    intrinsics: tuple[float, ...], width: int, height: int, distortion: tuple[float, ...], to_colour: tuple[float, ...]
) -> DepthCamera:
    return DepthCamera(Camera(np.array(intrinsics), width, height), distortion, np.array(to_colour).reshape(4, 4))


def register_depth(depth_m: NDArray[np.float32], source: DepthCamera, target: Camera) -> NDArray[np.float32]:
    """Draw each depth pixel as the rectangle that it covers in the colour picture; the nearest wins.

    Args:
        depth_m: (h, w) metres along the depth camera's optical axis; 0, NaN and infinite = no reading.
        source: the depth camera, of that size.
        target: the colour camera.

    Returns:
        (H, W) float32 metres along the colour camera's optical axis, 0 = no reading.
    """
    known = np.isfinite(depth_m) & (depth_m > 0)
    depth_m = depth_m[known]
    low_x, low_y, low_z_m = _project(source.corner_rays[:, :-1, :-1][:, known], depth_m, source, target)
    high_x, high_y, high_z_m = _project(source.corner_rays[:, 1:, 1:][:, known], depth_m, source, target)
    first_x, last_x = _covered(low_x, high_x)
    first_y, last_y = _covered(low_y, high_y)
    seen = (low_z_m > 0) & (high_z_m > 0)
    seen &= (last_x >= 0) & (last_y >= 0) & (first_x < target.width) & (first_y < target.height)
    first_x, last_x, first_y, last_y = first_x[seen], last_x[seen], first_y[seen], last_y[seen]
    z_m = (low_z_m[seen] + high_z_m[seen]) / 2
    picture = np.full(target.height * target.width, np.inf, dtype=np.float32)
    for y_step in range(_most(last_y - first_y)):
        y = first_y + y_step
        has_row = (y <= last_y) & (y >= 0) & (y < target.height)
        for x_step in range(_most(last_x - first_x)):
            x = first_x + x_step
            drawn = has_row & (x <= last_x) & (x >= 0) & (x < target.width)
            np.minimum.at(picture, y[drawn] * target.width + x[drawn], z_m[drawn])
    picture[np.isinf(picture)] = 0.0
    return picture.reshape(target.height, target.width)


def _project(
    rays: NDArray[np.float32], depth_m: NDArray[np.float32], source: DepthCamera, target: Camera
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """x and y in the colour picture, clipped some way beyond it, and depth there, metres, of rays (3, N)."""
    shift_m = source.to_colour[:3, 3].astype(np.float32)
    x_m, y_m, z_m = (rays[axis] * depth_m + shift_m[axis] for axis in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):  # what lies behind is left out afterwards
        x = np.clip(x_m / z_m * np.float32(target.fx) + np.float32(target.cx), -FAR_PX, FAR_PX)
        y = np.clip(y_m / z_m * np.float32(target.fy) + np.float32(target.cy), -FAR_PX, FAR_PX)
    return np.nan_to_num(x), np.nan_to_num(y), z_m


def _covered(low: NDArray[np.float32], high: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First and last pixel whose centres lie between two corners; at least the one nearest to their middle."""
    middle = np.rint((low + high) / 2)
    first = np.minimum(np.ceil(np.minimum(low, high)), middle)
    last = np.maximum(np.ceil(np.maximum(low, high)) - 1, middle)
    return first.astype(np.int32), np.minimum(last, first + MOST_SPREAD_PX - 1).astype(np.int32)


def _most(lengths: NDArray[np.int32]) -> int:
    return int(lengths.max()) + 1 if lengths.size else 0
