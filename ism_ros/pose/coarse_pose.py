"""Coarse poses of detections: the view and turn of the object that fit best what is seen under the mask (views.py),
with a covariance that says what else fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ism_ros.pose.polar_maps import ANGLES, Fit, Views

Array = NDArray[np.float64]

TURNS = Rotation.from_rotvec(np.outer(range(ANGLES), [0.0, 0.0, 2 * np.pi / ANGLES])).as_matrix()
"""(A, 3, 3), about the optical axis."""
TEMPERATURE = 0.05
"""Views and turns that fit worse by this count 1/e as much in the covariance."""
FARTHEST = 5.0
"""By so many temperatures worse is what no longer counts at all."""
SPACING_SHARE = 0.31
"""Standard deviation of the rotation about each axis that the spacing of views and turns leaves open, as a share of the
side of the square that each of the views has on the sphere of directions (16 degrees for 162)."""
FLOOR_M = 0.004
HIDDEN_SHARE = 0.2
"""Share of the reach by which the middle moves sideways per share of the outline that does not fit."""
RELIEF_SHARE = 0.5
"""Share of the depth that does not fit which may be an error of the distance."""
UNKNOWN_POSITION_M = 0.05
UNKNOWN_ROTATION_RAD2 = (np.pi**2 / 3 + 2) / 3
"""About each axis, where the rotation may be any."""


@dataclass(frozen=True)
class CoarsePose:
    """rotation: (3, 3) object-to-camera. translation_m: (3,), where the CAD model's own origin is. covariance: (6, 6)
    of x y z of that (metres) and turns about x y z (radians) in the camera frame. view: which of the views it is
    from."""

    rotation: Array
    translation_m: Array
    covariance: Array
    view: int


def coarse_poses(fit: Fit, views: Views) -> list[CoarsePose | None]:
    """The pose under each mask of `fit`, which is that of `views`; None where too little was seen."""
    cost, iou, shift_m, relief_m, middle_m, along_ray = (
        field.cpu().numpy().astype(np.float64)
        for field in (fit.cost, fit.iou, fit.shift_m, fit.relief_m, fit.middle_m, fit.along_ray)
    )
    return [
        _pose(cost[row], iou[row], shift_m[row], relief_m[row], middle_m[row], along_ray[row], views)
        if np.isfinite(cost[row]).any()
        else None
        for row in range(len(cost))
    ]


def unknown_covariance() -> Array:
    """(6, 6) where the place of the visible surface is all that is known."""
    return np.diag([UNKNOWN_POSITION_M**2] * 3 + [UNKNOWN_ROTATION_RAD2] * 3)


def at_origin(covariance: Array, arm_m: Array) -> Array:
    """Carry a covariance from the object's centre over to its origin.

    Args:
        covariance: (6, 6) of the centre's position and the object's turns.
        arm_m: (3,) from the origin to the centre, in the camera frame: turns move the origin by so much.

    Returns:
        (6, 6) of the origin's position and the object's turns.
    """
    x, y, z = arm_m
    carried = np.eye(6)
    carried[:3, 3:] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
    return np.asarray(carried @ covariance @ carried.T)


def _pose(
    cost: Array, iou: Array, shift_m: Array, relief_m: Array, middle_m: Array, along_ray: Array, views: Views
) -> CoarsePose:
    """The best view and turn; in the covariance all others by how well they fit. One row of each array of a Fit."""
    least = cost.min()
    view, turn = np.nonzero(cost < least + FARTHEST * TEMPERATURE)
    likely = np.exp((least - cost[view, turn]) / TEMPERATURE)
    weight = likely / likely.sum()
    on_axis = TURNS[turn] @ views.rotations[view]
    rotations = along_ray @ on_axis
    shifts_m = along_ray[:, 2] * shift_m[view, turn][:, None]
    # of the object's centre: its origin may lie anywhere
    from_centre_m = views.surface_m[view] - views.centre_m
    translations_m = middle_m + shifts_m - (rotations @ from_centre_m[:, :, None])[:, :, 0]
    best = int(cost[view, turn].argmin())
    offsets = np.hstack(
        [
            translations_m - translations_m[best],
            Rotation.from_matrix(on_axis @ on_axis[best].T).as_rotvec() @ along_ray.T,
        ]
    )
    covariance = (weight[:, None] * offsets).T @ offsets
    sideways_m = FLOOR_M + HIDDEN_SHARE * views.reach_m * (1 - iou[view[best], turn[best]])
    ahead_m = FLOOR_M + RELIEF_SHARE * relief_m[view[best], turn[best]]
    covariance[:3, :3] += along_ray @ np.diag([sideways_m**2, sideways_m**2, ahead_m**2]) @ along_ray.T
    covariance[3:, 3:] += SPACING_SHARE**2 * 4 * np.pi / len(views.rotations) * np.eye(3)
    arm_m = rotations[best] @ views.centre_m
    return CoarsePose(rotations[best], translations_m[best] - arm_m, at_origin(covariance, arm_m), int(view[best]))
