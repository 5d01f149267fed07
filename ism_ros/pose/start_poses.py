"""Start poses of an object under a mask: its best aligned views, each in its best in-plane rotation.

N masks, V views, K start poses under each mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ism_ros.pose import compiled_alignment, torch_alignment
from ism_ros.pose.alignment import DEPTH_WEIGHT
from ism_ros.pose.coarse_pose import IN_PLANE_ROTATIONS
from ism_ros.pose.observed_points import ObservedMaps, ObservedPoints
from ism_ros.pose.view_choice import align_chosen_views, observed_maps, rank_views
from ism_ros.refinement.pose_batch import PoseBatch
from ism_ros.rendering.views.polar_maps import ANGLES, RINGS, FourierMaps, ViewMaps, fourier_maps
from ism_ros.runtime.compilation import is_compiled_for

MIN_DIFFERENCE_RAD = math.radians(25.0)
"""Least angle between two start poses under one mask: nearer ones end in the same pose after refinement."""
MOST_ALIKE = 1 + 2 * math.cos(MIN_DIFFERENCE_RAD)
"""Trace of the rotation between two such poses: that by an angle has 1 + 2 cos(angle)."""


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
    view = ranking.topk(min(aligned, ranking.shape[1]), dim=1, largest=False).indices
    chosen = align_chosen_views(observed, spectra, view, depth_weight)
    by = compiled_alignment if is_compiled_for(ranking) else torch_alignment
    inputs = chosen.view, chosen.cost, chosen.turn, chosen.offset_m
    return StartPoses(*by.choose_starts(observed, inputs, _poses_of_views(views), count, MOST_ALIKE))


def _poses_of_views(views: ViewMaps) -> tuple[Tensor, ...]:
    """In-plane rotations, rotations of the views, and the means of their surfaces relative to the model's centre."""
    poses = IN_PLANE_ROTATIONS, views.rotations, views.centroid_m - views.centre_m
    return tuple(torch.from_numpy(np.ascontiguousarray(of, np.float32)) for of in poses)


def compile_loops() -> None:
    """Have the loops ready that the CPU takes start poses by."""
    maps = torch.zeros(1, 5, RINGS, ANGLES)
    spectra = fourier_maps(maps, 1.0)
    views = ViewMaps(maps.half().numpy(), np.zeros((1, 3)), 1.0, np.eye(3)[None], 1)
    vector = torch.zeros(1, 3, 1)
    seen = observed_maps(ObservedPoints(vector, vector, vector[:, 0], vector[:, :, 0], 1.0), views.radius_m)
    start_poses(seen, rank_views(seen, spectra), views, spectra, count=1, aligned=1)
