"""Choice of the views of an object that are aligned best with what is observed under masks, at a fifth of the work.

All views are ranked at half the angular resolution: the lower half of the frequencies, every other in-plane rotation.
Only the first few are aligned at the full one. The cost is that of pose.alignment.

N masks, V views of an object, K of them, R rings, A in-plane rotations, F frequencies, T terms of FourierMaps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ism_ros.pose.alignment import COLOR_WEIGHT, DEPTH_WEIGHT, DIAMETER_RADII, ObservedMaps
from ism_ros.rendering.views.polar_maps import (
    ANGLES,
    COARSE_FREQUENCIES,
    FourierMaps,
    angular_dft,
    cell_areas_m2,
    dft_matrices,
    weighted_terms,
)

COARSE_ANGLES = ANGLES // 2
"""In-plane rotations in which views are ranked."""
SUMS = (slice(0, 7), slice(4, 6), slice(4, 5))
"""Terms of FourierMaps that make each of three sums over the cells that mask and view cover: of weighted squared
differences of color and depth, of differences of depth, and of the cells' areas."""


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
        left = _with_imaginary_part(one).permute(5, 0, 2, 1, 4, 3).reshape(COARSE_FREQUENCIES, 2 * one.shape[1], -1)
        products = left @ views[:, terms].flatten(1, 3)
        sums.append((inverse @ products.view(2 * COARSE_FREQUENCIES, -1)).view(COARSE_ANGLES, one.shape[1], -1))
    areas_m2 = _area_m2(observed)[:, None] + spectra.area_m2
    cost = _cost_and_offset(sums, areas_m2, _depth_weight(observed, depth_weight))[0].amin(dim=0)
    return cost.masked_fill(~observed.enough[:, None], torch.inf)


def align_chosen_views(
    observed: ObservedMaps, spectra: FourierMaps, view: Tensor, depth_weight: float = DEPTH_WEIGHT
) -> tuple[Tensor, Tensor]:
    """Align some views at the full resolution.

    Args:
        observed: What is observed under N masks.
        spectra: Of the object's views.
        view: (N, K) int64, the views of each mask.
        depth_weight: As of `rank_views`.

    Returns:
        As of `pose.alignment.ViewAlignment`: costs (N, K, A), and depth offsets (N, K, A), metres.
    """
    queries, of_views = _queries(observed, depth_weight), spectra.by_view[view]  # (N, K, F, T, 2, R)
    inverse = dft_matrices(view.device, queries.dtype)[1]
    sums, first = [], 0
    for terms in SUMS:
        one = queries[first : (first := first + terms.stop - terms.start)]
        left = _with_imaginary_part(one).permute(2, 5, 0, 1, 4, 3).flatten(3)  # (N, F, 2, T * 2 * R)
        products = left @ of_views[:, :, :, terms].flatten(3).permute(0, 2, 3, 1)  # (N, F, 2, K)
        sums.append(products.flatten(1, 2).mT @ inverse)
    areas_m2 = (_area_m2(observed)[:, None] + spectra.area_m2[view])[:, :, None]
    cost, offset_m = _cost_and_offset(sums, areas_m2, _depth_weight(observed, depth_weight))
    return cost.masked_fill(~observed.enough[:, None, None], torch.inf), offset_m


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


def _with_imaginary_part(queries: Tensor) -> Tensor:
    """Put before (T, N, R, 2, F) what gives the real part of products, and minus the imaginary part: (2, T, ...)."""
    cosine, sine = queries.unbind(dim=3)
    return torch.stack([queries, torch.stack([sine, -cosine], dim=3)])


def _cost_and_offset(sums: Sequence[Tensor], areas_m2: Tensor, of_depth: float) -> tuple[Tensor, Tensor]:
    """Cost and depth offset of SUMS, the areas of mask and view together, and the weight of squared depth, in place."""
    squared, offset_m, common = sums
    common = common.clamp_(min=1e-12)
    offset_m = offset_m.div_(common)
    mse = squared.div_(common).addcmul_(offset_m, offset_m, value=-of_depth).clamp_(min=0.0)
    iou = common.div_((areas_m2 - common).clamp_(min=1e-12)).clamp_(max=1.0)
    return mse.sub_(iou).add_(1.0), offset_m
