"""Coarse poses: the best aligned view and in-plane rotation of a detection, with a covariance.

The covariance spans all views and rotations that are aligned nearly as well.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ism_ros.pose.alignment import ViewAlignment
from ism_ros.refinement.covariance import at_origin, view_covariance
from ism_ros.rendering.views.polar_maps import ANGLES, ViewMaps

Array = NDArray[np.float64]

IN_PLANE_ROTATIONS = Rotation.from_rotvec(np.outer(range(ANGLES), [0.0, 0.0, 2 * np.pi / ANGLES])).as_matrix()
"""Rotations about the optical axis, (A, 3, 3)."""
TEMPERATURE = 0.05
"""Difference of cost at which a view and rotation weighs 1/e as much in the covariance."""
MAX_TEMPERATURES = 5.0
"""Difference of cost, in temperatures, from which on a view and rotation is left out of the covariance."""


@dataclass(frozen=True)
class CoarsePose:
    """The pose of one detection.

    Attributes:
        rotation: (3, 3) object-to-camera.
        translation_m: (3,) position of the CAD model's own origin in the camera frame, metres.
        covariance: (6, 6) of x, y, z (metres) and rotations about x, y, z (radians) in the camera frame.
        view: Index of the view that the pose is from.
    """

    rotation: Array
    translation_m: Array
    covariance: Array
    view: int


def coarse_poses(alignment: ViewAlignment, views: ViewMaps) -> list[CoarsePose | None]:
    """Take the pose under each mask from the best aligned view.

    Args:
        alignment: Alignment of `views` with N masks.
        views: Polar maps of the object's views.

    Returns:
        N poses; None where too little was observed.
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


def _pose(
    cost: Array,
    iou: Array,
    depth_offset_m: Array,
    depth_rmse_m: Array,
    centroid_m: Array,
    ray_rotation: Array,
    views: ViewMaps,
) -> CoarsePose:
    """Make a pose from the best view and rotation, with a covariance of all others.

    Each weighs exp(-cost / TEMPERATURE) in the covariance. The arrays are one row of those of a ViewAlignment.
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
    chosen = view[best], angle[best]
    covariance += view_covariance(iou[chosen], depth_rmse_m[chosen], views.radius_m, len(views.rotations), ray_rotation)
    arm_m = rotations[best] @ views.centre_m
    return CoarsePose(rotations[best], translations_m[best] - arm_m, at_origin(covariance, arm_m), int(view[best]))
