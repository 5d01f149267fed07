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
from ism_ros.pose.alignment import MIN_PIXELS, ObservedPoints, align_views
from ism_ros.pose.observed_masks import ObservedMasks, observed_masks
from ism_ros.pose.refinement import PoseBatch, RefinementSamples, fit_quality, pose_covariances, refine
from ism_ros.pose.start_poses import start_poses
from ism_ros.rendering.views.surface_samples import VIEW_SAMPLES
from ism_ros.runtime.threads import map_on_threads
from ism_ros.verification.evidence import Evidence, ObjectSamples, gather_evidence
from ism_ros.verification.observed_image import ObservedImage

Batch = TypeVar("Batch", PoseBatch, RefinementSamples, Evidence)

MAX_PAIRS = 64
"""Most pairs of mask and object of a frame that are verified."""
COST_WEIGHT = 0.7
"""Weight of the alignment cost relative to looks, in the choice of these pairs."""
STARTS = 6
"""Start poses of each pair."""
KEPT = 2
"""Poses of each pair, after the first steps, that are refined further."""
FIRST_STEPS, FIRST_SAMPLES = 4, 96
"""Steps of refinement of all start poses, and samples that they are refined by."""
LAST_STEPS = 5
"""Steps of refinement of those that are kept, by all samples."""
FINAL_STEPS, FINAL_OPENNESS = 8, 0.6
"""Steps of refinement of the poses of detections, and how far gates are open at their beginning."""
OUTLINE_STEPS, OUTLINE_NOISE_FACTOR = 5, 6.0
"""Steps of the refinement in which the outline decides, and the factor of the noise of depth in it."""
MAX_DISTANCE, MIN_SHARE, MIN_EXTENT = 0.75, 0.25, 0.06
"""Distance from the median, in diameters of the object, within which points can be of the object; least share of such
points, and least extent of these in diameters, of a pair that is compared."""


@dataclass(frozen=True)
class VerifiedPoses:
    """The best poses of pairs of mask and object.

    Attributes:
        poses: H poses.
        evidence: For and against them.
        samples: That they were refined by.
        observed: What they were refined against.
        objects: O objects that the poses are of.
        masks: (N, H, W) bool, that the objects are under.
        image: What they were compared with.
    """

    poses: PoseBatch
    evidence: Evidence
    samples: RefinementSamples
    observed: ObservedMasks
    objects: Sequence[KnownObject]
    masks: Tensor
    image: ObservedImage

    def finished(self, rows: Tensor) -> FinishedPoses:
        """Refine some poses to the end, by the depth.

        Args:
            rows: (K,) int64, which of them.

        Returns:
            K poses.
        """
        samples = _at(self.samples, rows)
        poses = refine(self.poses[rows], samples, self.observed, FINAL_STEPS, first=FINAL_OPENNESS)
        covariances = pose_covariances(poses, samples, self.observed)
        surfaces = object_samples(self.objects, poses.object_index)
        return FinishedPoses(
            poses, covariances, gather_evidence(poses, surfaces, self.observed, self.masks, self.image)
        )


@dataclass(frozen=True)
class FinishedPoses:
    """Poses that are refined to the end.

    Attributes:
        poses: K poses.
        covariances: (K, 6, 6) of x, y, z (metres) and rotations about x, y, z (radians) of the centres, camera frame.
        evidence: For and against them, with their silhouettes.
    """

    poses: PoseBatch
    covariances: Tensor
    evidence: Evidence


@dataclass(frozen=True)
class ObservedExtents:
    """How far the points under N masks lie from their median.

    Attributes:
        distance_m: (N, P) ascending, metres; +inf for samples without depth or outside the mask.
        count: (N,) int64, how many have depth.
    """

    distance_m: Tensor
    count: Tensor

    @staticmethod
    def of(points: ObservedPoints) -> ObservedExtents:
        """Measure the points under masks."""
        measured = points.pixels > 0
        distance_m = (points.points_m - points.median_m[:, :, None]).norm(dim=1).masked_fill(~measured, torch.inf)
        return ObservedExtents(distance_m.sort(dim=1).values, measured.sum(dim=1))

    def fit(self, diameter_m: float) -> Tensor:
        """Tell under which masks an object of some size can be.

        Robust: what is farther off than the object is large counts as background, but for most of the points.

        Args:
            diameter_m: Diagonal of the object's box, metres.

        Returns:
            (N,) bool.
        """
        near = (self.distance_m < MAX_DISTANCE * diameter_m).sum(dim=1)
        extent_m = self.distance_m.gather(1, (0.9 * (near - 1).clamp(min=0)).long()[:, None])[:, 0]
        enough = (self.count >= MIN_PIXELS) & (near > MIN_SHARE * self.count)
        return enough & (extent_m > MIN_EXTENT * diameter_m)


def object_samples(objects: Sequence[KnownObject], object_index: Tensor) -> ObjectSamples:
    """Gather the surface samples of the objects of poses.

    Args:
        objects: O objects, of which only those of the poses are looked at.
        object_index: (H,) int64, the object of each pose.

    Returns:
        The samples, on the device of the poses.
    """
    chosen, row = object_index.unique(return_inverse=True)
    surfaces = [surface for index in chosen.tolist() if (surface := objects[index].surface) is not None]
    return ObjectSamples(
        *(
            torch.from_numpy(np.stack([getattr(surface, name) for surface in surfaces])).to(row.device)[row]
            for name in ("points_m", "normals", "colors")
        )
    )


def can_be_verified(known: KnownObject) -> bool:
    """Tell whether there is all of an object that its poses are found and judged by."""
    return known.views is not None and known.surface is not None and known.diameter_m is not None


@torch.inference_mode()
def verify(
    frame: Frame,
    masks: Tensor,
    boxes_xyxy: Tensor,
    objects: Sequence[KnownObject],
    prior: Tensor,
    observed_points: ObservedPoints,
    threads: int = 1,
) -> VerifiedPoses | None:
    """Find the best poses of candidate objects under masks, and the evidence for them.

    Args:
        frame: With depth.
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) tight boxes.
        objects: O objects; those that cannot be verified are left out.
        prior: (N, O) how likely a pair is by looks, in [0, 1]; -inf where it is not to be verified.
        observed_points: Points under the masks.
        threads: Threads that share the work, each on some of the masks; 1 on a GPU.

    Returns:
        A few poses of each of at most MAX_PAIRS pairs, or None where there is no pair.
    """
    starts = likeliest_pairs(_all_starts(objects, prior, observed_points, threads), prior, len(objects))
    if starts is None:
        return None
    observed = observed_masks(frame, masks, boxes_xyxy)
    image = ObservedImage.of(frame.rgb, masks.device)

    def verify_part(part: PoseBatch) -> tuple[PoseBatch, RefinementSamples, Evidence]:
        poses, samples = _refined(part, refinement_samples(objects, part), observed, len(objects))
        surfaces = object_samples(objects, poses.object_index)
        return poses, samples, gather_evidence(poses, surfaces, observed, masks, image)

    parts = [starts[starts.mask_index % threads == part] for part in range(threads)]
    done = map_on_threads(verify_part, threads, [part for part in parts if len(part)])
    poses, samples, evidence = zip(*done, strict=True)
    all_parts = joined(poses, PoseBatch), joined(evidence, Evidence), joined(samples, RefinementSamples)
    return VerifiedPoses(*all_parts, observed, objects, masks, image)


def _refined(
    starts: PoseBatch, samples: RefinementSamples, observed: ObservedMasks, object_count: int
) -> tuple[PoseBatch, RefinementSamples]:
    """Refine start poses: of each pair the best ones by the depth, and one by the outline."""
    poses = refine(starts, _first(samples, FIRST_SAMPLES), observed, FIRST_STEPS)
    best = _best_of_pairs(poses, fit_quality(poses, samples, observed), object_count, KEPT)
    by_depth = refine(poses[best], _at(samples, best), observed, LAST_STEPS, first=0.4)
    # where the depth of an object is wrong, as of shiny and white ones, its outline still is right
    first = _best_of_pairs(poses, -poses.cost, object_count, 1)
    by_outline = refine(poses[first], _at(samples, first), observed, OUTLINE_STEPS, noise_factor=OUTLINE_NOISE_FACTOR)
    return joined([by_depth, by_outline], PoseBatch), _at(samples, torch.cat([best, first]))


def _all_starts(objects: Sequence[KnownObject], prior: Tensor, points: ObservedPoints, threads: int) -> list[PoseBatch]:
    """Align the views of each object with the masks that it fits in size, and take the best ones."""
    extents, is_candidate = ObservedExtents.of(points), prior.isfinite()
    candidates = torch.nonzero(is_candidate.any(dim=0))[:, 0].tolist()

    def starts_of(index: int) -> PoseBatch | None:
        known = objects[index]
        if known.views is None or known.diameter_m is None or not can_be_verified(known):
            return None
        rows = torch.nonzero(is_candidate[:, index] & extents.fit(known.diameter_m))[:, 0]
        if not len(rows):
            return None
        starts = start_poses(align_views(points[rows], known.views, known.spectra), known.views, STARTS)
        valid = starts.cost.isfinite()
        return PoseBatch(
            starts.rotation[valid],
            starts.centre_m[valid],
            rows[:, None].expand(-1, STARTS)[valid],
            torch.full_like(starts.view[valid], index),
            starts.view[valid],
            starts.cost[valid],
        )

    return [starts for starts in map_on_threads(starts_of, threads, candidates) if starts is not None]


def likeliest_pairs(batches: Sequence[PoseBatch], prior: Tensor, object_count: int) -> PoseBatch | None:
    """Keep the starts of the MAX_PAIRS pairs with the highest prior - COST_WEIGHT * cost.

    Args:
        batches: Start poses, of each object.
        prior: (N, O), as of `verify`.
        object_count: Number of objects, O.

    Returns:
        The starts that are kept; None where there are none.
    """
    if not sum(map(len, batches)):
        return None
    starts = joined(batches, PoseBatch)
    likely = prior[starts.mask_index, starts.object_index] - COST_WEIGHT * starts.cost
    pair = starts.mask_index * object_count + starts.object_index
    of_pair = torch.full((prior.numel(),), -torch.inf, device=prior.device).scatter_reduce(0, pair, likely, "amax")
    least = of_pair.topk(min(MAX_PAIRS, len(of_pair))).values[-1]
    return starts[of_pair[pair] >= least]


def _best_of_pairs(poses: PoseBatch, quality: Tensor, object_count: int, kept: int) -> Tensor:
    """Indices of the `kept` best poses of each pair of mask and object."""
    pair = poses.mask_index * object_count + poses.object_index
    order = torch.argsort(quality, descending=True, stable=True)
    order = order[torch.argsort(pair[order], stable=True)]
    ranked = pair[order]
    is_kept = torch.ones_like(ranked, dtype=torch.bool)
    is_kept[kept:] = ranked[kept:] != ranked[:-kept]
    return order[is_kept]


def refinement_samples(objects: Sequence[KnownObject], poses: PoseBatch) -> RefinementSamples:
    """Gather the samples that the views of poses show.

    Args:
        objects: O objects.
        poses: H poses of objects that can be verified.

    Returns:
        The samples, on the device of the poses.
    """
    device, size = poses.cost.device, (len(poses), VIEW_SAMPLES)
    points, normals, is_rim = np.empty((*size, 3), np.float32), np.empty((*size, 3), np.float32), np.empty(size, bool)
    radius_m = np.empty(len(poses), np.float32)
    object_index, view = poses.object_index.cpu().numpy(), poses.view.cpu().numpy()
    for index in np.unique(object_index):
        known, rows = objects[index], np.flatnonzero(object_index == index)
        assert known.surface is not None
        assert known.views is not None
        chosen = known.surface.of_view[view[rows]]
        points[rows], normals[rows] = known.surface.points_m[chosen], known.surface.normals[chosen]
        is_rim[rows], radius_m[rows] = known.surface.is_rim[view[rows]], known.views.radius_m
    return RefinementSamples(*(torch.from_numpy(part).to(device) for part in (points, normals, is_rim, radius_m)))


def _first(samples: RefinementSamples, count: int) -> RefinementSamples:
    """Take the first samples of each pose, which are in random order."""
    return RefinementSamples(
        samples.points_m[:, :count], samples.normals[:, :count], samples.is_rim[:, :count], samples.radius_m
    )


def _at(samples: RefinementSamples, rows: Tensor) -> RefinementSamples:
    return RefinementSamples(
        samples.points_m[rows], samples.normals[rows], samples.is_rim[rows], samples.radius_m[rows]
    )


def joined(parts: Sequence[Batch], kind: type[Batch]) -> Batch:
    """Join batches of poses, samples or evidence.

    Args:
        parts: The batches, one at least.
        kind: Their type.

    Returns:
        One batch.
    """
    return kind(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(kind)))
