"""The second look at a frame: what was not found is searched by size and shape, where the segmentor saw nothing.

For each object that is missing, regions as large as it (sized_regions) are compared with its views by shape; the best
few are described, matched and verified as proposals are. A ball does not cut as the object ends: what lies in the boxes
of the best poses is verified once more, and that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.detections import Detections, joined_detections
from ism_ros.data.proposals import Proposals
from ism_ros.descriptors.base import Descriptor, Descriptors
from ism_ros.matching.base import MATCHERS
from ism_ros.matching.selection import ScoredProposals, select
from ism_ros.objects.known_object import KnownObject
from ism_ros.pose.observed_points import ObservedPoints
from ism_ros.pose.view_choice import observed_maps, rank_views
from ism_ros.query import ProposalCrops, Query, crop_proposals
from ism_ros.rendering.views.polar_maps import FourierMaps
from ism_ros.segmentors.small_proposals import split_small
from ism_ros.shape_search.sized_regions import Regions, SurfaceGrid
from ism_ros.verification.pair_choice import ObservedExtents, can_be_verified

Floats = NDArray[np.float64]

MAX_MISSING = 3
"""Most objects that are searched: where more are missing, most of them are known but not there, and would be taken for
what is like them."""
MAX_COMPARED, PLACES = 256, 10
"""Most regions of each object whose views are compared, those that fit best in size, and that are verified."""
DISTINCT_IOU, PROPOSED_IOU = 0.7, 0.8
"""IoU of two regions of an object from which on the worse one is left out, and that of a region and a proposal from
which on the region is nothing new."""
CUT_WEIGHT = 0.4
"""Weight of the share of a region's outline at which its surface goes on, beside the cost of the alignment."""
AREA_WEIGHT, AREA_QUANTILES = 0.3, (0.05, 0.95)
"""Weight of the logarithm of how many times a region is smaller or larger than views of the object are; and how many of
these are smaller and larger still."""
GUESSES, BOX_MARGIN = 3, 0.04
"""Most poses of each object that are looked at once more, and the margin of their boxes on each side, diameters."""
CONFIDENCE = 0.5
"""Confidence of a region, as that of a middling proposal."""


class SearchStages(Protocol):
    """Stages of a model that the places of a search go through."""

    @property
    def descriptor(self) -> Descriptor:
        """Describes crops."""
        ...

    def describe(self, crops: Sequence[ProposalCrops]) -> list[Descriptors]:
        """Describe the crops of all frames; as of the model."""
        ...

    def score(self, query: Query, crops: ProposalCrops, descriptors: Descriptors) -> ScoredProposals:
        """Match, verify and score proposals; as of the model."""
        ...


def with_searched_places(
    stages: SearchStages, query: Query, crops: ProposalCrops, scored: ScoredProposals, kept: Tensor
) -> tuple[ScoredProposals, Tensor]:
    """Search what was not found.

    Args:
        stages: Of the model.
        query: Frame, objects and settings.
        crops: Proposals of the segmentor.
        scored: What the matcher made of them.
        kept: (K,) int64, which of its detections are selected.

    Returns:
        Both, with what was found of the missing objects besides.
    """
    detections, settings = scored.detections, query.settings
    is_searched = settings.search_by_shape and MATCHERS.get(settings.resolved_scoring()).searches_by_shape
    if not is_searched or not query.frame.has_depth:
        return scored, kept
    found = set(detections.object_index[kept].tolist())
    missing = [
        known for index, known in enumerate(query.library.objects) if index not in found and can_be_verified(known)
    ]
    if not 0 < len(missing) <= MAX_MISSING:
        return scored, kept
    sought = replace(query, sought=tuple(known.id for known in missing))
    grid = SurfaceGrid.of(query.frame)
    proposed = grid.cells_of(crops.proposals.masks.cpu().numpy())
    taken = np.asarray(grid.cells_of(detections.masks[kept].cpu().numpy()).any(axis=0), bool)
    chosen = [likeliest_regions(known, grid.regions(known.diameter_m or 0.0, taken), proposed) for known in missing]
    guessed = _scored(stages, sought, crops, grid, np.concatenate([regions.masks() for regions in chosen]))
    searched = _scored(stages, sought, crops, grid, _boxed(grid, guessed.detections, query.library.objects))
    if not len(searched.detections):
        return scored, kept
    if len(detections):
        rows = torch.cat([scored.rows, searched.rows + len(crops.proposals)])
        searched = ScoredProposals(joined_detections([detections, searched.detections]), rows, scored.alignments)
    return searched, select(searched.detections, settings)


def _scored(
    stages: SearchStages, query: Query, crops: ProposalCrops, grid: SurfaceGrid, cells: NDArray[np.bool_]
) -> ScoredProposals:
    """Describe, match and verify regions (N, H, W) of a grid."""
    frame, device = query.frame, crops.proposals.masks.device
    masks = grid.pixels_of(torch.from_numpy(cells).to(device), (frame.height, frame.width))
    regions = Proposals(masks, torch.full((len(masks),), CONFIDENCE, device=device))
    regions, _ = split_small(regions, query.settings.min_mask_pixels)
    more = crop_proposals(query, regions, crops.too_small, stages.descriptor, {"descriptors": 0.0})
    return stages.score(query, more, stages.describe([more])[0])


def _boxed(grid: SurfaceGrid, guessed: Detections, objects: Sequence[KnownObject]) -> NDArray[np.bool_]:
    """Regions (N, H, W) in the boxes of the best poses of each object, cut as large as it is there, not by a ball."""
    masks = []
    posed = guessed.rotation.isfinite().flatten(1).all(dim=1)
    for index in guessed.object_index[posed].unique().tolist():
        known, rows = objects[index], torch.nonzero(posed & (guessed.object_index == index))[:, 0]
        assert known.box_m is not None
        margin_m = BOX_MARGIN * (known.diameter_m or 0.0) * np.array([[-1.0], [1.0]])
        for row in rows[guessed.score[rows].argsort(descending=True)][:GUESSES].tolist():
            at = guessed.rotation[row].cpu().numpy(), guessed.translation_m[row].cpu().numpy()
            masks.append(grid.within_box(*at, known.box_m.double().numpy() + margin_m))
    found = [mask for mask in masks if mask is not None]
    return np.stack(found) if found else np.zeros((0, *grid.is_left.shape), bool)


def likeliest_regions(known: KnownObject, regions: Regions, proposed: NDArray[np.bool_]) -> Regions:
    """Choose the regions that are most like views of an object.

    Args:
        known: The object, which can be verified.
        regions: Of its size.
        proposed: (M, H, W) bool, proposals in the cells of the grid: what is the same as one is nothing new.

    Returns:
        The best PLACES, best first, none of them twice.
    """
    assert known.diameter_m is not None
    if not len(regions):
        return regions
    spectra = known.spectra.to("cpu")
    regions = regions.at(np.argsort(_size_costs(spectra, regions), kind="stable")[:MAX_COMPARED])
    if len(proposed):
        regions = regions.at(np.flatnonzero(regions.ious(proposed).max(axis=1) < PROPOSED_IOU))
    if not len(regions):
        return regions
    points = regions.observed_points()
    fitting = torch.nonzero(ObservedExtents.of(points).fit(known.diameter_m))[:, 0]
    if not len(fitting):
        return regions.at([])
    regions = regions.at(fitting.numpy())
    cost = _view_costs(known, spectra, points[fitting]) + _size_costs(spectra, regions)
    kept: list[int] = []
    for row in np.argsort(cost, kind="stable").tolist():
        if len(kept) == PLACES or not np.isfinite(cost[row]):
            break
        if not kept or regions.at([row]).ious(regions.at(kept).masks()).max() <= DISTINCT_IOU:
            kept.append(row)
    return regions.at(kept)


def _size_costs(spectra: FourierMaps, regions: Regions) -> Floats:
    """How unlike views regions are in size, and how much of their outlines is cut through a surface, (N,)."""
    low_m2, high_m2 = spectra.area_m2.quantile(torch.tensor(AREA_QUANTILES)).tolist()
    area_m2 = regions.areas_m2()
    times = np.maximum(np.maximum(low_m2 / area_m2, area_m2 / high_m2), 1)
    return np.asarray(AREA_WEIGHT * np.log(times) + CUT_WEIGHT * regions.cut_shares())


def _view_costs(known: KnownObject, spectra: FourierMaps, points: ObservedPoints) -> Floats:
    """Costs of the views that are aligned best with what is seen, (N,); +inf where that is too little."""
    assert known.views is not None
    maps = observed_maps(points, known.views.radius_m)
    return np.asarray(rank_views(maps, spectra).amin(dim=1).double().numpy())
