"""The second look at a frame: what was not found is searched by size and shape, where the segmentor saw nothing.

For each object that is missing, regions as large as it (sized_regions) are compared with its views by shape; the best
few are described, matched and verified as proposals are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.detections import joined_detections
from ism_ros.data.proposals import Proposals
from ism_ros.descriptors.base import Descriptor, Descriptors
from ism_ros.matching.base import MATCHERS
from ism_ros.matching.selection import ScoredProposals, select
from ism_ros.objects.known_object import KnownObject
from ism_ros.pose.observed_points import sample_observed_points
from ism_ros.pose.view_choice import observed_maps, rank_views
from ism_ros.query import ProposalCrops, Query, crop_proposals
from ism_ros.segmentors.small_proposals import split_small
from ism_ros.shape_search.sized_regions import SurfaceGrid
from ism_ros.verification.pair_choice import ObservedExtents, can_be_verified

MAX_MISSING = 3
"""Most objects that are searched: where more are missing, most of them are known but not there, and would be taken for
what is like them."""
PLACES = 6
"""Most places of each object that are verified."""
DISTINCT_IOU, PROPOSED_IOU = 0.5, 0.8
"""IoU of two regions of an object from which on the worse one is left out, and that of a region and a proposal from
which on the region is nothing new."""
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
    stages: SearchStages, query: Query, crops: ProposalCrops, scored: ScoredProposals
) -> ScoredProposals:
    """Search what was not found.

    Args:
        stages: Of the model.
        query: Frame, objects and settings.
        crops: Proposals of the segmentor.
        scored: What the matcher made of them.

    Returns:
        The same, and what was found of the missing objects besides.
    """
    detections, settings = scored.detections, query.settings
    is_searched = settings.search_by_shape and MATCHERS.get(settings.resolved_scoring()).searches_by_shape
    if not is_searched or not query.frame.has_depth:
        return scored
    found = detections[select(detections, settings)]
    missing = [known for known in query.library.objects if can_be_verified(known) and known.id not in found.class_ids()]
    if not 0 < len(missing) <= MAX_MISSING:
        return scored
    places = _places(query, missing, crops.proposals.masks, found.masks)
    places, _ = split_small(places, settings.min_mask_pixels)
    if not len(places):
        return scored
    sought = replace(query, sought=tuple(known.id for known in missing))
    more = crop_proposals(sought, places, crops.too_small, stages.descriptor, {"descriptors": 0.0})
    searched = stages.score(sought, more, stages.describe([more])[0])
    if not len(detections):
        return searched
    rows = torch.cat([scored.rows, searched.rows + len(crops.proposals)])
    return ScoredProposals(joined_detections([detections, searched.detections]), rows, scored.alignments)


def _places(query: Query, missing: Sequence[KnownObject], proposals: Tensor, found: Tensor) -> Proposals:
    """Regions of the frame that the missing objects may be."""
    grid, frame, device = SurfaceGrid.of(query.frame), query.frame, proposals.device
    proposed = torch.from_numpy(grid.cells_of(proposals.cpu().numpy())).to(device)
    taken = np.asarray(grid.cells_of(found.cpu().numpy()).any(axis=0), bool)
    cells: list[Tensor] = []
    for known in missing:
        assert known.diameter_m is not None
        regions = torch.from_numpy(grid.regions(known.diameter_m, taken)).to(device)
        regions = regions[ious(regions, proposed).amax(dim=1) < PROPOSED_IOU] if len(proposed) else regions
        cells += _likeliest(known, regions, grid)
    if not cells:
        return Proposals.empty(frame.height, frame.width, device)
    masks = grid.pixels_of(torch.stack(cells), (frame.height, frame.width))
    return Proposals(masks, torch.full((len(masks),), CONFIDENCE, device=device))


def _likeliest(known: KnownObject, regions: Tensor, grid: SurfaceGrid) -> list[Tensor]:
    """The regions (H, W) of (N, H, W) that are most like views of an object, best first, none of them twice."""
    assert known.views is not None
    assert known.diameter_m is not None
    if not len(regions):
        return []
    points = sample_observed_points(regions, boxes_from_masks(regions), grid.frame)
    fits = ObservedExtents.of(points).fit(known.diameter_m)
    regions, points = regions[fits], points[fits]
    if not len(regions):
        return []
    cost = rank_views(observed_maps(points, known.views.radius_m), known.spectra).amin(dim=1)
    kept: list[Tensor] = []
    for row in cost.argsort().tolist():
        if len(kept) == PLACES or not bool(cost[row].isfinite()):
            break
        if not kept or float(ious(regions[row, None], torch.stack(kept)).amax()) <= DISTINCT_IOU:
            kept.append(regions[row])
    return kept


def ious(first: Tensor, second: Tensor) -> Tensor:
    """Compute the IoUs of masks.

    Args:
        first: (N, H, W) bool.
        second: (M, H, W) bool.

    Returns:
        (N, M).
    """
    one, other = first.flatten(1).float(), second.flatten(1).float()
    common = one @ other.T
    return common / (one.sum(dim=1)[:, None] + other.sum(dim=1) - common).clamp(min=1)
