"""Alignment of rendered views with the points observed under masks, in metres, for all views and in-plane rotations.

N masks, P points sampled under each, V views of an object, R rings, A angles, F frequencies (rendering.polar_maps).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ism_ros.pose import torch_alignment
from ism_ros.pose.observed_points import ObservedPoints
from ism_ros.refinement.pose_batch import joined
from ism_ros.rendering.views.polar_maps import (
    ANGLES,
    FREQUENCIES,
    FourierMaps,
    ViewMaps,
    angular_dft,
    cell_areas_m2,
    dft_matrices,
    weighted_terms,
)

DEPTH_WEIGHT, COLOR_WEIGHT = 20.0, 0.3
"""Weights of the mean squared differences of depth (relative to the object's size, `relative_depth_mse`) and of color
in the cost, relative to 1 - IoU."""
DIAMETER_RADII = 1.6
"""Diameter of an object, to which differences of depth are relative, in radii of its maps."""
MASKS_PER_BATCH = 256
"""Masks that are aligned with the views of an object at once, which takes some 100 MB."""


@dataclass(frozen=True)
class ViewAlignment:
    """Alignment of each view in each in-plane rotation with what was observed under each mask.

    Attributes:
        cost: (N, V, A) float32 alignment cost (`correlate_maps`); +inf where too little was seen.
        iou: (N, V, A) IoU of the silhouettes.
        depth_offset_m: (N, V, A) mean of observed depth minus depth of the view, metres.
        depth_rmse_m: (N, V, A) RMS difference of depth after that offset, metres.
        centroid_m: (N, 3) centroid of the observed surface, camera frame, metres.
        ray_rotation: (N, 3, 3) rotation from the optical axis to the viewing ray through the centroid (allocentric to
            egocentric).
    """

    cost: Tensor
    iou: Tensor
    depth_offset_m: Tensor
    depth_rmse_m: Tensor
    centroid_m: Tensor
    ray_rotation: Tensor

    def __getitem__(self, rows: Tensor) -> ViewAlignment:
        """Return the alignment with the masks at `rows`."""
        return ViewAlignment(*(getattr(self, field.name)[rows] for field in fields(self)))

    def with_prior(self, prior: Tensor) -> ViewAlignment:
        """Subtract a prior of each view from the cost.

        Args:
            prior: (N, V); 1.0 outweighs silhouettes that do not overlap at all.

        Returns:
            The alignment with the lower cost.
        """
        return replace(self, cost=self.cost - prior[:, :, None])

    def best(self, prior: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the best view in its best in-plane rotation.

        Args:
            prior: (N, V), as of `with_prior`.

        Returns:
            Cost without the prior (N,), depth RMSE in metres (N,), and index of the view (N,) int64, at the minimum
            over views and in-plane rotations of the cost with the prior.
        """
        index = self.with_prior(prior).cost.flatten(1).argmin(dim=1, keepdim=True)
        cost, depth_rmse_m = (values.flatten(1).gather(1, index)[:, 0] for values in (self.cost, self.depth_rmse_m))
        return cost, depth_rmse_m, index[:, 0] // ANGLES


@dataclass(frozen=True)
class ObjectAlignments:
    """Alignments of several objects with the masks of one frame.

    Attributes:
        by_object: By the index of the object: the masks it was aligned with, (K,) int64 ascending, and the alignment.
    """

    by_object: Mapping[int, tuple[Tensor, ViewAlignment]]

    def __contains__(self, object_index: int) -> bool:
        """Whether an object was aligned with any mask."""
        return object_index in self.by_object

    def of(self, object_index: int, masks: Tensor) -> ViewAlignment:
        """Return the alignment of one object with some masks.

        Args:
            object_index: Index of the object.
            masks: (M,) int64, some of the masks that it was aligned with.

        Returns:
            The alignment with the M masks.
        """
        aligned, alignment = self.by_object[object_index]
        return alignment[torch.searchsorted(aligned, masks)]


def align_views(observed: ObservedPoints, views: ViewMaps, spectra: FourierMaps) -> ViewAlignment:
    """Align every view of one object, in every in-plane rotation, with what is observed under each mask.

    Args:
        observed: Points under N masks.
        views: Polar maps of the object's views.
        spectra: Fourier coefficients of `views`, on the device of `observed`.

    Returns:
        The alignment.
    """
    batches = [
        _align_batch(observed[first : first + MASKS_PER_BATCH], views, spectra)
        for first in range(0, max(len(observed.points_m), 1), MASKS_PER_BATCH)
    ]
    if len(batches) == 1:
        return batches[0]
    return joined(batches)


def _align_batch(observed: ObservedPoints, views: ViewMaps, spectra: FourierMaps) -> ViewAlignment:
    seen = torch_alignment.observed_maps(observed, views.radius_m)
    alignment = correlate_maps(seen.maps, spectra, views.radius_m, ~seen.enough)
    return replace(alignment, centroid_m=seen.centroid_m, ray_rotation=seen.ray_rotation)


def correlate_maps(maps: Tensor, views: FourierMaps, radius_m: float, invalid: Tensor | None = None) -> ViewAlignment:
    """Correlate polar maps with those of all views over all in-plane rotations (circular cross-correlation).

    With means over the cells that both cover, d = depth under the mask - depth of the view:

        iou = common area / (area of the mask + area of the view - common area)
        depth_offset = mean(d);  depth_rmse^2 = mean(d^2) - mean(d)^2
        cost = 1 - iou + DEPTH_WEIGHT * depth_rmse^2 / diameter^2 + COLOR_WEIGHT * mean squared color difference

    Args:
        maps: (N, 5, R, A) polar maps of what is observed under the masks.
        views: Fourier coefficients of the maps of the object's views.
        radius_m: Radius of the outermost ring of both, metres.
        invalid: (N,) bool, rows whose cost becomes +inf.

    Returns:
        The alignment, whose `centroid_m` and `ray_rotation` are 0.
    """
    weight = maps[:, 0] * cell_areas_m2(radius_m, maps)
    squared, red, green, blue, ones, depth, depth_squared = angular_dft(weighted_terms(maps, weight)).unbind(dim=0)

    common = _cross_correlate([ones], views.coverage_term)
    safe_common = common.clamp(min=1e-12)
    areas = weight.sum(dim=(1, 2))[:, None] + views.area_m2
    iou = (common / (areas[:, :, None] - common).clamp(min=1e-12)).clamp(0.0, 1.0)
    offset = _cross_correlate([depth, -ones], views.depth_terms) / safe_common
    depth_mse = _cross_correlate([depth_squared, -2 * depth, ones], views.squared_depth_terms) / safe_common - offset**2
    color_mse = _cross_correlate([ones, -2 * red, -2 * green, -2 * blue, squared], views.color_terms) / safe_common
    depth_mse = depth_mse.clamp(min=0.0)
    cost = 1 - iou + DEPTH_WEIGHT * relative_depth_mse(depth_mse, radius_m) + COLOR_WEIGHT * color_mse.clamp(min=0.0)
    if invalid is not None:
        cost = cost.masked_fill(invalid[:, None, None], torch.inf)
    zeros = maps.new_zeros(len(maps), 3)
    return ViewAlignment(cost, iou, offset, depth_mse.sqrt(), zeros, zeros[:, :, None].expand(-1, -1, 3))


def relative_depth_mse(depth_mse_m2: Tensor, radius_m: float) -> Tensor:
    """Divide mean squared differences of depth by the square of the object's diameter.

    Args:
        depth_mse_m2: Mean squared differences, square metres, of any shape.
        radius_m: Radius of the object's polar maps, metres; the diameter is DIAMETER_RADII times that.

    Returns:
        Relative differences, of the same shape.
    """
    return depth_mse_m2 / (DIAMETER_RADII * radius_m) ** 2


def _cross_correlate(queries: list[Tensor], views: Tensor) -> Tensor:
    """Sum products of maps over all cells for each circular shift of the views, and over K pairs of terms.

    By products of matrices: for so few angles they are faster than FFTs, and all sums are one product.

    Args:
        queries: K of (N, R, 2, F).
        views: (F, K, 2, R, V).

    Returns:
        (N, V, A).
    """
    count, view_count = len(queries[0]), views.shape[-1]
    cosine, sine = torch.stack(queries).unbind(dim=3)
    # of the product of the query's spectrum with the conjugate of the view's: real part, and minus the imaginary part
    parts = torch.stack([cosine, sine, sine, -cosine]).unflatten(0, (2, 2))
    left = parts.permute(5, 0, 3, 2, 1, 4).reshape(FREQUENCIES, 2 * count, -1)
    products = left @ views.flatten(1, 3)
    inverse = dft_matrices(views.device, views.dtype)[1]
    return (products.view(-1, count * view_count).mT @ inverse).view(count, view_count, ANGLES)
