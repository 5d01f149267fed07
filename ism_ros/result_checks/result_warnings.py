"""What makes a result doubtful: of its frame, of its objects, of proposals that were too small, of units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from torch import Tensor

from ism_ros.checks.input_warnings import InputWarning, unique_warnings
from ism_ros.data.detections import Detections
from ism_ros.descriptors.base import Descriptors
from ism_ros.matching.selection import ScoredProposals
from ism_ros.query import ProposalCrops, Query
from ism_ros.result_checks import size_checks
from ism_ros.segmentors.small_proposals import too_small_warning

GREY_IMAGE = InputWarning(
    "grey_image",
    "the rgb image has no colours (all its channels are equal), so that objects are compared in grey and those that "
    "differ in colour alone are mixed up: use the colour image of the camera, not a mono8 one, if it has any",
)

class Stages(Protocol):
    """The stages of a model that are repeated with depth in another unit."""

    def propose(self, query: Query) -> ProposalCrops:
        """Find everything that could be an object, and crop it."""
        ...

    def describe(self, crops: Sequence[ProposalCrops]) -> list[Descriptors]:
        """Describe the crops of all frames."""
        ...

    def score(self, query: Query, crops: ProposalCrops, descriptors: Descriptors) -> ScoredProposals:
        """Match, verify and score proposals."""
        ...


def result_warnings(
    stages: Stages,
    query: Query,
    crops: ProposalCrops,
    descriptors: Descriptors,
    scored: ScoredProposals,
    result: Detections,
) -> tuple[InputWarning, ...]:
    """Collect everything that makes a result doubtful.

    Args:
        stages: Of the model, repeated where units are in doubt.
        query: The frame and the objects that were looked for.
        crops: Its proposals.
        descriptors: Of these crops.
        scored: The proposals that were scored.
        result: What was found.

    Returns:
        Warnings, each once.
    """
    frame, library = query.frame, query.library
    warnings = [*frame.warnings, *([GREY_IMAGE] if frame.is_grey else [])]
    warnings += [warning for known in library.objects for warning in known.warnings]
    warnings += _unit_warnings(stages, query, crops, descriptors, scored, result)
    if not len(result):
        diameters_m = [known.diameter_m for known in library.objects]
        too_small = too_small_warning(crops.too_small, frame, diameters_m, query.settings.min_mask_pixels)
        warnings += [] if too_small is None else [too_small]
    return unique_warnings(tuple(warnings))


def _unit_warnings(
    stages: Stages,
    query: Query,
    crops: ProposalCrops,
    descriptors: Descriptors,
    scored: ScoredProposals,
    result: Detections,
) -> tuple[InputWarning, ...]:
    """Doubt the units of depth and objects: by sizes, or, where nothing was found, by looking at another scale."""
    frame, library = query.frame, query.library
    if not frame.has_depth or any(warning.reason == "depth_unit" for warning in frame.warnings):
        return ()
    found = set(result.object_index.tolist())
    missing = [known for index, known in enumerate(library.objects) if index not in found]
    if doubts := size_checks.doubts_about_objects(frame, missing):
        return doubts
    if len(result):
        return size_checks.doubt_about_found(_sizes_in_diameters(query, result))
    return _scale_warnings(stages, query, crops, descriptors, scored) if query.with_unit_check else ()


def _scale_warnings(
    stages: Stages, query: Query, crops: ProposalCrops, descriptors: Descriptors, scored: ScoredProposals
) -> tuple[InputWarning, ...]:
    """Whether one of the likeliest proposals would be found if depth were scaled."""
    count = min(size_checks.MAX_CHECKED, len(scored.detections))
    likely = scored.detections.semantic_score.topk(count).indices
    in_diameters = _sizes_in_diameters(query, scored.detections[likely])
    some = crops.at(scored.rows[likely]), descriptors[scored.rows[likely]]
    threshold = query.settings.score_threshold
    for factor in size_checks.factors_to_try(in_diameters):
        assert query.frame.depth_m is not None
        scaled = replace(query, frame=replace(query.frame, depth_m=query.frame.depth_m * np.float32(factor)))
        rescored = stages.score(scaled, *some).detections
        if not _any_above(rescored, threshold) and size_checks.nothing_fits(in_diameters):
            # masks that were found in depth of another unit may be bad ones
            proposed = stages.propose(scaled)
            rescored = stages.score(scaled, proposed, stages.describe([proposed])[0]).detections
        if _any_above(rescored, threshold):
            best = int(rescored.score.argmax())
            known, score = query.library.objects[int(rescored.object_index[best])], float(rescored.score[best])
            if known.diameter_m is not None:
                return (size_checks.doubt_about_scale(known.id, score, factor, known.diameter_m),)
    return ()


def _sizes_in_diameters(query: Query, detections: Detections) -> Tensor:
    return size_checks.sizes_in_diameters(
        detections.masks, detections.boxes_xyxy, detections.object_index, query.frame, query.library
    )


def _any_above(detections: Detections, score_threshold: float) -> bool:
    return bool((detections.score >= score_threshold).any())
