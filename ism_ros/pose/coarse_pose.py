"""Coarse poses: the view and in-plane rotation that are aligned best with what is seen under a mask, with a covariance.

The covariance spans all views and rotations that are aligned nearly as well.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ism_ros.pose.alignment import ViewAlignment
from ism_ros.rendering.views.polar_maps import ANGLES, ViewMaps

Array = NDArray[np.float64]

IN_PLANE_ROTATIONS = Rotation.from_rotvec(np.outer(range(ANGLES), [0.0, 0.0, 2 * np.pi / ANGLES])).as_matrix()
"""(A, 3, 3), about the optical axis."""
TEMPERATURE = 0.05
"""Difference of cost at which a view and rotation weighs 1/e as much in the covariance."""
MAX_TEMPERATURES = 5.0
"""Difference of cost, in temperatures, from which on it does not count at all."""
SPACING_RATIO = 0.31
"""Standard deviation of the rotation about each axis that the spacing of the V views leaves open, as a ratio of the
side of the square that each has on the unit sphere: sigma = SPACING_RATIO * sqrt(4 * pi / V) radians, 5 degrees for
162."""
MIN_SIGMA_M = 0.004
"""Least standard deviation of the position along each axis, metres."""
HIDDEN_RATIO = 0.2
"""Standard deviation of the lateral position in radii of the object, per share of the silhouette that is not common."""
DEPTH_RMSE_RATIO = 0.5
"""Share of the depth RMSE that may be an error of the distance."""
UNKNOWN_POSITION_M = 0.05
UNKNOWN_ROTATION_RAD2 = (np.pi**2 / 3 + 2) / 3
"""About each axis, where the rotation may be any."""


@dataclass(frozen=True)
class CoarsePose:
    """The pose of one detection.

    Attributes:
        rotation: (3, 3) object-to-camera.
        translation_m: (3,) position of the CAD model's own origin in the camera frame, metres.
        covariance: (6, 6) of x y z of that (metres) and rotations about x y z (radians) in the camera frame.
        view: Index of the view that it is from.
    """

    rotation: Array
    translation_m: Array
    covariance: Array
    view: int


def coarse_poses(alignment: ViewAlignment, views: ViewMaps) -> list[CoarsePose | None]:
    """Take the pose under each mask from the views that are aligned best.

    Args:
        alignment: Of `views` with N masks.
        views: Of the object.

    Returns:
        N poses; None where too little was seen.
    """
    cost, iou, depth_offset_m, depth_rmse_m, centroid_m, ray_rotation = (
        getattr(alignment, field.name).cpu().numpy().astype(np.float64) for field in fields(alignment)
    )
    return [
        _pose(cost[row], iou[row], depth_offset_m[row], depth_rmse_m[row], centroid_m[row], ray_rotation[row], views)
        if np.isfinite(cost[row]).any()
        else None
        for row in range(len(cost))
    ]


def unknown_covariance() -> Array:
    """Make the (6, 6) covariance of a pose of which only the position of the visible surface is known."""
    return np.diag([UNKNOWN_POSITION_M**2] * 3 + [UNKNOWN_ROTATION_RAD2] * 3)


def at_origin(covariance: Array, arm_m: Array) -> Array:
    """Carry a covariance from the object's centre over to its origin.

    Args:
        covariance: (6, 6) of the centre's position and the object's rotation.
        arm_m: (3,) from the origin to the centre, in the camera frame: rotations move the origin by so much.

    Returns:
        (6, 6) of the origin's position and the object's rotation.
    """
    x, y, z = arm_m
    carried = np.eye(6)
    carried[:3, 3:] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
    return np.asarray(carried @ covariance @ carried.T)


def _pose(
    cost: Array,
    iou: Array,
    depth_offset_m: Array,
    depth_rmse_m: Array,
    centroid_m: Array,
    ray_rotation: Array,
    views: ViewMaps,
) -> CoarsePose:
    """The best view and rotation; in the covariance all others, weighted by exp(-cost / TEMPERATURE). One row of each
    array of a ViewAlignment.
    """
    least = cost.min()
    view, angle = np.nonzero(cost < least + MAX_TEMPERATURES * TEMPERATURE)
    likely = np.exp((least - cost[view, angle]) / TEMPERATURE)
    weight = likely / likely.sum()
    on_axis = IN_PLANE_ROTATIONS[angle] @ views.rotations[view]
    rotations = ray_rotation @ on_axis
    offsets_m = ray_rotation[:, 2] * depth_offset_m[view, angle][:, None]
    # of the object's centre: its origin may lie anywhere
    from_centre_m = views.centroid_m[view] - views.centre_m
    translations_m = centroid_m + offsets_m - (rotations @ from_centre_m[:, :, None])[:, :, 0]
    best = int(cost[view, angle].argmin())
    offsets = np.hstack(
        [
            translations_m - translations_m[best],
            Rotation.from_matrix(on_axis @ on_axis[best].T).as_rotvec() @ ray_rotation.T,
        ]
    )
    covariance = (weight[:, None] * offsets).T @ offsets
    sideways_m = MIN_SIGMA_M + HIDDEN_RATIO * views.radius_m * (1 - iou[view[best], angle[best]])
    ahead_m = MIN_SIGMA_M + DEPTH_RMSE_RATIO * depth_rmse_m[view[best], angle[best]]
    covariance[:3, :3] += ray_rotation @ np.diag([sideways_m**2, sideways_m**2, ahead_m**2]) @ ray_rotation.T
    covariance[3:, 3:] += SPACING_RATIO**2 * 4 * np.pi / len(views.rotations) * np.eye(3)
    arm_m = rotations[best] @ views.centre_m
    return CoarsePose(rotations[best], translations_m[best] - arm_m, at_origin(covariance, arm_m), int(view[best]))
