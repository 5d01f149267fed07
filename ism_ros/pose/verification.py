"""Verification of objects under masks: start poses, refined against the depth, and the evidence for the best of each.

N masks, O objects, H pairs of mask and object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ism_ros.data.frame import Frame
from ism_ros.objects.library import KnownObject
from ism_ros.pose.alignment import ObservedPoints, align_views
from ism_ros.pose.evidence import TERMS, Evidence, ObjectSamples, gather_evidence
from ism_ros.pose.observed_masks import ObservedMasks, observed_masks
from ism_ros.pose.refinement import PoseBatch, RefinementSamples, fit_quality, pose_covariances, refine
from ism_ros.pose.start_poses import start_poses

Batch = TypeVar("Batch", PoseBatch, RefinementSamples)

import os
STARTS = int(os.environ.get("STARTS","3"))
"""Start poses of each pair."""
KEPT = int(os.environ.get("KEPT","2"))
"""Poses of each pair whose evidence is gathered."""
FIRST_STEPS, LAST_STEPS = (int(x) for x in os.environ.get("STEPS","5,5").split(","))
"""Steps of refinement of all start poses, and of those that are kept."""
EVIDENCE_SAMPLES = 2048
"""Samples of an object that are rendered."""
MIN_SHARE, MIN_EXTENT = 0.25, 0.06
"""Least share of a mask's points within reach of an object, and least extent of these in diameters of the object, of a
pair that is compared."""


@dataclass(frozen=True)
class VerifiedPoses:
    """The best pose of each of H pairs of mask and object.

    Attributes:
        poses: The poses.
        covariance: (H, 6, 6) of x, y, z (metres) and rotations about x, y, z (radians) of the centres, camera frame.
        evidence: For and against them.
    """

    poses: PoseBatch
    covariance: Tensor
    evidence: Evidence


OUTLINE_STEPS, OUTLINE_NOISE_FACTOR = 6, 6.0
"""Steps of the refinement in which the outline decides, and the factor of the noise of depth in it."""


def fits_in_size(observed: ObservedPoints, diameter_m: float) -> Tensor:
    """Tell under which masks an object of some size can be.

    Robust: what is farther off than the object is large counts as background, but for most of the points.

    Args:
        observed: Points under N masks.
        diameter_m: Diagonal of the object's box, metres.

    Returns:
        (N,) bool.
    """
    measured = observed.pixels > 0
    distance_m = (observed.points_m - observed.median_m[:, :, None]).norm(dim=1)
    near = measured & (distance_m < 0.75 * diameter_m)
    share = near.sum(dim=1) / measured.sum(dim=1).clamp(min=1)
    extent_m = distance_m.where(near, torch.nan).nanquantile(0.9, dim=1)
    return (measured.sum(dim=1) >= 10) & (share > MIN_SHARE) & (extent_m > MIN_EXTENT * diameter_m)


def object_samples(objects: Sequence[KnownObject], device: torch.device) -> ObjectSamples:
    """Stack the surface samples of objects.

    Args:
        objects: With `surface`.
        device: Of the result.

    Returns:
        EVIDENCE_SAMPLES of each.
    """
    chosen = []
    for known in objects:
        assert known.surface is not None
        count = len(known.surface.points_m)
        chosen.append(np.random.default_rng(0).choice(count, EVIDENCE_SAMPLES, replace=count < EVIDENCE_SAMPLES))
    parts = (
        np.stack([getattr(known.surface, name)[rows] for known, rows in zip(objects, chosen, strict=True)])
        for name in ("points_m", "normals", "colours")
    )
    return ObjectSamples(*(torch.from_numpy(part).to(device) for part in parts))


@torch.inference_mode()
def verify(
    frame: Frame,
    masks: Tensor,
    boxes_xyxy: Tensor,
    objects: Sequence[KnownObject],
    candidates: Tensor,
    observed_points: ObservedPoints,
) -> VerifiedPoses | None:
    """Find the best pose of each candidate object under each mask, and the evidence for it.

    Args:
        frame: With depth.
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) tight boxes.
        objects: O objects.
        candidates: (N, O) bool, the pairs to look at; objects without views or surface are left out.
        observed_points: Points under the masks.

    Returns:
        A pose of each pair, or None where there is no pair.
    """
    batches, samples = [], []
    for index in torch.nonzero(candidates.any(dim=0))[:, 0].tolist():
        known = objects[index]
        if known.views is None or known.surface is None or known.diameter_m is None:
            continue
        rows = torch.nonzero(candidates[:, index] & fits_in_size(observed_points, known.diameter_m))[:, 0]
        if not len(rows):
            continue
        alignment = align_views(observed_points[rows], known.views, known.spectra)
        starts = start_poses(alignment, known.views, STARTS)
        valid = starts.cost.isfinite()
        batches.append(
            PoseBatch(
                starts.rotation[valid],
                starts.centre_m[valid],
                rows[:, None].expand(-1, STARTS)[valid],
                torch.full_like(starts.view[valid], index),
                starts.view[valid],
                starts.cost[valid],
            )
        )
        samples.append(_refinement_samples(known, starts.view[valid]))
    if not batches:
        return None
    poses, of_poses = _joined(batches, PoseBatch), _joined(samples, RefinementSamples)
    observed = observed_masks(frame, masks, boxes_xyxy)
    poses = refine(poses, of_poses, observed, FIRST_STEPS)
    best = _best_of_pairs(poses, fit_quality(poses, of_poses, observed), len(objects), KEPT)
    refined = refine(poses[best], _at(of_poses, best), observed, LAST_STEPS, first=0.4)
    # where the depth of an object is wrong, as of shiny and white ones, its outline still is right
    first = _best_of_pairs(poses, -poses.cost, len(objects), 1)
    by_outline = refine(poses[first], _at(of_poses, first), observed, OUTLINE_STEPS, noise_factor=OUTLINE_NOISE_FACTOR)
    poses, of_poses = _joined([refined, by_outline], PoseBatch), _at(of_poses, torch.cat([best, first]))
    known_samples = object_samples(objects, masks.device)
    rgb = torch.from_numpy(frame.rgb).to(masks.device)
    evidence = gather_evidence(poses, known_samples, observed, masks, rgb)
    return VerifiedPoses(poses, pose_covariances(poses, of_poses, observed), evidence)


def _best_of_pairs(poses: PoseBatch, quality: Tensor, object_count: int, kept: int) -> Tensor:
    """Indices of the `kept` best poses of each pair of mask and object."""
    pair = poses.mask_index * object_count + poses.object_index
    order = torch.argsort(quality, descending=True, stable=True)
    order = order[torch.argsort(pair[order], stable=True)]
    ranked = pair[order]
    is_kept = torch.ones_like(ranked, dtype=torch.bool)
    is_kept[kept:] = ranked[kept:] != ranked[:-kept]
    return order[is_kept]


def _refinement_samples(known: KnownObject, view: Tensor) -> RefinementSamples:
    surface = known.surface
    assert surface is not None and known.views is not None
    device = view.device
    chosen = surface.of_view[view.cpu().numpy()]
    return RefinementSamples(
        torch.from_numpy(surface.points_m[chosen]).to(device),
        torch.from_numpy(surface.normals[chosen]).to(device),
        torch.from_numpy(surface.is_rim[view.cpu().numpy()]).to(device),
        torch.full((len(view),), known.views.radius_m, device=device),
    )


def _at(samples: RefinementSamples, rows: Tensor) -> RefinementSamples:
    return RefinementSamples(
        samples.points_m[rows], samples.normals[rows], samples.is_rim[rows], samples.radius_m[rows]
    )


def _joined(parts: Sequence[Batch], kind: type[Batch]) -> Batch:
    return kind(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(kind)))
