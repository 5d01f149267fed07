"""Warnings about a result: of its frame, of its objects, of proposals that were too small, of units."""

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

GRAY_IMAGE = InputWarning(
    "grey_image",
    "the rgb image has no colors (all its channels are equal), so that objects are compared in gray and those that "
    "differ in color alone are mixed up: use the color image of the camera, not a mono8 one, if it has any",
)
"""Warning about an rgb image without colors."""
NO_READING = InputWarning(
    "no_depth",
    "depth has no reading at all, so that colors alone are compared and there are no poses: check the depth camera and "
    "its range",
)
"""Warning about a depth image that is there and empty."""


class Stages(Protocol):
    """Stages of a model that are repeated with depth in another unit."""

    def propose(self, query: Query) -> ProposalCrops:
        """Find everything that could be an object, and crop it; as of the model."""
        ...

    def describe(self, crops: Sequence[ProposalCrops]) -> list[Descriptors]:
        """Describe the crops of all frames; as of the model."""
        ...

    def score(self, query: Query, crops: ProposalCrops, descriptors: Descriptors) -> ScoredProposals:
        """Match, verify and score proposals; as of the model."""
        ...


def result_warnings(
    stages: Stages,
    query: Query,
    crops: ProposalCrops,
    descriptors: Descriptors,
    scored: ScoredProposals,
    result: Detections,
) -> tuple[InputWarning, ...]:
    """Collect the warnings about a result.

    Args:
        stages: Stages of the model, repeated with depth in other units where nothing was found.
        query: The frame and the objects that were searched for.
        crops: Its proposals.
        descriptors: Descriptors of these crops.
        scored: The proposals that were scored.
        result: The detections.

    Returns:
        Warnings, each once.
    """
    frame, library = query.frame, query.library
    warnings = [*frame.warnings, *([GRAY_IMAGE] if frame.is_gray else [])]
    warnings += [NO_READING] if frame.depth_m is not None and not frame.has_depth else []
    warnings += [warning for known in library.objects for warning in known.warnings]
    of_units = _unit_warnings(stages, query, crops, descriptors, scored, result)
    warnings += of_units
    # sizes in a unit that is doubted do not tell what is too small
    if not len(result) and not of_units:
        too_small = too_small_warning(crops.too_small, frame, library.diameters_m, query.settings.min_mask_pixels)
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
    """Check the units of depth and objects by sizes, or, where nothing was found, by scoring at other scales."""
    frame, library = query.frame, query.library
    if not frame.has_depth or any(warning.reason == "depth_unit" for warning in frame.warnings):
        return ()
    found = set(result.object_index.tolist())
    missing = [known for index, known in enumerate(library.objects) if index not in found]
    if warnings := size_checks.object_size_warnings(frame, missing):
        return warnings
    if len(result):
        return size_checks.found_size_warnings(_sizes_in_diameters(query, result))
    return _scale_warnings(stages, query, crops, descriptors, scored) if query.with_unit_check else ()


def _scale_warnings(
    stages: Stages, query: Query, crops: ProposalCrops, descriptors: Descriptors, scored: ScoredProposals
) -> tuple[InputWarning, ...]:
    """Check whether one of the likeliest proposals would be detected if depth were scaled."""
    count = min(size_checks.MAX_CHECKED, len(scored.detections))
    likely = scored.detections.semantic_score.topk(count).indices
    in_diameters = _sizes_in_diameters(query, scored.detections[likely])
    some = crops.at(scored.rows[likely]), descriptors[scored.rows[likely]]
    threshold = query.settings.score_threshold
    for factor in size_checks.factors_to_try(in_diameters):
        assert query.frame.depth_m is not None
        scaled = replace(query, frame=replace(query.frame, depth_m=query.frame.depth_m * np.float32(factor)))
        rescored = stages.score(scaled, *some).detections
        if not _any_above(rescored, threshold) and size_checks.all_sizes_unlikely(in_diameters):
            # masks that were found in depth of another unit may be bad ones
            proposed = stages.propose(scaled)
            rescored = stages.score(scaled, proposed, stages.describe([proposed])[0]).detections
        if _any_above(rescored, threshold):
            best = int(rescored.score.argmax())
            known, score = query.library.objects[int(rescored.object_index[best])], float(rescored.score[best])
            if known.diameter_m is not None:
                return (size_checks.scale_warning(known.id, score, factor, known.diameter_m),)
    return ()


def _sizes_in_diameters(query: Query, detections: Detections) -> Tensor:
    return size_checks.sizes_in_diameters(
        detections.masks, detections.boxes_xyxy, detections.object_index, query.frame, query.library
    )


def _any_above(detections: Detections, score_threshold: float) -> bool:
    return bool((detections.score >= score_threshold).any())
