"""Alignment by operations of PyTorch, on any device (compiled_alignment does the same several times faster on a CPU).

N masks, P points sampled under each, K views chosen for each, R rings, A in-plane rotations, F frequencies, S start
poses, T terms of FourierMaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ism_ros.pose.observed_points import MIN_PIXELS, ObservedMaps, ObservedPoints
from ism_ros.rendering.views.polar_maps import FourierMaps, polar_maps

SUMS = (slice(0, 7), slice(4, 6), slice(4, 5))
"""Terms of FourierMaps that make each of three sums over the cells that mask and view cover: of weighted squared
differences of color and depth, of differences of depth, and of the cells' areas."""


def observed_maps(observed: ObservedPoints, radius_m: float) -> ObservedMaps:
    """Make polar maps of what is observed under masks.

    Args:
        observed: Points under N masks.
        radius_m: Of the maps of the object's views, metres.

    Returns:
        The maps.
    """
    points_m = observed.points_m
    # what lies further away than the object's radius is the ground around it, or a reading between the two
    near = (points_m - observed.median_m[:, :, None]).square().sum(dim=1) < radius_m**2
    pixels = observed.pixels * near
    enough = pixels.sum(dim=1) >= MIN_PIXELS
    area_m2 = pixels * (observed.pixel_m * points_m[:, 2]).square()
    total_m2 = area_m2.sum(dim=1, keepdim=True).clamp(min=1e-12)
    centroid_m = (points_m * area_m2[:, None]).sum(dim=2) / total_m2
    ahead = centroid_m.new_tensor([0.0, 0.0, 1.0])
    ray_rotation = _rotation_from_optical_axis(centroid_m.where(enough[:, None], ahead))
    # views are rendered along the optical axis: rotate the points so that the ray to the object is that axis
    maps = polar_maps(ray_rotation.mT @ (points_m - centroid_m[:, :, None]), observed.colors, area_m2, radius_m)
    return ObservedMaps(maps, centroid_m, ray_rotation, enough, radius_m)


def _rotation_from_optical_axis(towards: Tensor) -> Tensor:
    """Compute the smallest rotations (N, 3, 3) from the z axis to each direction (N, 3), which must have z > 0."""
    x, y, z = torch.nn.functional.normalize(towards, dim=1).unbind(dim=1)
    s = 1 / (1 + z)
    rows = [1 - s * x * x, -s * x * y, x, -s * x * y, 1 - s * y * y, y, -x, -y, z]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def align(
    queries: Tensor, spectra: FourierMaps, view: Tensor, inverse: Tensor, areas_m2: Tensor, of_depth: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Align chosen views in all in-plane rotations.

    Args:
        queries: (10, N, R, 2, F) spectra of the masks for the terms of all SUMS.
        spectra: Of the object's views.
        view: (N, K) int64, the views of each mask.
        inverse: (2F, A) transform back to in-plane rotations.
        areas_m2: (N,) covered areas of the masks, square metres.
        of_depth: Weight of squared depth, 1 / square metres.

    Returns:
        Cost (N, K) in the best in-plane rotation, this rotation (N, K) int64, and its depth offset (N, K), metres.
    """
    of_views = spectra.by_view[view]  # (N, K, F, T, 2, R)
    sums, first = [], 0
    for terms in SUMS:
        one = queries[first : (first := first + terms.stop - terms.start)]
        left = with_imaginary_part(one).permute(2, 5, 0, 1, 4, 3).flatten(3)  # (N, F, 2, T * 2 * R)
        products = left @ of_views[:, :, :, terms].flatten(3).permute(0, 2, 3, 1)  # (N, F, 2, K)
        sums.append(products.flatten(1, 2).mT @ inverse)
    both_m2 = (areas_m2[:, None] + spectra.area_m2[view])[:, :, None]
    of_turns, offsets_m = cost_and_offset(sums, both_m2, of_depth)
    cost, turn = of_turns.min(dim=2)
    return cost, turn, offsets_m.gather(2, turn[:, :, None])[:, :, 0]


def with_imaginary_part(queries: Tensor) -> Tensor:
    """Put before (T, N, R, 2, F) what gives the real part of products, and minus the imaginary part: (2, T, ...)."""
    cosine, sine = queries.unbind(dim=3)
    return torch.stack([queries, torch.stack([sine, -cosine], dim=3)])


def cost_and_offset(sums: Sequence[Tensor], areas_m2: Tensor, of_depth: float) -> tuple[Tensor, Tensor]:
    """Compute the alignment cost, in the memory of the sums.

    Args:
        sums: SUMS, of equal shapes, that are overwritten.
        areas_m2: Areas of mask and view together, square metres.
        of_depth: Weight of squared depth, 1 / square metres.

    Returns:
        Cost and depth offset, metres.
    """
    squared, offset_m, common = sums
    common = common.clamp_(min=1e-12)
    offset_m = offset_m.div_(common)
    mse = squared.div_(common).addcmul_(offset_m, offset_m, value=-of_depth).clamp_(min=0.0)
    iou = common.div_((areas_m2 - common).clamp_(min=1e-12)).clamp_(max=1.0)
    return mse.sub_(iou).add_(1.0), offset_m


def choose_starts(
    observed: ObservedMaps, chosen: Sequence[Tensor], view_poses: Sequence[Tensor], count: int, most_alike: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose the best aligned views that differ from each other.

    Args:
        observed: What is observed under N masks.
        chosen: Views (N, K) int64, and of each its cost, in-plane rotation and depth offset, as of `align`.
        view_poses: In-plane rotations (A, 3, 3), rotations (V, 3, 3) of the views, object-to-camera, and the means
            (V, 3) of their surfaces relative to the model's centre, object axes, metres; float32.
        count: Start poses, S.
        most_alike: Trace of the rotation between two poses above which they are the same.

    Returns:
        Rotations (N, S, 3, 3) and centres (N, S, 3), metres, views (N, S) and costs (N, S); +inf = there are no more.
    """
    view, left, turn, offset_m = chosen
    turns, rotations, from_centre_m = (values.to(view.device) for values in view_poses)
    rotation = observed.ray_rotation[:, None] @ turns[turn] @ rotations[view]
    centre_m = (
        observed.centroid_m[:, None]
        + observed.ray_rotation[:, None, :, 2] * offset_m[:, :, None]
        - (rotation @ from_centre_m[view][..., None])[..., 0]
    )
    rows, poses = torch.arange(len(view), device=view.device), []
    for _ in range(count):
        cost, best = left.min(dim=1)
        poses.append((rotation[rows, best], centre_m[rows, best], view[rows, best], cost))
        trace = (rotation * rotation[rows, best][:, None]).sum(dim=(2, 3))
        left = left.masked_fill(trace > most_alike, math.inf)
    of_rotation, of_centre_m, of_view, of_cost = (torch.stack(parts, dim=1) for parts in zip(*poses, strict=True))
    return of_rotation, of_centre_m, of_view, of_cost
