"""Operations of PyTorch in each stage of a frame."""

from __future__ import annotations

import torch

from ism_ros.bench.operation_counts import OperationCount, OperationCounter
from ism_ros.matching.selection import select
from ism_ros.model import InstanceSegmentationModel
from ism_ros.pose.estimation import with_coarse_poses
from ism_ros.query import Query
from ism_ros.runtime.threads import set_num_threads
from ism_ros.shape_search.search import with_searched_places

STAGES = ("proposals", "descriptors", "scores", "selection", "search", "pose")
"""Stages of the model, in order. Crops count as proposals here."""


def count_operations(model: InstanceSegmentationModel, query: Query) -> dict[str, OperationCount]:
    """Take a frame through the model on one thread, and count what it asks PyTorch for.

    Args:
        model: The model.
        query: Frame and objects, with the depth registered.

    Returns:
        The operations of each of STAGES, in order.
    """
    before = torch.get_num_threads()
    set_num_threads(1)  # what other threads ask for is not counted
    try:
        return _counted(model, query)
    finally:
        set_num_threads(before)


@torch.inference_mode()
def _counted(model: InstanceSegmentationModel, query: Query) -> dict[str, OperationCount]:
    counters = {stage: OperationCounter() for stage in STAGES}
    with counters["proposals"].counting():
        crops = model.propose(query)
    with counters["descriptors"].counting():
        (descriptors,) = model.describe([crops])
    with counters["scores"].counting():
        scored = model.score(query, crops, descriptors)
    with counters["selection"].counting():
        kept = select(scored.detections, query.settings)
    with counters["search"].counting():
        scored, kept = with_searched_places(model, query, crops, scored, kept)
        result = scored.detections[kept]
    with counters["pose"].counting():
        scene = query.frame, query.library, model.descriptor.view_prior_weight
        with_coarse_poses(result, *scene, scored.alignments, scored.rows[kept])
    return {stage: counter.result() for stage, counter in counters.items()}
