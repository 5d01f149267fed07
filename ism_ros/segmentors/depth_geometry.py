"""What the depth image says, pixel by pixel: steps, concave creases and large planes, all in disparity.

Disparity (1 / z) has two properties that keep everything here simple. Triangulating sensors have about the same
disparity noise at any distance (their depth noise grows with z squared), so one tolerance fits the whole image; and a
plane in space is an affine function of the pixel coordinates, whatever the intrinsics, so that second differences
vanish on planes and are positive in concave creases, negative on convex ridges.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Array = NDArray[np.float32]

_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True)
class Geometry:
    """Cues at the depth working size (h, w).

    disparity: float32 in noise units, holes filled from behind. valid: where there was a reading.
    step, crease: float32 in 0..1, strength of depth discontinuities and of concave creases; 0 in holes.
    planes: (P, 3) float32, disparity = (u, v, 1) . plane in noise units, largest first. plane_index: (h, w) int8, the
    plane a pixel lies on, -1 for none. on_plane: float32 in 0..1, how well it lies on the nearest plane.
    """

    disparity: Image
    valid: Mask
    step: Image
    crease: Image
    planes: NDArray[np.float32]
    plane_index: NDArray[np.int8]
    on_plane: Image


def measure_geometry(depth_m: Image, disparity_noise: float, max_planes: int) -> Geometry:
    """Cues of `depth_m` (h, w), metres, 0 = no reading, at least one reading. disparity_noise: one unit, in 1/m."""
    valid = depth_m > 0
    disparity = np.zeros_like(depth_m)
    np.divide(1.0 / disparity_noise, depth_m, out=disparity, where=valid)
    disparity = fill_from_behind(disparity, valid)
    cleaned = np.asarray(cv2.medianBlur(disparity, 3), np.float32)
    smooth = np.asarray(cv2.bilateralFilter(cleaned, 9, 4.0, 3.0), np.float32)
    rounded = np.asarray(cv2.GaussianBlur(smooth, (0, 0), 1.2), np.float32)

    fine = _second_difference(cleaned, 1, concave_only=False)
    coarse = _second_difference(rounded, 4, concave_only=True)
    noise: Image = np.maximum(
        _noise_level(fine, cleaned, valid, quantile=0.45, usual=1.0),
        _noise_level(coarse, cleaned, valid, quantile=0.35, usual=0.6),
    )
    step = _soft(fine / noise, 3.0, 8.0)
    crease = _soft(coarse / noise, 1.5, 6.0)
    hidden = _deep(~valid)
    step[hidden] = 0.0
    crease[hidden] = 0.0

    planes = find_planes(smooth, noise, valid, max_planes)
    plane_index, on_plane = assign_planes(smooth, noise, valid, planes)
    return Geometry(disparity, valid, step, crease, planes, plane_index, on_plane)


def fill_from_behind(disparity: Image, valid: Mask) -> Image:
    """`disparity` with every hole taking the farther one of the nearest readings to the left and right of it.

    Stereo and structured light leave a hole beside every object, in the shadow that it throws on what is behind it:
    filled like this, the step stays at the object. Rows without any reading take the nearest reading's value.
    """
    if valid.all() or not valid.any():
        return disparity
    height, width = disparity.shape
    column = np.arange(width, dtype=np.int32)[None]
    before = np.maximum.accumulate(np.where(valid, column, -1), axis=1)
    after = np.minimum.accumulate(np.where(valid, column, width)[:, ::-1], axis=1)[:, ::-1]
    row = np.arange(height)[:, None]
    left = np.where(before >= 0, disparity[row, np.maximum(before, 0)], np.inf)
    right = np.where(after < width, disparity[row, np.minimum(after, width - 1)], np.inf)
    filled = np.minimum(left, right).astype(np.float32)
    empty_rows = np.flatnonzero(~valid.any(axis=1))
    if len(empty_rows):
        with_readings = np.flatnonzero(valid.any(axis=1))
        nearest = np.abs(empty_rows[:, None] - with_readings[None]).argmin(axis=1)
        filled[empty_rows] = filled[with_readings[nearest]]
    return np.where(valid, disparity, filled)


def _noise_level(roughness: Image, disparity: Image, valid: Mask, quantile: float, usual: float) -> Image:
    """How much more than `usual` the `roughness` of smooth surfaces is at each pixel, 1..3, as a function of disparity.

    Measured from the image itself: most pixels lie on smooth surfaces, so a low quantile of the second differences
    among the pixels of about the same disparity is noise (millimetre rounding, for one, grows with disparity).
    """
    levels = 6
    sample, at = roughness[valid][::13], disparity[valid][::13]
    limits = np.quantile(at, np.linspace(0.0, 1.0, levels + 1))
    band = np.clip(np.searchsorted(limits, at, side="right") - 1, 0, levels - 1)
    level = [np.quantile(sample[band == k], quantile) / usual if (band == k).any() else 1.0 for k in range(levels)]
    centre = 0.5 * (limits[1:] + limits[:-1])
    return np.interp(disparity, centre, np.clip(level, 1.0, 3.0)).astype(np.float32)


def _second_difference(image: Image, reach: int, concave_only: bool) -> Image:
    """Largest second difference over four directions at `reach` pixels; positive ones only if `concave_only`."""
    height, width = image.shape
    padded = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    twice = 2.0 * image
    largest = np.zeros_like(image)
    for dy, dx in _DIRECTIONS:
        y, x = dy * reach, dx * reach
        ahead = padded[reach + y : reach + y + height, reach + x : reach + x + width]
        behind = padded[reach - y : reach - y + height, reach - x : reach - x + width]
        difference = ahead + behind - twice
        np.maximum(largest, difference if concave_only else np.abs(difference), out=largest)
    # replication bends a slanted plane at the border
    for edge in (largest[:reach], largest[-reach:], largest[:, :reach], largest[:, -reach:]):
        edge[:] = 0.0
    return largest


def _deep(mask: Mask) -> Mask:
    """The pixels of `mask` that do not touch others."""
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _soft(strength: NDArray[np.floating], zero_at: float, one_at: float) -> Image:
    return np.asarray(np.clip((strength - zero_at) / (one_at - zero_at), 0.0, 1.0), np.float32)


# --- planes ---

_INLIER = 2.5
_MIN_SHARE = 0.04


def find_planes(
    disparity: Image, noise: Image, valid: Mask, max_planes: int, hypotheses: int = 120
) -> NDArray[np.float32]:
    """Large planes in a smooth disparity image by RANSAC on a coarse grid of pixels, (P, 3), largest first."""
    height, width = disparity.shape
    stride = max(1, int(np.sqrt(height * width / 2400.0)))
    v, u = np.mgrid[0:height:stride, 0:width:stride]
    kept = valid[v, u]
    u, v = u[kept].astype(np.float32), v[kept].astype(np.float32)
    d = disparity[v.astype(int), u.astype(int)]
    tolerance = _INLIER * noise[v.astype(int), u.astype(int)]
    points = np.stack([u, v, np.ones_like(u)], axis=1)
    total = len(d)
    rng = np.random.default_rng(0)
    planes: list[NDArray[np.float32]] = []
    while len(planes) < max_planes and len(d) > max(12, _MIN_SHARE * total):
        plane = _best_plane(points, d, tolerance, rng, hypotheses, max(height, width))
        if plane is None:
            break
        inlier = np.abs(points @ plane - d) < tolerance
        if inlier.sum() < _MIN_SHARE * total:
            break
        planes.append(plane)
        points, d, tolerance = points[~inlier], d[~inlier], tolerance[~inlier]
    return np.array(planes, dtype=np.float32).reshape(-1, 3)


def _best_plane(
    points: Array,
    d: Array,
    tolerance: Array,
    rng: np.random.Generator,
    hypotheses: int,
    size: int,
) -> Array | None:
    """The plane with most inliers: three points each, the second and third drawn near the first, then refined."""
    first = rng.integers(len(d), size=hypotheses)
    triple = np.stack([first, first, first], axis=1)
    # points are in row order: a far index is a far row, so draw a few candidates and keep the nearest at 5..25 %
    for column in (1, 2):
        drawn = rng.integers(len(d), size=(hypotheses, 8))
        distance = np.linalg.norm(points[drawn, :2] - points[first, None, :2], axis=2)
        distance[distance < 0.04 * size] = np.inf
        triple[:, column] = drawn[np.arange(hypotheses), distance.argmin(axis=1)]
    corner = points[triple].astype(np.float64)
    usable = np.abs(np.linalg.det(corner)) > 0.002 * size * size
    if not usable.any():
        return None
    candidates = np.linalg.solve(corner[usable], d[triple[usable]].astype(np.float64)[..., None])[..., 0]
    residual = np.abs(points @ candidates.T.astype(np.float32) - d[:, None])
    best = candidates[np.argmax((residual < tolerance[:, None]).sum(axis=0))].astype(np.float32)
    for _ in range(3):
        inlier = np.abs(points @ best - d) < tolerance
        if inlier.sum() < 6:
            return None
        best = np.linalg.lstsq(points[inlier], d[inlier], rcond=None)[0].astype(np.float32)
    return best


def assign_planes(
    disparity: Image, noise: Image, valid: Mask, planes: NDArray[np.float32]
) -> tuple[NDArray[np.int8], Image]:
    """The plane of each pixel (-1: none) and how well it lies on it, 0..1."""
    height, width = disparity.shape
    index = np.full((height, width), -1, dtype=np.int8)
    on_plane = np.zeros((height, width), dtype=np.float32)
    if len(planes) == 0:
        return index, on_plane
    u = np.arange(width, dtype=np.float32)[None]
    v = np.arange(height, dtype=np.float32)[:, None]
    blurred = cv2.GaussianBlur(disparity, (0, 0), 1.8)
    slope_u = cv2.Scharr(blurred, cv2.CV_32F, 1, 0, scale=1 / 32)
    slope_v = cv2.Scharr(blurred, cv2.CV_32F, 0, 1, scale=1 / 32)
    for number, (a, b, c) in enumerate(planes):
        residual = (disparity - (a * u + b * v + c)) / (3.0 * noise)
        tilt = ((slope_u - a) ** 2 + (slope_v - b) ** 2) / (1.5 * noise) ** 2
        fit = np.exp(-(residual**2) - tilt) * valid
        better = fit > on_plane
        on_plane[better] = fit[better]
        index[better & (fit > 0.4)] = number
    return index, on_plane
