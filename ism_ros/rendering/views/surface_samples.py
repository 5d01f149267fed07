"""Samples of the surface of an object that can be seen from outside: evenly spaced points, normals and colors.

They are taken from rendered templates, so that what lies inside of a CAD assembly never counts, normals point outwards
whatever the order of a triangle's corners, and colors are as rendered. They stay with the object: poses are refined
and judged by them (pose.refinement, verification.evidence).

V views of an object, K samples, S of them seen in a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLES = 1536
"""Samples of each object, K."""
VIEW_SAMPLES = 192
"""Samples of a view that a pose is refined by, S."""
MAX_CELLS = 400
"""Most cells along a side of the object that are looked at for samples, however few there are."""
NORMAL_STEP_PX = 2
"""Distance to the neighbours between which a normal is computed, pixels of a template."""
MIN_FACING = 0.25
"""Least cosine between normal and viewing direction of a pixel that is sampled."""
RIM_WEIGHT = 4.0
"""How many times as often a sample at the rim of a view is chosen as one inside."""

MAX_GRAY_SPREAD = 0.03
"""Largest difference between the channels of any sample of a surface without colors, in [0, 1]."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Samples of one object's surface, and which of them its views show.

    Attributes:
        points_m: (K, 3) float32 relative to `centre_m`, axes of the object frame, metres.
        normals: (K, 3) float32 unit vectors, outwards.
        colors: (K, 3) float32 RGB in [0, 1].
        spacing_m: Distance between neighbours, metres.
        centre_m: (3,) float64 in the object frame, metres.
        of_view: (V, S) int64, samples that are seen in each view, those at the rim more often than others.
        is_rim: (V, S) bool, whether they lie at the rim of the view's silhouette.
    """

    points_m: FloatArray
    normals: FloatArray
    colors: FloatArray
    spacing_m: float
    centre_m: NDArray[np.float64]
    of_view: NDArray[np.int64]
    is_rim: NDArray[np.bool_]

    @cached_property
    def is_colorless(self) -> bool:
        """Whether all of it is white, gray or black, as where a CAD file has no colors."""
        return bool((self.colors.max(axis=1) - self.colors.min(axis=1)).max() <= MAX_GRAY_SPREAD)

    @cached_property
    def axes_of_points_m(self) -> FloatArray:
        """(3, K), as `points_m`, axis by axis: the order that many of them are rotated fastest in."""
        return np.ascontiguousarray(self.points_m.T)

    @cached_property
    def axes_of_normals(self) -> FloatArray:
        """(3, K), as `normals`, likewise."""
        return np.ascontiguousarray(self.normals.T)

    @cached_property
    def seen(self) -> tuple[FloatArray, FloatArray]:
        """Points and normals of the samples that each view shows, axis by axis, (V, 3, S) each."""
        points_m, normals = (
            np.ascontiguousarray(axes[:, self.of_view].transpose(1, 0, 2))
            for axes in (self.axes_of_points_m, self.axes_of_normals)
        )
        return points_m, normals


def sample_surface(
    rgb: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.bool_]],
    xyz_m: Sequence[NDArray[np.floating]],
    rotations: NDArray[np.floating],
    centre_m: NDArray[np.float64],
    view_rotations: NDArray[np.floating],
) -> SurfaceSamples | None:
    """Sample the surface that templates show.

    Args:
        rgb: T images (H, W, 3).
        masks: T masks (H, W).
        xyz_m: T images (H, W, 3) of surface points in the object frame, metres.
        rotations: (T, 3, 3) object-to-camera.
        centre_m: (3,) centre of the model in the object frame, metres.
        view_rotations: (V, 3, 3) object-to-camera of the views that poses start from.

    Returns:
        SAMPLES samples, more than once where the templates are small; None where they show no surface.
    """
    pixels = [
        _surface_pixels(image, mask, xyz - centre_m, rotation)
        for image, mask, xyz, rotation in zip(rgb, masks, xyz_m, rotations, strict=True)
    ]
    points, normals, colors = (np.concatenate(parts) for parts in zip(*pixels, strict=True))
    if not len(points):
        return None
    extent_m = max(float(np.ptp(points, axis=0).max()), 1e-6)
    spacing_m = extent_m / 40
    # the number of samples grows with the inverse square of the spacing: two steps from a first guess
    for _ in range(2):
        spacing_m *= float(np.sqrt(len(_one_of_each_cell(points, normals, spacing_m)) / (1.15 * SAMPLES)))
        spacing_m = max(spacing_m, extent_m / MAX_CELLS)
    chosen = _one_of_each_cell(points, normals, spacing_m)
    # all objects have as many, so that they are compared in one batch
    chosen = np.random.default_rng(0).choice(chosen, SAMPLES, replace=len(chosen) < SAMPLES)
    points, normals = points[chosen], normals[chosen]
    seen = [seen_samples(points, normals, spacing_m, rotation) for rotation in view_rotations]
    return SurfaceSamples(
        points,
        normals,
        colors[chosen],
        spacing_m,
        np.asarray(centre_m, np.float64),
        np.stack([indices for indices, _ in seen]),
        np.stack([is_rim for _, is_rim in seen]),
    )


def seen_samples(
    points_m: FloatArray, normals: FloatArray, spacing_m: float, rotation: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Choose samples that one view shows, along its optical axis.

    Args:
        points_m: (K, 3) metres.
        normals: (K, 3).
        spacing_m: Distance between neighbours, metres.
        rotation: (3, 3) object-to-camera.

    Returns:
        Their indices (S,) and whether they lie at the rim of the silhouette (S,), in random order.
    """
    axes = np.asarray(rotation, np.float32).T
    xyz = points_m @ axes
    cells = ((xyz[:, :2] - xyz[:, :2].min(axis=0)) / (1.5 * spacing_m)).astype(np.int64) + 2
    width, height = cells.max(axis=0) + 3
    cell = cells[:, 1] * width + cells[:, 0]
    nearest = np.full(width * height, np.inf, np.float32)
    np.minimum.at(nearest, cell, xyz[:, 2])
    hit = np.isfinite(nearest).reshape(height, width).astype(np.uint8)
    covered = cv2.morphologyEx(hit, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    rim = covered.astype(bool) & ~cv2.erode(covered, np.ones((3, 3), np.uint8)).astype(bool)
    is_rim = rim.flatten()[cell]
    is_seen = (normals @ axes[:, 2] < -0.05) & (xyz[:, 2] < nearest[cell] + 2 * spacing_m)
    weight = is_seen * np.where(is_rim, RIM_WEIGHT, 1.0)
    if not weight.any():
        weight = np.ones(len(points_m))
    chosen = np.random.default_rng(0).choice(len(points_m), VIEW_SAMPLES, p=weight / weight.sum())
    return np.asarray(chosen, np.int64), is_rim[chosen]


def _one_of_each_cell(points_m: FloatArray, normals: FloatArray, side_m: float) -> NDArray[np.int64]:
    """Choose one point of each cubic cell and main direction of the normal, so that both faces of a sheet stay.

    Of a cell it is the point nearest to its middle: others would lie in pairs on both sides of a border between cells.
    """
    scaled = points_m / np.float32(side_m)
    cells = np.floor(scaled).astype(np.int64)
    offset = ((scaled - cells - 0.5) ** 2).sum(axis=1)
    cells -= cells.min(axis=0)
    main = np.abs(normals).argmax(axis=1)
    direction = 2 * main + (normals[np.arange(len(normals)), main] > 0)
    shape = cells.max(axis=0) + 1
    key = ((cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]) * 6 + direction
    order = np.lexsort([offset, key])
    return np.asarray(order[np.r_[True, np.diff(key[order]) > 0]], np.int64)


def _surface_pixels(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], points_m: NDArray[np.floating], rotation: NDArray[np.floating]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points, normals and colors (N, 3) of every fourth pixel in both directions, but for borders of the surface."""
    step = NORMAL_STEP_PX
    smooth = cv2.blur(np.asarray(points_m, np.float32) * mask[:, :, None], (3, 3))
    inside = cv2.erode(mask.astype(np.uint8), np.ones((2 * step + 3, 2 * step + 3), np.uint8)).astype(bool)
    rows, columns = np.nonzero(inside[2::4, 2::4] if inside.sum() > 200 else mask[2::4, 2::4])
    rows, columns = 4 * rows + 2, 4 * columns + 2
    last = np.array(mask.shape) - 1
    up, down = np.maximum(rows - step, 0), np.minimum(rows + step, last[0])
    left, right = np.maximum(columns - step, 0), np.minimum(columns + step, last[1])
    normals = np.cross(smooth[down, columns] - smooth[up, columns], smooth[rows, right] - smooth[rows, left])
    length = np.linalg.norm(normals, axis=1)
    # at a grazing angle, and across an edge of depth, differences of neighbours are no tangents
    good = -(normals @ np.asarray(rotation, np.float32)[2]) > MIN_FACING * np.maximum(length, 1e-20)
    rows, columns = rows[good], columns[good]
    return (
        np.asarray(points_m[rows, columns], np.float32),
        np.asarray(normals[good] / length[good][:, None], np.float32),
        image[rows, columns].astype(np.float32) / 255.0,
    )
