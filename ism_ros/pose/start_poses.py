"""Start poses of an object under a mask: its best aligned views, each in its best in-plane rotation.

N masks, V views, K start poses under each mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.pose.alignment import DEPTH_WEIGHT, ObservedMaps
from ism_ros.pose.coarse_pose import IN_PLANE_ROTATIONS
from ism_ros.pose.view_choice import align_chosen_views
from ism_ros.refinement.pose_batch import PoseBatch
from ism_ros.rendering.views.polar_maps import FourierMaps, ViewMaps

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

    def batch(self, masks: Tensor, object_index: int) -> PoseBatch:
        """Put them in one batch.

        Args:
            masks: (N,) int64, the masks that they are under.
            object_index: The object that they are of.

        Returns:
            Those that there are.
        """
        valid = self.cost.isfinite()
        view = self.view[valid]
        return PoseBatch(
            self.rotation[valid],
            self.centre_m[valid],
            masks[:, None].expand_as(valid)[valid],
            torch.full_like(view, object_index),
            view,
            self.cost[valid],
        )


def start_poses(
    observed: ObservedMaps,
    ranking: Tensor,
    views: ViewMaps,
    spectra: FourierMaps,
    count: int,
    aligned: int,
    depth_weight: float = DEPTH_WEIGHT,
) -> StartPoses:
    """Take the best aligned views that differ by MIN_DIFFERENCE_RAD at least.

    Args:
        observed: What is observed under N masks.
        ranking: (N, V) of `rank_views`.
        views: Of the object.
        spectra: Fourier coefficients of `views`, on the device of `observed`.
        count: Most poses under a mask, K.
        aligned: Views, those that rank first, of which they are chosen.
        depth_weight: As of `rank_views`.

    Returns:
        The poses.
    """
    device = ranking.device
    view = ranking.topk(min(aligned, ranking.shape[1]), dim=1, largest=False).indices
    of_turns, offsets_m = align_chosen_views(observed, spectra, view, depth_weight)
    cost, turn = of_turns.min(dim=2)
    turns, rotations, from_centre_m = (
        torch.from_numpy(values).float().to(device)
        for values in (IN_PLANE_ROTATIONS, views.rotations, views.centroid_m - views.centre_m)
    )
    rotation = observed.ray_rotation[:, None] @ turns[turn] @ rotations[view]
    centre_m = (
        observed.centroid_m[:, None]
        + observed.ray_rotation[:, None, :, 2] * offsets_m.gather(2, turn[:, :, None])
        - (rotation @ from_centre_m[view][..., None])[..., 0]
    )
    rows, left, chosen = torch.arange(len(cost), device=device), cost, []
    # the trace of a rotation by an angle is 1 + 2 cos(angle)
    most_alike = 1 + 2 * math.cos(MIN_DIFFERENCE_RAD)
    for _ in range(count):
        least, best = left.min(dim=1)
        chosen.append((rotation[rows, best], centre_m[rows, best], view[rows, best], least))
        trace = (rotation * rotation[rows, best][:, None]).sum(dim=(2, 3))
        left = left.masked_fill(trace > most_alike, math.inf)
    return StartPoses(*(torch.stack(parts, dim=1) for parts in zip(*chosen, strict=True)))
