"""Coarse poses: what is seen under a mask, held against all views of its object in all turns about the optical axis.

A view is a map of rings and angles about the middle of the visible surface, in metres: how much of each cell is
covered, how deep it lies, and its colour. Turning the camera about its optical axis shifts such a map along the angles,
so that all turns of all views are compared by a few Fourier transforms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial.transform import Rotation

from ism_ros.frame import Camera
from ism_ros.masks import mask_box

Array = NDArray[np.float64]

RINGS, ANGLES = 8, 36
RELIEF_WEIGHT = 20.0
COLOUR_WEIGHT = 0.3
"""Of the mean squared differences of depth (in units of the object's reach) and of colour, beside 1 - IoU."""
TEMPERATURE = 0.05
"""Views and turns that fit worse by this count 1/e as much in the covariance."""
FLOOR_RAD = 0.17
"""Standard deviation of the rotation about each axis that the spacing of views (36 degrees) and turns leaves open."""
FLOOR_M = 0.004
HIDDEN_SHARE = 0.2
"""Share of the reach by which the middle moves sideways per share of the outline that does not fit."""
RELIEF_SHARE = 0.5
"""Share of the depth that does not fit which may be an error of the distance."""
LEAST_PIXELS = 10
MOST_PIXELS = 2000
UNKNOWN_POSITION_M = 0.05
UNKNOWN_ROTATION_RAD2 = (np.pi**2 / 3 + 2) / 3
"""About each axis, where the rotation may be any."""


@dataclass(frozen=True)
class Views:
    """The views of one object.

    maps: (V, 5, RINGS, ANGLES) float16: share of the cell that is covered; depth relative to the mean, metres; red,
    green and blue relative to the view's brightness. surface_m: (V, 3), the mean of the visible surface in the object
    frame. reach_m: radius of the outermost ring. rotations: (V, 3, 3) object-to-camera.
    """

    maps: NDArray[np.float16]
    surface_m: Array
    reach_m: float
    rotations: Array


@dataclass(frozen=True)
class CoarsePose:
    """rotation: (3, 3) object-to-camera. translation_m: (3,). covariance: (6, 6) of x y z (metres) and turns about x y
    z (radians) in the camera frame. view: which of the views it is from."""

    rotation: Array
    translation_m: Array
    covariance: Array
    view: int


def views_of(rgb: NDArray[np.uint8], masks: NDArray[np.bool_], xyz_m: NDArray[np.float32], rotations: Array) -> Views:
    """Views from templates: rgb (V, H, W, 3), masks (V, H, W), xyz_m (V, H, W, 3) in the object frame, rotations
    (V, 3, 3)."""
    seen = [xyz[mask].astype(np.float64) for xyz, mask in zip(xyz_m, masks, strict=True)]
    surface_m = np.array([points.mean(axis=0) for points in seen])
    centred = [(points - middle) @ turn.T for points, middle, turn in zip(seen, surface_m, rotations, strict=True)]
    reach_m = float(max(np.hypot(*points[:, :2].T).max() for points in centred)) * 1.05
    maps = [
        polar_map(points, picture[mask] / 255.0, _pixel_area_m2(points, mask), max(reach_m, 1e-6))
        for points, picture, mask in zip(centred, rgb, masks, strict=True)
    ]
    return Views(np.stack(maps).astype(np.float16), surface_m, reach_m, np.asarray(rotations, np.float64))


def polar_map(points_m: Array, colours: Array, area_m2: Array | float, reach_m: float) -> Array:
    """(5, RINGS, ANGLES), as in Views. points_m: (P, 3) about their middle, z along the optical axis. colours: (P, 3)
    in [0, 1]. area_m2: of each point across the optical axis, (P,) or one for all."""
    radius = np.hypot(points_m[:, 0], points_m[:, 1])
    angle = np.arctan2(points_m[:, 1], points_m[:, 0]) % (2 * np.pi)
    ring = np.minimum((radius / reach_m * RINGS).astype(int), RINGS - 1)
    cell = ring * ANGLES + (angle / (2 * np.pi) * ANGLES).astype(int) % ANGLES
    weight = np.broadcast_to(area_m2, len(points_m))
    total = np.bincount(cell, weight, RINGS * ANGLES)
    brightness = max(float(np.average(colours.mean(axis=1), weights=weight)), 1e-3)
    values = (points_m[:, 2], *(colours / brightness).T)
    means = [np.bincount(cell, weight * value, RINGS * ANGLES) / np.maximum(total, 1e-12) for value in values]
    covered = np.minimum(total.reshape(RINGS, ANGLES) / _cell_areas_m2(reach_m), 1.0)
    return np.stack([covered, *(mean.reshape(RINGS, ANGLES) for mean in means)])


def coarse_pose(
    mask: NDArray[np.bool_],
    rgb: NDArray[np.uint8],
    depth_m: NDArray[np.float32],
    camera: Camera,
    views: Views,
    preference: Array | None = None,
) -> CoarsePose | None:
    """The pose of the object with these `views` under one mask; None where too little of it has depth.

    mask: (H, W) bool. rgb: (H, W, 3) uint8. depth_m: (H, W), 0 = no reading. preference: (V,), what else speaks for
    each view; 1 makes up for an outline of which nothing fits.
    """
    points_m, colours, step = _seen(mask, rgb, depth_m, camera)
    if len(points_m) < LEAST_PIXELS:
        return None
    # what lies further away than the object reaches is the ground beside it, or a reading between the two
    near = np.linalg.norm(points_m - np.median(points_m, axis=0), axis=1) < views.reach_m
    if np.count_nonzero(near) < LEAST_PIXELS:
        return None
    points_m, colours = points_m[near], colours[near]
    area_m2 = step * points_m[:, 2] ** 2 / (camera.fx * camera.fy)
    middle_m = np.average(points_m, axis=0, weights=area_m2)
    # views are seen along the optical axis: look at the object along the ray to it
    along_ray = Rotation.align_vectors([middle_m / np.linalg.norm(middle_m)], [[0.0, 0.0, 1.0]])[0].as_matrix()
    ours = polar_map((points_m - middle_m) @ along_ray, colours, area_m2, views.reach_m)
    fit = compare(ours.astype(np.float32), views.maps.astype(np.float32), views.reach_m)
    if preference is not None:
        fit = replace(fit, cost=fit.cost - preference[:, None])
    return _pose(fit, views, along_ray, middle_m)


@dataclass(frozen=True)
class Fit:
    """Each view (V) in each turn (ANGLES) beside what is seen: cost, share of the outlines that is common (IoU), how
    much nearer the view's surface must come to lie where it is seen (shift_m), and what remains then (relief_m)."""

    cost: Array
    iou: Array
    shift_m: Array
    relief_m: Array


def compare(ours: Array, maps: Array, reach_m: float) -> Fit:
    """ours: (5, RINGS, ANGLES) beside maps: (V, 5, RINGS, ANGLES), each turned by every number of cells."""
    area = _cell_areas_m2(reach_m).astype(ours.dtype)
    covered, depth, *colours = ours
    weight = covered * area
    theirs, their_depth = maps[:, 0], maps[:, 1]
    one, deep, deep_squared, *coloured, colour_squared = _spectra(
        weight, weight * depth, weight * depth**2, *(weight * c for c in colours), weight * (ours[2:] ** 2).sum(axis=0)
    )
    t_one, t_deep, t_deep_squared, *t_coloured, t_colour_squared = _spectra(
        theirs,
        theirs * their_depth,
        theirs * their_depth**2,
        *(theirs * maps[:, 2 + c] for c in range(3)),
        theirs * (maps[:, 2:] ** 2).sum(axis=1),
    )
    common = _sums(one * t_one)
    share = np.maximum(common, 1e-12)
    union = weight.sum() + (theirs * area).sum(axis=(1, 2))[:, None] - common
    shift = _sums(deep * t_one - one * t_deep) / share
    relief = _sums(deep_squared * t_one - 2 * deep * t_deep + one * t_deep_squared) / share - shift**2
    products = sum(c * t_c for c, t_c in zip(coloured, t_coloured, strict=True))
    difference = _sums(colour_squared * t_one - 2 * products + one * t_colour_squared) / share
    relief = np.maximum(relief, 0.0)
    iou = np.clip(common / np.maximum(union, 1e-12), 0.0, 1.0)
    cost = (
        1 - iou
        + RELIEF_WEIGHT * relief / (1.6 * reach_m) ** 2
        + COLOUR_WEIGHT * np.maximum(difference, 0.0)
    )  # fmt: skip
    return Fit(cost, iou, shift, np.sqrt(relief))


def unknown_covariance() -> Array:
    """(6, 6) where the place of the visible surface is all that is known."""
    return np.diag([UNKNOWN_POSITION_M**2] * 3 + [UNKNOWN_ROTATION_RAD2] * 3)


def _pose(fit: Fit, views: Views, along_ray: Array, middle_m: Array) -> CoarsePose:
    """The best view and turn; in the covariance all others by how well they fit."""
    likely = np.exp(-(fit.cost - fit.cost.min()) / TEMPERATURE)
    likely = np.where(likely > 1e-3, likely, 0.0) / likely.sum()
    view, turn = np.nonzero(likely)
    weight = likely[view, turn] / likely[view, turn].sum()
    turns = Rotation.from_rotvec(np.outer(turn, [0.0, 0.0, 2 * np.pi / ANGLES])).as_matrix()
    rotations = along_ray @ turns @ views.rotations[view]
    shifts_m = along_ray[:, 2] * fit.shift_m[view, turn][:, None]
    translations_m = middle_m + shifts_m - np.einsum("nij,nj->ni", rotations, views.surface_m[view])
    best = int(fit.cost[view, turn].argmin())
    offsets = np.hstack(
        [
            translations_m - translations_m[best],
            Rotation.from_matrix(rotations @ rotations[best].T).as_rotvec(),
        ]
    )
    covariance = np.einsum("n,ni,nj->ij", weight, offsets, offsets)
    sideways_m = FLOOR_M + HIDDEN_SHARE * views.reach_m * (1 - fit.iou[view[best], turn[best]])
    ahead_m = FLOOR_M + RELIEF_SHARE * fit.relief_m[view[best], turn[best]]
    covariance[:3, :3] += along_ray @ np.diag([sideways_m**2, sideways_m**2, ahead_m**2]) @ along_ray.T
    covariance[3:, 3:] += FLOOR_RAD**2 * np.eye(3)
    return CoarsePose(rotations[best], translations_m[best], covariance, int(view[best]))


def _seen(
    mask: NDArray[np.bool_],
    rgb: NDArray[np.uint8],
    depth_m: NDArray[np.float32],
    camera: Camera,
) -> tuple[Array, Array, int]:
    """Points (P, 3) in metres and colours (P, 3) in [0, 1] under a mask, and how many pixels each stands for."""
    left, top, width, height = mask_box(mask)
    box = slice(top, top + height), slice(left, left + width)
    rows, columns = np.nonzero(mask[box] & (depth_m[box] > 0))
    step = 1 + len(rows) // MOST_PIXELS
    rows, columns = rows[::step] + top, columns[::step] + left
    z = depth_m[rows, columns].astype(np.float64)
    x, y = (columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z
    return np.stack([x, y, z], axis=1), rgb[rows, columns] / 255.0, step


def _cell_areas_m2(reach_m: float) -> Array:
    """(RINGS, 1), of one cell of each ring."""
    number = np.arange(RINGS)
    return (np.pi * reach_m**2 * (2 * number + 1) / RINGS**2 / ANGLES)[:, None]


def _pixel_area_m2(points_m: Array, mask: NDArray[np.bool_]) -> float:
    """Of one pixel, from how x and y of the points grow with columns and rows: no camera need be known."""
    sides = []
    for pixels, values in zip(np.nonzero(mask)[::-1], points_m[:, :2].T, strict=True):
        offset = pixels - pixels.mean()
        sides.append(abs(float(offset @ values)) / max(float(offset @ offset), 1e-12))
    return sides[0] * sides[1]


def _spectra(*maps: Array) -> list[NDArray[np.complexfloating]]:
    """Of each map (..., RINGS, ANGLES) along the angles; those of views conjugated: products are correlations."""
    return [np.conj(spectrum) if spectrum.ndim == 3 else spectrum for spectrum in map(fft.rfft, maps)]


def _sums(product: NDArray[np.complexfloating]) -> Array:
    """(V, ANGLES): sums over all cells of a map times the maps of views (V), turned by each angle."""
    return fft.irfft(product.sum(axis=1), ANGLES)
