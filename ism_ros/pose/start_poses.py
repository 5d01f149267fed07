"""Start poses of an object under a mask: its best aligned views, each in its best in-plane rotation.

N masks, V views, K start poses under each mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.pose.alignment import ViewAlignment
from ism_ros.pose.coarse_pose import IN_PLANE_ROTATIONS
from ism_ros.rendering.views.polar_maps import ViewMaps

MIN_DIFFERENCE_RAD = math.radians(25.0)
"""Least angle between two start poses under one mask: nearer ones end in the same pose after refinement."""


@dataclass(frozen=True)
class StartPoses:
    """K poses under each of N masks, the best aligned one first.

    Attributes:
        rotation: (N, K, 3, 3) object-to-camera.
        centre_m: (N, K, 3) position of the model's centre in the camera frame, metres.
        view: (N, K) int64, the view that each is from.
        cost: (N, K) alignment cost; +inf where there is no such pose.
    """

    rotation: Tensor
    centre_m: Tensor
    view: Tensor
    cost: Tensor


def start_poses(alignment: ViewAlignment, views: ViewMaps, count: int) -> StartPoses:
    """Take the best aligned views that differ by MIN_DIFFERENCE_RAD at least.

    Args:
        alignment: Of `views` with N masks.
        views: Of the object.
        count: Most poses under a mask, K.

    Returns:
        The poses.
    """
    device = alignment.cost.device
    cost, angle = alignment.cost.min(dim=2)
    turns = torch.from_numpy(IN_PLANE_ROTATIONS).float().to(device)
    rotation = alignment.ray_rotation[:, None] @ turns[angle] @ torch.from_numpy(views.rotations).float().to(device)
    offset_m = alignment.depth_offset_m.gather(2, angle[:, :, None])
    from_centre_m = torch.from_numpy(views.centroid_m - views.centre_m).float().to(device)
    centre_m = (
        alignment.centroid_m[:, None]
        + alignment.ray_rotation[:, None, :, 2] * offset_m
        - (rotation @ from_centre_m[:, :, None])[..., 0]
    )
    rows, left, chosen = torch.arange(len(cost), device=device), cost, []
    # the trace of a rotation by an angle is 1 + 2 cos(angle)
    most_alike = 1 + 2 * math.cos(MIN_DIFFERENCE_RAD)
    for _ in range(count):
        least, view = left.min(dim=1)
        chosen.append((rotation[rows, view], centre_m[rows, view], view, least))
        trace = (rotation * rotation[rows, view][:, None]).sum(dim=(2, 3))
        left = left.masked_fill(trace > most_alike, math.inf)
    return StartPoses(*(torch.stack(parts, dim=1) for parts in zip(*chosen, strict=True)))
