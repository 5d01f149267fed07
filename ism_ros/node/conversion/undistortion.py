"""Pictures with lens distortion, seen as by a pinhole camera, and results brought back to their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.data.detections import Detections
from ism_ros.data.frame import Camera, FrameError
from ism_ros.data.masks import boxes_from_masks

NEGLIGIBLE_PX = 0.5
"""A lens that moves no pixel further is taken for a pinhole."""
WIDEST = 1.5
"""Largest size of the straightened picture, in sizes of the picture."""
GRID_PX = 8
ROUND_TRIP_PX = 1.0
"""A straightened pixel that comes back further away lies where the model of the lens holds no more."""
CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-8)


class Undistortion:
    """Of one camera and lens.

    The straightened picture has the focal length of the published one and is larger, or smaller, so that all of that is
    in it. camera: that of the straightened picture. Raises FrameError for a lens that there is not.
    """

    def __init__(self, camera: Camera, distortion: NDArray[np.float64]) -> None:
        matrix, height, width = camera.intrinsics, camera.height, camera.width
        straight = _straightened_picture(width, height, matrix, distortion)
        border = np.concatenate([straight[0], straight[-1], straight[:, 0], straight[:, -1]])
        size = np.array([width, height])
        # of a lens that there is, no picture shrinks to a tenth when it is straightened
        if not np.isfinite(straight).all() or (np.ptp(border, axis=0) < size / 10).any():
            raise FrameError(
                "distortion",
                "D of camera_info is of no lens: its corners cannot be straightened; calibrate the camera, or publish "
                "zeros where there is no distortion",
            )
        self.largest_shift_px = float(np.abs(straight - np.moveaxis(np.mgrid[:height, :width][::-1], 0, -1)).max())
        margin = (WIDEST - 1) / 2 * size
        first = np.floor(np.maximum(border.min(axis=0), -margin)).astype(int)
        last = np.ceil(np.minimum(border.max(axis=0), size - 1 + margin)).astype(int)
        moved = matrix.copy()
        moved[:2, 2] -= first
        canvas_width, canvas_height = (int(side) for side in last - first + 1)
        self.camera = Camera(moved, canvas_width, canvas_height, is_cropped=camera.is_cropped)
        from_x, from_y = cv2.initUndistortRectifyMap(
            matrix, distortion, None, moved, (canvas_width, canvas_height), cv2.CV_32FC1
        )
        # far off the axis a lens model may turn back, and would show a second time what is elsewhere
        sampled = np.stack([from_x, from_y], axis=-1)[::GRID_PX, ::GRID_PX].astype(np.float64)
        columns, rows = np.meshgrid(np.arange(0, canvas_width, GRID_PX), np.arange(0, canvas_height, GRID_PX))
        off = _straightened(sampled, matrix, distortion) - np.stack([columns, rows], axis=-1) - first
        wrong = ~(np.hypot(off[..., 0], off[..., 1]) <= ROUND_TRIP_PX)
        wrong = wrong.repeat(GRID_PX, axis=0).repeat(GRID_PX, axis=1)[:canvas_height, :canvas_width]
        from_x[wrong] = from_y[wrong] = -10.0
        self._maps = from_x, from_y
        self._fast_maps = cv2.convertMaps(from_x, from_y, cv2.CV_16SC2)
        at = np.rint(straight - first).astype(np.int64)
        inside = ((at >= 0) & (at < [canvas_width, canvas_height])).all(axis=-1)
        self._inside = torch.from_numpy(inside)
        self._place = np.where(inside, at[..., 1] * canvas_width + at[..., 0], 0).ravel()

    @property
    def is_negligible(self) -> bool:
        """Whether the lens is as good as a pinhole."""
        return self.largest_shift_px < NEGLIGIBLE_PX

    def colours(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The straightened picture; black where the lens has seen nothing."""
        return np.asarray(cv2.remap(rgb, *self._fast_maps, cv2.INTER_LINEAR), dtype=np.uint8)

    def depth_m(self, depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
        """Readings of the nearest pixel, never means of two; 0 where there is none."""
        return np.asarray(cv2.remap(depth_m, *self._maps, cv2.INTER_NEAREST), dtype=np.float32)

    def in_published_pixels(self, detections: Detections) -> tuple[Detections, Detections]:
        """Bring detections of the straightened picture back.

        Args:
            detections: masks and boxes in straightened pixels, on the CPU.

        Returns:
            Those that the published picture shows a part of: with masks and boxes in its pixels, and as they were.
        """
        height, width = self._inside.shape
        # NumPy takes single bytes several times faster than PyTorch
        placed = torch.from_numpy(np.take(detections.masks.flatten(1).numpy(), self._place, axis=1))
        masks = placed.unflatten(1, (height, width)) & self._inside
        seen = masks.flatten(1).any(dim=1)
        kept, masks = detections[seen], masks[seen]
        return replace(kept, masks=masks, boxes_xyxy=boxes_from_masks(masks)), kept


@lru_cache(maxsize=8)
def undistortion_of(
    intrinsics: tuple[float, ...], width: int, height: int, is_cropped: bool, distortion: tuple[float, ...]
) -> Undistortion:
    """The same, made once for each camera: it takes as long as several frames."""
    return Undistortion(Camera(np.array(intrinsics), width, height, is_cropped=is_cropped), np.array(distortion))


def undistortion_for(camera: Camera, distortion: Sequence[float]) -> Undistortion:
    """What brings pictures of `camera` into shape. distortion: OpenCV's coefficients."""
    intrinsics = tuple(camera.intrinsics.ravel().tolist())
    return undistortion_of(intrinsics, camera.width, camera.height, camera.is_cropped, tuple(map(float, distortion)))


def _straightened_picture(
    width: int, height: int, matrix: NDArray[np.float64], distortion: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(H, W, 2), where a pinhole camera would see each pixel: solved on a grid, and the smooth shift between."""
    columns, rows = np.meshgrid(np.arange(0, width + GRID_PX, GRID_PX), np.arange(0, height + GRID_PX, GRID_PX))
    grid = np.stack([columns, rows], axis=-1).astype(np.float64)
    shift = (_straightened(grid, matrix, distortion) - grid).astype(np.float32)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    # GRID_PX is a power of two, so that OpenCV's fractions are exact
    between = cv2.remap(shift, columns / GRID_PX, rows / GRID_PX, cv2.INTER_LINEAR)
    return np.stack([columns, rows], axis=-1).astype(np.float64) + between


def _straightened(
    pixels: NDArray[np.float64], matrix: NDArray[np.float64], distortion: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(..., 2) pixels of the published picture as a pinhole camera of the same matrix would see them."""
    points = pixels.reshape(-1, 1, 2)
    if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4; without it five steps, too few for wide lenses
        straight = cv2.undistortPointsIter(points, matrix, distortion, None, matrix, CRITERIA)
    else:
        straight = cv2.undistortPoints(points, matrix, distortion, R=None, P=matrix, criteria=CRITERIA)
    return np.asarray(straight).reshape(pixels.shape)
