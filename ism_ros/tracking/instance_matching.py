"""Which detection of the search is which instance, as the instances were when the searched frame was taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from ism_ros.tracking.followed_instance import FollowedInstance
from ism_ros.tracking.motion_model import Motion

SAME_PLACE = 0.8
"""Distance of a detection from a followed instance, in radii of the object, up to which it is that instance."""
NEAR_M = 0.15
"""Distance from where a lost instance is supposed to be, metres, within which it is found again at once."""
UNASSIGNED_S = 0.3
"""How long an instance is lost, seconds, before one of its object that appears anywhere is taken for it."""


def match_detections(
    instances: Sequence[FollowedInstance],
    names: Sequence[str],
    found: Sequence[Motion],
    radii_m: Sequence[float],
    stamp_ns: int,
    now_ns: int,
) -> dict[int, int]:
    """Match detections with instances.

    Followed instances take what is in their place, lost ones what is near, or, after UNASSIGNED_S, anywhere.

    Args:
        instances: Followed and lost ones.
        names: D class ids of the detections.
        found: Their D poses.
        radii_m: D radii of their objects, metres.
        stamp_ns: Stamp of their frame.
        now_ns: Stamp of the newest frame.

    Returns:
        Index of the instance by index of the detection, of those that have one.
    """
    affinity = np.zeros((len(instances), len(names)))
    for row, one in enumerate(instances):
        at = one.at(stamp_ns)
        for column, (name, motion, radius_m) in enumerate(zip(names, found, radii_m, strict=True)):
            if name == one.class_id:
                distance_m = float(np.linalg.norm(at.centre_m - motion.centre_m))
                affinity[row, column] = _affinity(one, distance_m, radius_m, stamp_ns)
    rows, columns = linear_sum_assignment(affinity, maximize=True)
    return {int(c): int(r) for r, c in zip(rows, columns, strict=True) if affinity[r, c] > 0}


def _affinity(one: FollowedInstance, distance_m: float, radius_m: float, stamp_ns: int) -> float:
    if one.state != "lost":
        # it was elsewhere when the frame was taken: followed ones are where they are
        return 10.0 + 10.0 * (1 - distance_m / (SAME_PLACE * radius_m)) if distance_m < SAME_PLACE * radius_m else 0.0
    if distance_m < NEAR_M:
        return 1.0 + (1 - distance_m / NEAR_M)
    is_free = stamp_ns - one.seen_ns > UNASSIGNED_S * 1e9
    return 0.5 / (1 + distance_m) if is_free else 0.0
