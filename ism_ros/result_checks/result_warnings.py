"""Warnings about a result: of its frame, of its objects, of proposals that were too small, of units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ism_ros.checks.input_warnings import InputWarning, unique_warnings
from ism_ros.data.detections import Detections
from ism_ros.descriptors.base import Descriptors
from ism_ros.matching.scores.similarity import library_similarity, semantic_score
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
        stages: Stages of the model, repeated with depth in other units where nothing certain was found.
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
    of_units = _unit_warnings(stages, query, crops, descriptors, result)
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
    result: Detections,
) -> tuple[InputWarning, ...]:
    """Check the units of depth and objects by sizes, or, where nothing certain was found, at other scales."""
    frame, library = query.frame, query.library
    if not frame.has_depth or any(warning.reason == "depth_unit" for warning in frame.warnings):
        return ()
    found = set(result.object_index.tolist())
    missing = [known for index, known in enumerate(library.objects) if index not in found]
    if warnings := size_checks.object_size_warnings(frame, missing):
        return warnings
    if len(result) and (warnings := size_checks.found_size_warnings(_sizes_in_diameters(query, result))):
        return warnings
    best = float(result.score.max()) if len(result) else 0.0
    if not query.with_unit_check or best >= size_checks.CERTAIN:
        return ()
    assert frame.depth_m is not None
    if len(result) and not size_checks.is_unusual(frame.depth_m):
        return ()
    return _scale_warnings(stages, query, crops, descriptors, best)


def _scale_warnings(
    stages: Stages, query: Query, crops: ProposalCrops, descriptors: Descriptors, found: float
) -> tuple[InputWarning, ...]:
    """Check whether an object would be detected, more certainly than the best one `found`, if depth were scaled.

    Masks and what is verified depend on the depth, so that the frame is segmented anew.
    """
    assert query.frame.depth_m is not None
    is_unusual = size_checks.is_unusual(query.frame.depth_m)
    for factor in size_checks.factors_to_try(_sizes_of_alike(query, crops, descriptors)):
        depth_m = query.frame.depth_m * np.float32(factor)
        scaled = replace(query, frame=replace(query.frame, depth_m=depth_m)).with_registered_depth()
        proposed = stages.propose(scaled)
        rescored = stages.score(scaled, proposed, stages.describe([proposed])[0]).detections
        of_objects = [
            float(rescored.score[rescored.object_index == index].max()) for index in rescored.object_index.unique()
        ]
        is_depth = is_unusual and not size_checks.is_unusual(depth_m)
        is_detected = bool((rescored.score >= query.settings.score_threshold).any())
        if is_detected and size_checks.is_convincing(of_objects, found, is_depth):
            best = int(rescored.score.argmax())
            known, score = query.library.objects[int(rescored.object_index[best])], float(rescored.score[best])
            if known.diameter_m is not None:
                return (size_checks.scale_warning(known.id, score, found, factor, known.diameter_m),)
    return ()


def _sizes_of_alike(query: Query, crops: ProposalCrops, descriptors: Descriptors) -> Tensor:
    """Sizes of the proposals that look most like an object, in its diameters, whether they fit it or not."""
    if not len(crops.proposals):
        return torch.empty(0)
    semantic, object_index, _ = semantic_score(library_similarity(descriptors, query.library))
    rows = semantic.topk(min(size_checks.MAX_CHECKED, len(semantic))).indices
    proposals = crops.proposals[rows]
    return size_checks.sizes_in_diameters(
        proposals.masks, proposals.boxes_xyxy, object_index[rows], query.frame, query.library
    )


def _sizes_in_diameters(query: Query, detections: Detections) -> Tensor:
    return size_checks.sizes_in_diameters(
        detections.masks, detections.boxes_xyxy, detections.object_index, query.frame, query.library
    )
