"""Alignment by compiled loops, several times faster on a CPU than operations of PyTorch (torch_alignment).

Loops hold no lock of Python, so that several threads may each do some objects.

N masks, K views chosen for each, R rings, A in-plane rotations, F frequencies, S start poses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ism_ros.pose import alignment_loops
from ism_ros.pose.alignment_loops import NONE, Alignments, Observed, Starts, Views
from ism_ros.pose.map_loops import Maps, Points, fill_maps
from ism_ros.pose.observed_points import MIN_PIXELS, ObservedMaps, ObservedPoints
from ism_ros.pose.torch_alignment import with_imaginary_part
from ism_ros.rendering.views.polar_maps import ANGLES, CELLS, RINGS, FourierMaps, cell_areas_m2


def observed_maps(observed: ObservedPoints, radius_m: float) -> ObservedMaps:
    """Make polar maps of what is observed under masks.

    Args:
        observed: Points under N masks, on the CPU.
        radius_m: Of the maps of the object's views, metres.

    Returns:
        The maps.
    """
    count, area_m2 = len(observed.points_m), cell_areas_m2(radius_m, observed.points_m).expand(-1, ANGLES).flatten()
    seen = Maps(
        np.zeros((count, 5, CELLS), np.float32),
        np.empty((count, 3), np.float32),
        np.empty((count, 3, 3), np.float32),
        np.empty(count, np.float32),
    )
    of_points = observed.points_m, observed.colors, observed.pixels, observed.median_m
    points_m, colors, pixels, median_m = (of.contiguous().numpy() for of in of_points)
    points = Points(points_m, colors, pixels, median_m, np.float32(observed.pixel_m))
    fill_maps(points, np.float32(radius_m), area_m2.numpy(), seen)
    maps, centroid_m, ray_rotation, counted = (torch.from_numpy(of) for of in seen)
    enough = counted >= MIN_PIXELS
    return ObservedMaps(maps.unflatten(2, (RINGS, ANGLES)), centroid_m, ray_rotation, enough, radius_m)


def align(
    queries: Tensor, spectra: FourierMaps, view: Tensor, inverse: Tensor, areas_m2: Tensor, of_depth: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Align chosen views in all in-plane rotations.

    Args:
        queries: As of torch_alignment, on the CPU.
        spectra: Of the object's views.
        view: (N, K) int64, the views of each mask.
        inverse: As of torch_alignment.
        areas_m2: (N,) covered areas of the masks, square metres.
        of_depth: Weight of squared depth, 1 / square metres.

    Returns:
        As of torch_alignment.
    """
    left = with_imaginary_part(queries).permute(2, 5, 0, 1, 4, 3).flatten(3).contiguous()
    best = Alignments(
        np.empty(view.shape, np.float32), np.empty(view.shape, np.int64), np.empty(view.shape, np.float32)
    )
    areas = areas_m2.numpy(), spectra.area_m2.numpy()
    inputs = left.numpy(), spectra.by_view.flatten(2).numpy(), view.contiguous().numpy(), inverse.numpy()
    alignment_loops.align(*inputs, areas, np.float32(of_depth), best)
    cost, turn, offset_m = (torch.from_numpy(of) for of in best)
    return cost, turn, offset_m


def choose_starts(
    observed: ObservedMaps, chosen: Sequence[Tensor], view_poses: Sequence[Tensor], count: int, most_alike: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose the best aligned views that differ from each other.

    Args:
        observed: What is observed under N masks, on the CPU.
        chosen: As of torch_alignment.
        view_poses: As of torch_alignment.
        count: Start poses, S.
        most_alike: Trace of the rotation between two poses above which they are the same.

    Returns:
        As of torch_alignment.
    """
    view, cost, turn, offset_m = chosen
    size = len(view), count
    starts = Starts(
        np.empty((*size, 3, 3), np.float32),
        np.empty((*size, 3), np.float32),
        np.empty(size, np.int64),
        np.empty(size, np.float32),
    )
    best = Alignments(*(of.numpy() for of in (cost.clamp(max=float(NONE)), turn, offset_m)))
    where = Observed(*(of.contiguous().numpy() for of in (observed.centroid_m, observed.ray_rotation)))
    of_views = Views(*(of.numpy() for of in view_poses))
    alignment_loops.choose_starts(best, view.contiguous().numpy(), where, of_views, np.float32(most_alike), starts)
    rotation, centre_m, of_view, of_cost = (torch.from_numpy(of) for of in starts)
    return rotation, centre_m, of_view, of_cost.masked_fill(of_cost >= float(NONE), math.inf)
