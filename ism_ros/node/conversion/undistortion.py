"""Correction of lens distortion, and the way of results back to the distorted pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.data.detections import Detections
from ism_ros.errors import FrameError

NEGLIGIBLE_PX = 0.5
"""Distortion below which a lens is as good as a pinhole, pixels."""
MAX_SIZE_RATIO = 1.5
"""Largest size of the undistorted image relative to the published one."""
GRID_PX = 8
"""Distance of the pixels for which the lens model is solved, pixels; those between are interpolated."""
MAX_ROUND_TRIP_PX = 1.0
"""Error of distorting and undistorting a pixel above which the lens model does not hold there, pixels."""
CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-8)
"""When OpenCV's iteration ends."""


class Undistortion:
    """Undistorts the images of one camera and lens.

    The undistorted image has the focal length of the published one, and the size at which all of that is in it.

    Attributes:
        camera: Pinhole camera of the undistorted image.
        largest_shift_px: How far the lens moves a pixel at most.
    """

    def __init__(self, camera: Camera, distortion: NDArray[np.float64]) -> None:
        """Build the maps, which takes as long as several frames.

        Args:
            camera: Camera of the published image.
            distortion: OpenCV's coefficients.

        Raises:
            FrameError: The coefficients are of no lens.
        """
        matrix, height, width = camera.intrinsics, camera.height, camera.width
        ideal = _ideal_pixels_of_image(width, height, matrix, distortion)
        border = np.concatenate([ideal[0], ideal[-1], ideal[:, 0], ideal[:, -1]])
        size = np.array([width, height])
        # of a lens that exists, no image shrinks to a tenth when it is undistorted
        if not np.isfinite(ideal).all() or (np.ptp(border, axis=0) < size / 10).any():
            raise FrameError(
                "distortion",
                "D of camera_info is of no lens: its corners cannot be straightened; calibrate the camera, or publish "
                "zeros where there is no distortion",
            )
        self.largest_shift_px = float(np.abs(ideal - np.moveaxis(np.mgrid[:height, :width][::-1], 0, -1)).max())
        margin = (MAX_SIZE_RATIO - 1) / 2 * size
        first = np.floor(np.maximum(border.min(axis=0), -margin)).astype(int)
        last = np.ceil(np.minimum(border.max(axis=0), size - 1 + margin)).astype(int)
        shifted_matrix = matrix.copy()
        shifted_matrix[:2, 2] -= first
        canvas_width, canvas_height = (int(side) for side in last - first + 1)
        self.camera = Camera(shifted_matrix, canvas_width, canvas_height, is_cropped=camera.is_cropped)
        from_x, from_y = cv2.initUndistortRectifyMap(
            matrix, distortion, None, shifted_matrix, (canvas_width, canvas_height), cv2.CV_32FC1
        )
        wrong = _beyond_lens_model(np.asarray(from_x), np.asarray(from_y), first, matrix, distortion)
        from_x[wrong] = from_y[wrong] = -10.0
        self._maps = from_x, from_y
        self._fast_maps = cv2.convertMaps(from_x, from_y, cv2.CV_16SC2)
        target = np.rint(ideal - first).astype(np.int64)
        inside = ((target >= 0) & (target < [canvas_width, canvas_height])).all(axis=-1)
        self._inside = torch.from_numpy(inside)
        self._target_index = np.where(inside, target[..., 1] * canvas_width + target[..., 0], 0).ravel()

    @property
    def is_negligible(self) -> bool:
        """Whether the lens is as good as a pinhole."""
        return self.largest_shift_px < NEGLIGIBLE_PX

    def undistort_rgb(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Undistort an image (H, W, 3); black where the lens has seen nothing."""
        return np.asarray(cv2.remap(rgb, *self._fast_maps, cv2.INTER_LINEAR), dtype=np.uint8)

    def undistort_depth(self, depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undistort depth (H, W), metres; each reading is that of the nearest pixel, 0 where there is none."""
        return np.asarray(cv2.remap(depth_m, *self._maps, cv2.INTER_NEAREST), dtype=np.float32)

    def in_published_pixels(self, detections: Detections) -> tuple[Detections, Detections]:
        """Bring detections back into distorted pixels.

        Args:
            detections: Masks and boxes in undistorted pixels, on the CPU.

        Returns:
            Those of which the published image shows a part: with masks and boxes in its pixels, and as they were.
        """
        height, width = self._inside.shape
        # NumPy takes single bytes several times faster than PyTorch
        distorted = torch.from_numpy(np.take(detections.masks.flatten(1).numpy(), self._target_index, axis=1))
        masks = distorted.unflatten(1, (height, width)) & self._inside
        visible = masks.flatten(1).any(dim=1)
        kept, masks = detections[visible], masks[visible]
        return replace(kept, masks=masks, boxes_xyxy=boxes_from_masks(masks)), kept


def undistortion_for(camera: Camera, distortion: Sequence[float]) -> Undistortion:
    """Return the undistortion of a camera, made only once for each.

    Args:
        camera: Camera of the published image.
        distortion: OpenCV's coefficients.
    """
    intrinsics = tuple(camera.intrinsics.ravel().tolist())
    return _undistortion(intrinsics, camera.width, camera.height, camera.is_cropped, tuple(map(float, distortion)))


@lru_cache(maxsize=8)
def _undistortion(
    intrinsics: tuple[float, ...], width: int, height: int, is_cropped: bool, distortion: tuple[float, ...]
) -> Undistortion:
    return Undistortion(Camera(np.array(intrinsics), width, height, is_cropped=is_cropped), np.array(distortion))


def _beyond_lens_model(
    from_x: NDArray[Any],
    from_y: NDArray[Any],
    first: NDArray[np.int64],
    matrix: NDArray[np.float64],
    distortion: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which undistorted pixels (H, W) do not come back to themselves when distorted and undistorted.

    Far off the axis a lens model may turn back, and would show a second time what is elsewhere.
    """
    height, width = from_x.shape
    sampled = np.stack([from_x, from_y], axis=-1)[::GRID_PX, ::GRID_PX].astype(np.float64)
    columns, rows = np.meshgrid(np.arange(0, width, GRID_PX), np.arange(0, height, GRID_PX))
    error_px = _ideal_pixels(sampled, matrix, distortion) - np.stack([columns, rows], axis=-1) - first
    wrong = ~(np.hypot(error_px[..., 0], error_px[..., 1]) <= MAX_ROUND_TRIP_PX)
    return wrong.repeat(GRID_PX, axis=0).repeat(GRID_PX, axis=1)[:height, :width]


def _ideal_pixels_of_image(
    width: int, height: int, matrix: NDArray[np.float64], distortion: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (H, W, 2), where a pinhole camera would see each pixel: solved on a grid and interpolated."""
    columns, rows = np.meshgrid(np.arange(0, width + GRID_PX, GRID_PX), np.arange(0, height + GRID_PX, GRID_PX))
    grid = np.stack([columns, rows], axis=-1).astype(np.float64)
    shift = (_ideal_pixels(grid, matrix, distortion) - grid).astype(np.float32)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    # GRID_PX is a power of two, so that OpenCV's fractions are exact
    between = cv2.remap(shift, columns / GRID_PX, rows / GRID_PX, cv2.INTER_LINEAR)
    return np.stack([columns, rows], axis=-1).astype(np.float64) + between


def _ideal_pixels(
    pixels: NDArray[np.float64], matrix: NDArray[np.float64], distortion: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (..., 2) distorted pixels as a pinhole camera of the same matrix would see them."""
    points = pixels.reshape(-1, 1, 2)
    if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4; without it five steps, too few for wide lenses
        ideal = cv2.undistortPointsIter(points, matrix, distortion, None, matrix, CRITERIA)
    else:
        ideal = cv2.undistortPoints(points, matrix, distortion, R=None, P=matrix, criteria=CRITERIA)
    return np.asarray(ideal).reshape(pixels.shape)
