"""Edges of color and borders of near surfaces in depth, as fields and points with a direction.

A direction is the doubled angle of the gradient, a complex number exp(2i theta): opposite gradients, from dark to
bright and from bright to dark, are the same edge, and directions can be averaged (Granlund, Computer Graphics and Image
Processing 8, 1978). Both are found in pictures scaled to a longer side of EDGE_SIDE_PX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

EDGE_SIDE_PX = 320
"""Longer side of the pictures in which edges are found: two pixels of VGA each, about as far as depth borders stray."""
NOISE_PX = 1.0
"""Standard deviation of the blur before gradients, which takes out noise of single pixels."""
MEAN_EDGE_PX = 31
"""Side of the window of the local mean of color edges, a tenth of the picture: so wide that one edge hardly changes it,
so narrow that texture in one part of the picture does not count in another."""
MIN_GRADIENT = 8.0
"""Output of a 3 x 3 Sobel filter for one gray level a pixel, about the noise of a camera after the blur."""
BORDER_PX = 3
"""Distance within which the surface behind a border is looked for; holes and shadows of stereo cameras are as wide."""
MIN_STEP_RATIO = 0.06
"""Least step of inverse depth at a border, relative to the near side: an object that stands out by 5 cm at 0.8 m."""
MIN_INVERSE_STEP_PER_M = 0.04
"""Least step of inverse depth at a border, 1/m. The noise of stereo cameras is one of disparity, so that of inverse
depth is the same at all distances: 0.1 pixels / (385 pixels * 0.05 m) = 0.005 / m for a RealSense D435, and some times
as much on plain walls. Up to 1.5 m MIN_STEP_RATIO is more."""
MIN_NEIGHBOR_STEP_RATIO = 0.03
"""Least step to the next pixel at a border, which slanted surfaces do not have."""
OUTWARD_PX = 1.0
"""Distance from the middle of the outermost pixel that is measured of a surface to its border, where color has the
edge: half a pixel, and half a one that sensors lose there."""
MIN_SQUARED_LENGTH = 1e-12
"""Squared length below which a gradient has no direction."""


@dataclass(frozen=True)
class DepthEdges:
    """Points on the borders of near surfaces.

    Attributes:
        points_px: (N, 2) float32 columns and rows relative to the middle of the picture, in pixels of the scaled one.
        directions: (N,) complex64 exp(2i theta) of the gradients of inverse depth.
    """

    points_px: NDArray[np.float32]
    directions: NDArray[np.complex64]

    def __len__(self) -> int:
        """Return N."""
        return len(self.points_px)


def edge_scale(width: int, height: int) -> float:
    """Compute the factor by which a picture is scaled before edges are found in it.

    Args:
        width: Its columns.
        height: Its rows.

    Returns:
        Pixels of the scaled picture to a pixel.
    """
    return EDGE_SIDE_PX / max(width, height)


def color_edges(rgb: NDArray[np.uint8]) -> NDArray[np.complex64]:
    """Compute how clear an edge each pixel is on, and its direction.

    With the structure tensor J of all three channels (Di Zenzo, Computer Vision, Graphics, and Image Processing 33,
    1986) and m = sqrt(Jxx + Jyy): E = (m / (m + mean(m) + MIN_GRADIENT))^2 * (Jxx - Jyy + 2i Jxy) / m^2, the mean over
    a window of MEAN_EDGE_PX. Strong edges count little more than faint ones, and texture less than lone edges.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (h, w) complex64, the longer side EDGE_SIDE_PX; magnitudes in [0, 1).
    """
    image = cv2.resize(rgb, _scaled_size(rgb.shape), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), NOISE_PX)
    x, y = cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1)
    all_channels = np.ones((1, 3), np.float32)
    xy = cv2.transform(x * y, all_channels)
    xx, yy = (cv2.transform(np.square(gradient, out=gradient), all_channels) for gradient in (x, y))
    magnitude = cv2.sqrt(xx + yy)
    mean = cv2.blur(magnitude, (MEAN_EDGE_PX, MEAN_EDGE_PX))
    weight = 1 / np.square(magnitude + mean + MIN_GRADIENT)
    return _complex((xx - yy) * weight, 2 * xy * weight)


def depth_edges(depth_m: NDArray[np.float32]) -> DepthEdges:
    """Find the borders of near surfaces: pixels beside which something is farther, or nothing is measured.

    The near side alone is taken: it is where color has the edge, while what lies behind is hidden from one of the two
    cameras and often has no reading.

    Args:
        depth_m: (H, W) float32 metres, 0 = no reading.

    Returns:
        The points, in a picture whose longer side is EDGE_SIDE_PX.
    """
    width, height = _scaled_size(depth_m.shape)
    near = cv2.resize(depth_m, (width, height), interpolation=cv2.INTER_NEAREST)
    inverse = np.zeros_like(near)
    np.divide(1, near, out=inverse, where=near > 0)
    inverse = cv2.medianBlur(inverse, 3)  # single wrong readings have no borders
    known = inverse > 0
    window = np.ones((2 * BORDER_PX + 1, 2 * BORDER_PX + 1), np.uint8)
    beyond = np.float32(np.finfo(np.float32).max)
    behind = cv2.erode(np.where(known, inverse, beyond), window)
    beside = cv2.erode(inverse, np.ones((3, 3), np.uint8))
    least_step = np.maximum(MIN_STEP_RATIO * inverse, MIN_INVERSE_STEP_PER_M)
    is_border = known & (behind < inverse - least_step) & (beside < (1 - MIN_NEIGHBOR_STEP_RATIO) * inverse)
    filled = np.where(known, inverse, np.where(behind < beyond, behind, 0))
    filled = cv2.GaussianBlur(filled, (0, 0), NOISE_PX)
    rows, columns = np.nonzero(is_border)
    x = cv2.Sobel(filled, cv2.CV_32F, 1, 0)[rows, columns]
    y = cv2.Sobel(filled, cv2.CV_32F, 0, 1)[rows, columns]
    length = np.sqrt(np.maximum(x * x + y * y, MIN_SQUARED_LENGTH))
    x, y = x / length, y / length
    scale = edge_scale(depth_m.shape[1], depth_m.shape[0])
    points = [
        (np.floor(columns / scale) + 0.5) * scale - width / 2 - OUTWARD_PX * x,
        (np.floor(rows / scale) + 0.5) * scale - height / 2 - OUTWARD_PX * y,
    ]
    return DepthEdges(np.stack(points, axis=1).astype(np.float32), _complex(x * x - y * y, 2 * x * y))


def _scaled_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return width and height of the scaled picture."""
    height, width = shape[:2]
    scale = edge_scale(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _complex(real: NDArray[Any], imaginary: NDArray[Any]) -> NDArray[np.complex64]:
    joined = np.empty(real.shape, np.complex64)
    joined.real, joined.imag = real, imaginary
    return joined
