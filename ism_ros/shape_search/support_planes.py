"""Large planes of a scene, which things stand on or before: tables, floors, walls, fronts of machines.

RANSAC (Fischler and Bolles, 1981) with triples of neighbours, of which more lie in one plane than of any three points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_PLANES, MIN_SHARE = 3, 0.12
"""Most planes, and the least share of all readings that lie in one."""
TRIALS, SAMPLES = 200, 1500
"""Triples that are tried for each plane, and points that each is judged by."""
REACH = 16
"""Distance of the points of a triple in the image, columns and rows."""

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def outside_planes(points_m: Floats, valid: Mask, tolerance_m: Floats) -> Mask:
    """Find what lies in none of the large planes.

    Args:
        points_m: (H, W, 3) points of the pixels, metres.
        valid: (H, W) bool, whether there is a reading.
        tolerance_m: (H, W) distance from a plane up to which a point is in it, metres.

    Returns:
        (H, W) bool, readings that are left.
    """
    left, rng = valid.copy(), np.random.default_rng(0)
    for _ in range(MAX_PLANES):
        rows, columns = np.nonzero(left)
        if len(rows) < 3:
            break
        sample = rng.integers(len(rows), size=SAMPLES)
        some_m, some_tolerance_m = points_m[rows[sample], columns[sample]], tolerance_m[rows[sample], columns[sample]]
        anchor_m, normal = _planes_of_triples(points_m, left, rng)
        distance_m = np.abs(some_m @ normal.T - (anchor_m * normal).sum(axis=1))
        agreeing = (distance_m < some_tolerance_m[:, None]).sum(axis=0)
        if not len(agreeing) or agreeing.max() * len(rows) < MIN_SHARE * SAMPLES * valid.sum():
            break
        best = agreeing.argmax()
        left &= ~_refined(points_m, left, tolerance_m, anchor_m[best], normal[best])
    return left


def _planes_of_triples(points_m: Floats, left: Mask, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Points of planes through triples of neighbours, and unit normals, (K, 3) each."""
    rows, columns = np.nonzero(left)
    first = rng.integers(len(rows), size=TRIALS)
    shift = rng.integers(-REACH, REACH + 1, size=(2, 2, TRIALS))
    size = np.array(left.shape)[:, None]
    corners = [(rows[first], columns[first])]
    corners += [tuple(np.clip(np.stack([rows[first], columns[first]]) + one, 0, size - 1)) for one in shift]
    known = np.logical_and.reduce([left[at] for at in corners])
    one, other, third = (points_m[at][known].astype(np.float64) for at in corners)
    normal = np.cross(other - one, third - one)
    length = np.linalg.norm(normal, axis=1)
    good = length > 1e-9
    return one[good].astype(np.float32), (normal[good] / length[good][:, None]).astype(np.float32)


def _refined(points_m: Floats, left: Mask, tolerance_m: Floats, anchor_m: Floats, normal: Floats) -> Mask:
    """Pixels (H, W) in the plane that is fitted to those near a first guess of it."""
    near = left & (np.abs((points_m - anchor_m) @ normal) < tolerance_m)
    inside_m = points_m[near].astype(np.float64)
    centre_m = inside_m.mean(axis=0)
    fitted = np.linalg.eigh(np.cov(inside_m.T))[1][:, 0]
    return np.asarray(np.abs((points_m - centre_m.astype(np.float32)) @ fitted.astype(np.float32)) < tolerance_m)
