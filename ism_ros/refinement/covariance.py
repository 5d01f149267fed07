"""Covariances of poses: what a view leaves open, what is not known at all, and at which point of the object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SPACING_RATIO = 0.31
"""Standard deviation of the rotation about each axis due to the spacing of the V views, as a ratio of the side of the
square that each covers on the unit sphere: sigma = SPACING_RATIO * sqrt(4 * pi / V) radians, 5 degrees for 162."""
MIN_SIGMA_M = 0.004
"""Least standard deviation of the position along each axis, metres."""
HIDDEN_RATIO = 0.2
"""Standard deviation of the lateral position, in radii of the object, per unit of 1 - IoU of the silhouettes."""
DEPTH_RMSE_RATIO = 0.5
"""Standard deviation of the distance, as a ratio of the depth RMSE."""
UNKNOWN_POSITION_M = 0.05
"""Standard deviation of the position along each axis where only the visible surface is known, metres."""
UNKNOWN_ROTATION_RAD2 = (np.pi**2 / 3 + 2) / 3
"""Variance of the rotation vector about each axis where all rotations are equally likely, square radians."""


def view_covariance(iou: float, depth_rmse_m: float, radius_m: float, views: int, ray_rotation: Array) -> Array:
    """Make the covariance that the best aligned view leaves open.

    Along the viewing ray sigma = MIN_SIGMA_M + DEPTH_RMSE_RATIO * depth_rmse_m, across it
    MIN_SIGMA_M + HIDDEN_RATIO * radius_m * (1 - iou), of the rotation SPACING_RATIO * sqrt(4 * pi / views).

    Args:
        iou: Of the silhouettes.
        depth_rmse_m: RMS difference of depth, metres.
        radius_m: Radius of the object's maps, metres.
        views: Number of views.
        ray_rotation: (3, 3) from the optical axis to the viewing ray.

    Returns:
        (6, 6) of x, y, z (metres) and rotations about x, y, z (radians) of the object's centre, camera frame.
    """
    lateral_m = MIN_SIGMA_M + HIDDEN_RATIO * radius_m * (1 - iou)
    along_ray_m = MIN_SIGMA_M + DEPTH_RMSE_RATIO * depth_rmse_m
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = ray_rotation @ np.diag([lateral_m**2, lateral_m**2, along_ray_m**2]) @ ray_rotation.T
    covariance[3:, 3:] = SPACING_RATIO**2 * 4 * np.pi / views * np.eye(3)
    return covariance


def unknown_covariance() -> Array:
    """Make the covariance of a pose of which only the position of the visible surface is known.

    Returns:
        (6, 6) of x, y, z (metres) and rotations about x, y, z (radians).
    """
    return np.diag([UNKNOWN_POSITION_M**2] * 3 + [UNKNOWN_ROTATION_RAD2] * 3)


def at_origin(covariance: Array, arm_m: Array) -> Array:
    """Transform covariances from the objects' centres to their origins.

    Args:
        covariance: (..., 6, 6) of the centre's position and the object's rotation.
        arm_m: (..., 3) lever arm from the origin to the centre, camera frame, metres.

    Returns:
        (..., 6, 6) of the origin's position and the object's rotation.
    """
    x, y, z = np.moveaxis(arm_m, -1, 0)
    zero = np.zeros_like(x)
    jacobian = np.zeros((*arm_m.shape[:-1], 6, 6)) + np.eye(6)
    crossed = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    jacobian[..., :3, 3:] = np.moveaxis(crossed, (0, 1), (-2, -1))
    return np.asarray(jacobian @ covariance @ np.swapaxes(jacobian, -1, -2))
