"""Depth of a camera that stands beside the colour camera, moved into the colour picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.frame import Camera

MOST_SPREAD_PX = 8
"""So many colour pixels one depth pixel may cover in each direction; more would be two cameras that do not go together.
"""


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
    def corner_rays(self) -> NDArray[np.float64]:
        """(H + 1, W + 1, 3), through the corners between the pixels, in the colour camera's axes, as long as 1 m of
        depth."""
        camera = self.camera
        columns, rows = np.meshgrid(np.arange(camera.width + 1) - 0.5, np.arange(camera.height + 1) - 0.5)
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
        flat = cv2.undistortPoints(pixels, camera.intrinsics, np.array(self.distortion or [0.0] * 4)).reshape(
            *columns.shape, 2
        )
        rays = np.concatenate([flat, np.ones((*columns.shape, 1))], axis=-1)
        return np.asarray(rays @ self.to_colour[:3, :3].T)


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
    shift_m = source.to_colour[:3, 3]
    known = np.isfinite(depth_m) & (depth_m > 0)
    z_m = depth_m[known].astype(np.float64)[:, None]
    rays = source.corner_rays
    low = rays[:-1, :-1][known] * z_m + shift_m
    high = rays[1:, 1:][known] * z_m + shift_m
    far_m = (low[:, 2] + high[:, 2]) / 2
    ahead = (low[:, 2] > 0) & (high[:, 2] > 0)
    low_px, high_px = _project(low[ahead], target), _project(high[ahead], target)
    far_m = far_m[ahead].astype(np.float32)
    # the pixels whose centres lie between the two corners; at least the one nearest to their middle
    middle = np.rint((low_px + high_px) / 2).astype(np.int64)
    first = np.minimum(np.ceil(np.minimum(low_px, high_px)).astype(np.int64), middle)
    last = np.maximum(np.ceil(np.maximum(low_px, high_px)).astype(np.int64) - 1, middle)
    last = np.minimum(last, first + MOST_SPREAD_PX - 1)
    size = np.array([target.width, target.height])
    seen = (last >= 0).all(axis=1) & (first < size).all(axis=1)
    first, last, far_m = first[seen], last[seen], far_m[seen]
    picture = np.full(target.height * target.width, np.inf, dtype=np.float32)
    if len(first):
        for step_y in range(int((last - first)[:, 1].max()) + 1):
            for step_x in range(int((last - first)[:, 0].max()) + 1):
                at = first + np.array([step_x, step_y])
                drawn = (at <= last).all(axis=1) & (at >= 0).all(axis=1) & (at < size).all(axis=1)
                np.minimum.at(picture, at[drawn, 1] * target.width + at[drawn, 0], far_m[drawn])
    picture[np.isinf(picture)] = 0.0
    return picture.reshape(target.height, target.width)


def _project(points_m: NDArray[np.float64], camera: Camera) -> NDArray[np.float64]:
    """(N, 2) pixels, clipped to some way beyond the picture."""
    pixels = points_m[:, :2] / points_m[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    return np.asarray(np.clip(pixels, -1e6, 1e6))
