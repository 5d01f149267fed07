"""Input of the network `tiny`: color, and depth encoded as shape rather than distance.

Ten channels, all about within -1..1, 0 where there is no reading:

0-2  red, green, blue
3-5  unit normal of the surface, camera frame
6-7  depth minus the local mean of depth, in a small and in a large window
8    0.5 / depth (1/m)
9    whether depth was read
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS = 10
"""Channels of the network's input."""
COLOR_CHANNELS = 3
"""Those of color, the first ones."""
WORKING_AREA = 320 * 240
"""Approximate area of the network's input, pixels."""
WINDOWS_M: tuple[tuple[int, float], ...] = ((31, 0.04), (101, 0.12))
"""Side of each window in pixels, and the difference of depth that is encoded as 1, metres."""

SLOPE_WEIGHTS: tuple[float, ...] = (-1 / 6, -1 / 6, 0.0, 1 / 6, 1 / 6)
"""Filter along which depth is differentiated, metres a pixel: over two pixels each way."""
MEAN_WEIGHTS: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
"""Smoothing filter across that direction."""

Image = NDArray[np.float32]
Numbers = TypeVar("Numbers", NDArray[Any], "Tensor")


def working_size(height: int, width: int, area: int = WORKING_AREA) -> tuple[int, int]:
    """Compute the size of the network's input for a frame, with about the frame's aspect ratio.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        area: Approximate area of the input, pixels.

    Returns:
        Height and width, even, at least 16 pixels each.
    """
    scale = (area / (height * width)) ** 0.5
    return max(16, 2 * round(height * scale / 2)), max(16, 2 * round(width * scale / 2))


def encode(rgb: NDArray[np.uint8] | None, depth_m: Image | None, lens: tuple[float, float, float, float]) -> Image:
    """Encode color and depth, at least one of which is given.

    Args:
        rgb: (H, W, 3) uint8; None = zeros.
        depth_m: (H, W) float32 metres, 0 = no reading; None = zeros.
        lens: fx, fy, cx, cy in pixels of these images.

    Returns:
        (10, H, W) float32.
    """
    shape = rgb.shape[:2] if rgb is not None else depth_m.shape  # type: ignore[union-attr]
    out = np.zeros((CHANNELS, *shape), np.float32)
    if rgb is not None:
        np.multiply(rgb.transpose(2, 0, 1), np.float32(1 / 127.5), out=out[:3])
        out[:3] -= 1
    if depth_m is not None:
        _encode_depth(depth_m, lens, out)
    return out


def _encode_depth(depth_m: Image, lens: tuple[float, float, float, float], out: Image) -> None:
    """Fill in channels 3 to 9."""
    valid = (depth_m > 0).astype(np.float32)
    if not valid.any():
        return
    filled = _local_mean(depth_m, valid, 3)
    known = filled > 0
    out[3:6] = _normals(filled, lens) * known
    coarse = np.asarray(cv2.resize(depth_m, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_NEAREST), np.float32)
    for channel, (side, unit_m) in enumerate(WINDOWS_M, start=6):
        mean = _local_mean(coarse, (coarse > 0).astype(np.float32), side // 4 | 1)
        mean = np.asarray(cv2.resize(mean, depth_m.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        np.multiply(np.clip((filled - mean) / unit_m, -1.5, 1.5), known & (mean > 0), out=out[channel])
    np.divide(0.5, np.maximum(filled, 0.2), out=out[8])
    out[8] *= known
    out[9] = valid


def _local_mean(depth_m: Image, valid: Image, side: int) -> Image:
    """Average the readings in a square window about each pixel, 0 where there are none."""
    total = cv2.blur(depth_m * valid, (side, side))
    coverage = cv2.blur(valid, (side, side))
    return np.where(coverage > 0.01, total / np.maximum(coverage, 0.01), 0).astype(np.float32)


def normal_direction(
    depth_m: Numbers, slopes: tuple[Numbers, Numbers], offsets_px: tuple[Numbers, Numbers], focal_px: tuple[Any, Any]
) -> tuple[Numbers, Numbers, Numbers]:
    """Compute the normals of the surface z(u, v) that a pinhole camera sees, towards the camera and of any length.

    n ~ (fx dz/du, fy dz/dv, -(z + (u - cx) dz/du + (v - cy) dz/dv)), the cross product of the derivatives of the
    back-projected point ((u - cx) z / fx, (v - cy) z / fy, z), times fx fy / z.

    Args:
        depth_m: (..., H, W) metres.
        slopes: dz/du and dz/dv, (..., H, W) metres a pixel.
        offsets_px: u - cx and v - cy, which broadcast to (..., H, W).
        focal_px: fx and fy, numbers or what broadcasts.

    Returns:
        x, y and z of the normals in the camera frame, (..., H, W) each.
    """
    (du, dv), (u, v), (fx, fy) = slopes, offsets_px, focal_px
    return fx * du, fy * dv, -(depth_m + u * du + v * dv)


def _normals(depth_m: Image, lens: tuple[float, float, float, float]) -> Image:
    """Compute (3, H, W) unit normals towards the camera."""
    fx, fy, cx, cy = lens
    along, across = np.array(SLOPE_WEIGHTS, np.float32), np.array(MEAN_WEIGHTS, np.float32)
    du = np.asarray(cv2.sepFilter2D(depth_m, cv2.CV_32F, along, across))
    dv = np.asarray(cv2.sepFilter2D(depth_m, cv2.CV_32F, across, along))
    u = np.arange(depth_m.shape[1], dtype=np.float32)[None] - np.float32(cx)
    v = np.arange(depth_m.shape[0], dtype=np.float32)[:, None] - np.float32(cy)
    normal = np.stack(normal_direction(depth_m, (du, dv), (u, v), (fx, fy))).astype(np.float32)
    length = np.sqrt((normal * normal).sum(axis=0))
    return np.asarray(normal / np.maximum(length, np.float32(1e-9)), np.float32)
