"""Verification without depth: views are laid on masks by outline and color, at distances at which they are as large.

A view and a mask of the same object have the same extent at its distance. The largest of all views fixes the farthest
distance; others are as large nearer to the camera, so that a few distances are tried. The best views are refined by the
outline alone and judged by the terms of the evidence that need no depth.

N masks, O objects, H pairs of mask and object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.pose.observed_points import ObservedPoints, sample_observed_points
from ism_ros.pose.start_poses import start_poses
from ism_ros.pose.view_choice import observed_maps, rank_views
from ism_ros.refinement.observed_masks import observed_masks
from ism_ros.refinement.pose_batch import PoseBatch, RefinementSamples, joined
from ism_ros.refinement.projective_icp import refine
from ism_ros.rendering.views.polar_maps import RADIUS_MARGIN
from ism_ros.runtime.threads import map_on_threads
from ism_ros.verification.evidence.gathering import gather_evidence
from ism_ros.verification.evidence.terms import Evidence
from ism_ros.verification.observed_image import ObservedImage
from ism_ros.verification.pair_choice import PairChoice, can_be_verified, pair_numbers, rows_of_threads
from ism_ros.verification.verification import (
    OUTLINE_NOISE_FACTOR,
    VerifiedPoses,
    object_samples,
    refinement_samples,
)

DISTANCES = 1.0, 0.8, 0.64
"""Distances that are tried, relative to the one at which the largest view is as large as the mask."""
STARTS, ALIGNED_VIEWS = 2, 12
"""Start poses of each pair at each of these distances, and the views of which they are chosen."""
PAIRS = PairChoice(pairs=32, likely=math.inf, cost_weight=0.85)
"""Pairs of mask and object whose poses are refined."""
STEPS = 10
"""Steps of refinement."""


@torch.inference_mode()
def verify_without_depth(
    frame: Frame,
    masks: Tensor,
    boxes_xyxy: Tensor,
    objects: Sequence[KnownObject],
    prior: Tensor,
    threads: int = 1,
) -> VerifiedPoses | None:
    """Find the poses of candidate objects that fit masks best in the picture, and the evidence for them.

    Args:
        frame: Its depth, if it has any, is not looked at.
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) tight boxes.
        objects: O objects; those that cannot be verified are left out.
        prior: (N, O) how likely a pair is by looks, in [0, 1]; -inf where it is not to be verified.
        threads: Threads that share the work, each on some of the masks; 1 on a GPU.

    Returns:
        A few poses of each of some pairs, or None where there is no pair. Terms of the evidence that need depth are
        those of a picture without readings.
    """
    size = frame.rgb.shape[:2]
    at_one_metre = replace(frame, depth_m=np.ones(size, np.float32))
    points = sample_observed_points(masks, boxes_xyxy, at_one_metre)
    candidates = torch.nonzero(prior.isfinite().any(dim=0))[:, 0].tolist()

    def starts_of(index: int) -> PoseBatch | None:
        known, rows = objects[index], torch.nonzero(prior[:, index].isfinite())[:, 0]
        return _starts(known, index, points[rows], rows) if can_be_verified(known) else None

    batches = [starts for starts in map_on_threads(starts_of, threads, candidates) if starts is not None]
    if not sum(map(len, batches)):
        return None
    starts = joined(batches)
    looks = prior[starts.mask_index, starts.object_index]
    starts = starts[PAIRS.kept(pair_numbers(starts, len(objects)), len(objects), looks, starts.cost)]
    observed = observed_masks(replace(frame, depth_m=np.zeros(size, np.float32)), masks, boxes_xyxy)
    image = ObservedImage.of(frame.rgb, masks.device)

    def verify_part(part: PoseBatch) -> tuple[PoseBatch, RefinementSamples, Evidence]:
        samples = refinement_samples(objects, part)
        poses = refine(part, samples, observed, STEPS, noise_factor=OUTLINE_NOISE_FACTOR)
        surfaces = object_samples(objects, poses.object_index)
        return poses, samples, gather_evidence(poses, surfaces, observed, masks, image)

    parts = [starts[rows] for rows in rows_of_threads(starts.mask_index, threads)]
    poses, samples, evidence = zip(*map_on_threads(verify_part, threads, parts), strict=True)
    return VerifiedPoses(joined(poses), joined(evidence), joined(samples), observed, objects)


def _starts(known: KnownObject, index: int, points: ObservedPoints, rows: Tensor) -> PoseBatch:
    """Best aligned views of an object at all DISTANCES under masks `rows` (K,), whose points are one metre away."""
    assert known.views is not None
    inside = points.pixels > 0
    reach_m = ((points.points_m - points.median_m[:, :, None]).norm(dim=1) * inside).amax(dim=1)
    farthest = known.views.radius_m / RADIUS_MARGIN / reach_m.clamp(min=1e-6)
    batches = []
    for distance in DISTANCES:
        scale = (distance * farthest)[:, None]
        moved = replace(points, points_m=points.points_m * scale[:, :, None], median_m=points.median_m * scale)
        maps = observed_maps(moved, known.views.radius_m)
        ranking = rank_views(maps, known.spectra, depth_weight=0.0)
        starts = start_poses(maps, ranking, known.views, known.spectra, STARTS, ALIGNED_VIEWS, depth_weight=0.0)
        batches.append(starts.batch(rows, index))
    return joined(batches)
