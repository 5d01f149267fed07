"""Choice of the views of an object that are aligned best with what is observed under masks, at a fifth of the work.

All views are ranked at half the angular resolution: the lower half of the frequencies, every other in-plane rotation.
Only the first few are aligned at the full one. The cost is that of pose.alignment.

N masks, V views of an object, K of them, R rings, A in-plane rotations, F frequencies, T terms of FourierMaps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.pose import compiled_alignment, torch_alignment
from ism_ros.pose.alignment import COLOR_WEIGHT, DEPTH_WEIGHT, DIAMETER_RADII
from ism_ros.pose.observed_points import ObservedMaps, ObservedPoints
from ism_ros.pose.torch_alignment import SUMS, cost_and_offset, with_imaginary_part
from ism_ros.rendering.views.polar_maps import (
    ANGLES,
    COARSE_FREQUENCIES,
    FourierMaps,
    angular_dft,
    cell_areas_m2,
    dft_matrices,
    weighted_terms,
)
from ism_ros.runtime.compilation import is_compiled_for

COARSE_ANGLES = ANGLES // 2
"""In-plane rotations in which views are ranked."""


@dataclass(frozen=True)
class ChosenViews:
    """K views of each of N masks, each in its best in-plane rotation.

    Attributes:
        view: (N, K) int64.
        cost: (N, K) alignment cost; +inf where too little was seen.
        turn: (N, K) int64, the in-plane rotation, one of `coarse_pose.IN_PLANE_ROTATIONS`.
        offset_m: (N, K) mean of observed depth minus depth of the view, metres.
    """

    view: Tensor
    cost: Tensor
    turn: Tensor
    offset_m: Tensor


def observed_maps(observed: ObservedPoints, radius_m: float) -> ObservedMaps:
    """Make polar maps of what is observed under masks.

    Args:
        observed: Points under N masks.
        radius_m: Of the maps of the object's views, metres.

    Returns:
        The maps.
    """
    by = compiled_alignment if is_compiled_for(observed.points_m) else torch_alignment
    return by.observed_maps(observed, radius_m)


def rank_views(observed: ObservedMaps, spectra: FourierMaps, depth_weight: float = DEPTH_WEIGHT) -> Tensor:
    """Compute the cost of all views at half the angular resolution.

    Args:
        observed: What is observed under N masks.
        spectra: Of the object's views.
        depth_weight: Weight of differences of depth in the cost; 0 where there is no depth.

    Returns:
        (N, V) cost in the best in-plane rotation; +inf where too little was seen.
    """
    queries, views = _queries(observed, depth_weight), spectra.coefficients[:COARSE_FREQUENCIES]
    queries = queries[..., :COARSE_FREQUENCIES]
    inverse = dft_matrices(views.device, views.dtype)[1].view(-1, 2, ANGLES)
    inverse = inverse[:COARSE_FREQUENCIES, :, :: ANGLES // COARSE_ANGLES].flatten(0, 1).mT.contiguous()
    sums, first = [], 0
    for terms in SUMS:
        one = queries[first : (first := first + terms.stop - terms.start)]
        left = with_imaginary_part(one).permute(5, 0, 2, 1, 4, 3).reshape(COARSE_FREQUENCIES, 2 * one.shape[1], -1)
        products = left @ views[:, terms].flatten(1, 3)
        sums.append((inverse @ products.view(2 * COARSE_FREQUENCIES, -1)).view(COARSE_ANGLES, one.shape[1], -1))
    areas_m2 = _area_m2(observed)[:, None] + spectra.area_m2
    cost = cost_and_offset(sums, areas_m2, _depth_weight(observed, depth_weight))[0].amin(dim=0)
    return cost.masked_fill(~observed.enough[:, None], torch.inf)


def align_chosen_views(
    observed: ObservedMaps, spectra: FourierMaps, view: Tensor, depth_weight: float = DEPTH_WEIGHT
) -> ChosenViews:
    """Align some views at the full resolution.

    Args:
        observed: What is observed under N masks.
        spectra: Of the object's views.
        view: (N, K) int64, the views of each mask.
        depth_weight: As of `rank_views`.

    Returns:
        Each in its best in-plane rotation.
    """
    queries, of_depth = _queries(observed, depth_weight), _depth_weight(observed, depth_weight)
    inverse = dft_matrices(view.device, queries.dtype)[1]
    by = compiled_alignment if is_compiled_for(view) else torch_alignment
    cost, turn, offset_m = by.align(queries, spectra, view, inverse, _area_m2(observed), of_depth)
    return ChosenViews(view, cost.masked_fill(~observed.enough[:, None], torch.inf), turn, offset_m)


def _area_m2(observed: ObservedMaps) -> Tensor:
    """Covered areas (N,), square metres."""
    return (observed.maps[:, 0] * cell_areas_m2(observed.radius_m, observed.maps)).sum(dim=(1, 2))


def _queries(observed: ObservedMaps, depth_weight: float) -> Tensor:
    """Spectra (T of all SUMS, N, R, 2, F) that those of views are multiplied with."""
    weight = observed.maps[:, 0] * cell_areas_m2(observed.radius_m, observed.maps)
    terms = angular_dft(weighted_terms(observed.maps, weight))
    squared, red, green, blue, ones, depth, depth_squared = terms.unbind(dim=0)
    of_depth = _depth_weight(observed, depth_weight)
    color = [COLOR_WEIGHT * ones, *(-2 * COLOR_WEIGHT * channel for channel in (red, green, blue))]
    both = [COLOR_WEIGHT * squared + of_depth * depth_squared, -2 * of_depth * depth, of_depth * ones]
    return torch.stack([*color, *both, depth, -ones, ones])


def _depth_weight(observed: ObservedMaps, depth_weight: float) -> float:
    """Weight of squared differences of depth in metres, of one that is relative to the object's diameter."""
    return depth_weight / (DIAMETER_RADII * observed.radius_m) ** 2
