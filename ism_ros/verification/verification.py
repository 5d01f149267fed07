"""Verification of objects under masks: start poses, refined against the depth, and the evidence for the best of each.

N masks, O objects, H pairs of mask and object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.pose import start_poses
from ism_ros.pose.observed_points import ObservedPoints
from ism_ros.refinement.observed_masks import ObservedMasks, observed_masks
from ism_ros.refinement.pose_batch import PoseBatch, RefinementSamples, joined
from ism_ros.refinement.projective_icp import fit_quality, pose_covariances, refine
from ism_ros.rendering.views.surface_samples import VIEW_SAMPLES
from ism_ros.runtime.compilation import IS_AVAILABLE
from ism_ros.runtime.threads import map_on_threads
from ism_ros.verification.evidence.gathering import gather_evidence
from ism_ros.verification.evidence.terms import Evidence, ObjectSamples
from ism_ros.verification.fine_silhouettes import fine_silhouettes
from ism_ros.verification.observed_image import ObservedImage
from ism_ros.verification.pair_choice import (
    PairChoice,
    best_of_pairs,
    likeliest_starts,
    pair_numbers,
    rows_of_threads,
    surface_of,
)

JUDGED = PairChoice(pairs=32, likely=1.9, cost_weight=0.5, quality_weight=1.5, second_penalty=0.2)
"""Pairs of mask and object whose poses, after the first steps, are refined to the last and judged."""
KEPT = 2
"""Poses of each pair, after the first steps, that are refined further by the depth."""
FIRST_STEPS, FIRST_SAMPLES = 4, 96
"""Steps of refinement of all start poses, and samples that they are refined by."""
LAST_STEPS = 5
"""Steps of refinement of those that are kept, by all samples."""
FINAL_STEPS, FINAL_OPENNESS = 8, 0.6
"""Steps of refinement of the poses of detections, and how far gates are open at their beginning."""
OUTLINE_STEPS, OUTLINE_NOISE_FACTOR = 5, 6.0
"""Steps of the refinement in which the outline decides, and the factor of the noise of depth in it."""


@dataclass(frozen=True)
class VerifiedPoses:
    """The best poses of pairs of mask and object.

    Attributes:
        poses: H poses.
        evidence: For and against them.
        samples: That they were refined by.
        observed: What they were refined against.
        objects: O objects that the poses are of.
    """

    poses: PoseBatch
    evidence: Evidence
    samples: RefinementSamples
    observed: ObservedMasks
    objects: Sequence[KnownObject]

    def finished(self, rows: Tensor) -> FinishedPoses:
        """Refine some poses to the end, by the depth.

        Args:
            rows: (K,) int64, which of them.

        Returns:
            K poses.
        """
        samples = _at(self.samples, rows)
        poses = refine(self.poses[rows], samples, self.observed, FINAL_STEPS, first=FINAL_OPENNESS)
        return FinishedPoses(poses, pose_covariances(poses, samples, self.observed), self.observed, self.objects)


@dataclass(frozen=True)
class FinishedPoses:
    """Poses that are refined to the end.

    Attributes:
        poses: K poses.
        covariances: (K, 6, 6) of x, y, z (metres) and rotations about x, y, z (radians) of the centres, camera frame.
        observed: What they were refined against.
        objects: O objects that the poses are of.
    """

    poses: PoseBatch
    covariances: Tensor
    observed: ObservedMasks
    objects: Sequence[KnownObject]

    def masks(self, rows: Tensor, proposals: Tensor) -> Tensor:
        """Make the masks of some of them.

        Args:
            rows: (M,) int64, which of them.
            proposals: (M, H, W) bool, the proposals that they are under.

        Returns:
            (M, H, W) bool, the visible silhouettes.
        """
        poses = self.poses[rows]
        samples = object_samples(self.objects, poses.object_index)
        spacing_m = [surface_of(self.objects[index]).spacing_m for index in poses.object_index.tolist()]
        spacing = torch.tensor(spacing_m, dtype=torch.float32, device=poses.cost.device)
        return fine_silhouettes(poses, samples, spacing, self.observed, proposals)


def object_samples(objects: Sequence[KnownObject], object_index: Tensor) -> ObjectSamples:
    """Gather the surface samples of the objects of poses.

    Args:
        objects: O objects, of which only those of the poses are looked at.
        object_index: (H,) int64, the object of each pose.

    Returns:
        The samples, on the device of the poses.
    """
    chosen, row = object_index.unique(return_inverse=True)
    surfaces = [surface_of(objects[index]) for index in chosen.tolist()]
    return ObjectSamples(
        *(
            torch.from_numpy(np.stack([getattr(surface, name) for surface in surfaces])).to(row.device)[row]
            for name in ("axes_of_points_m", "axes_of_normals", "colors")
        )
    )


@torch.inference_mode()
def compile_loops() -> None:
    """Have all that is compiled for the CPU ready, so that no frame waits for it: at the first start some seconds."""
    if not IS_AVAILABLE:
        return
    none = torch.zeros(0)
    start_poses.compile_loops()
    number = torch.zeros(0, dtype=torch.int64)
    poses = PoseBatch(none.view(0, 3, 3), none.view(0, 3), number, number, number, none)
    vectors = torch.zeros(0, 3, VIEW_SAMPLES)
    samples = RefinementSamples(vectors, vectors, torch.zeros(0, VIEW_SAMPLES, dtype=torch.bool), none)
    camera = Camera(np.array([[16.0, 0, 8], [0, 16, 8], [0, 0, 1]]), 16, 16)
    frame = Frame(np.zeros((16, 16, 3), np.uint8), np.ones((16, 16), np.float32), camera)
    masks = torch.ones(1, 16, 16, dtype=torch.bool)
    observed = observed_masks(frame, masks, boxes_from_masks(masks))
    fit_quality(refine(poses, samples, observed, 1), samples, observed)
    pose_covariances(poses, samples, observed)
    image = ObservedImage.of(frame.rgb, masks.device)
    surfaces = ObjectSamples(vectors, vectors, vectors.mT.contiguous())
    gather_evidence(poses, surfaces, observed, masks, image)


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
        prior: (N, O) how likely a pair is by looks; -inf where it is not to be verified.
        observed_points: Points under the masks.
        threads: Threads that share the work, each on some of the masks; 1 on a GPU.

    Returns:
        A few poses of each of the likeliest pairs, or None where there is no pair.
    """
    starts = likeliest_starts(objects, prior, observed_points, threads)
    if starts is None:
        return None
    observed = observed_masks(frame, masks, boxes_xyxy, threads)
    image = ObservedImage.of(frame.rgb, masks.device)

    def begin(part: PoseBatch) -> tuple[PoseBatch, Tensor]:
        samples = refinement_samples(objects, part)
        poses = refine(part, _first(samples, FIRST_SAMPLES), observed, FIRST_STEPS)
        return poses, fit_quality(poses, samples, observed)

    def finish(part: PoseBatch, quality: Tensor) -> tuple[PoseBatch, RefinementSamples, Evidence]:
        poses, samples = _refined(part, quality, pair_numbers(part, len(objects)), objects, observed)
        surfaces = object_samples(objects, poses.object_index)
        return poses, samples, gather_evidence(poses, surfaces, observed, masks, image)

    parts = [starts[rows] for rows in torch.arange(len(starts), device=masks.device).tensor_split(threads)]
    begun, of_parts = zip(*map_on_threads(begin, threads, parts), strict=True)
    poses, quality = joined(begun), torch.cat(of_parts)
    looks = prior[poses.mask_index, poses.object_index]
    kept = JUDGED.kept(pair_numbers(poses, len(objects)), len(objects), looks, poses.cost, quality)
    rows = rows_of_threads(poses.mask_index, threads, kept)
    done = map_on_threads(finish, threads, [poses[part] for part in rows], [quality[part] for part in rows])
    finished, samples, evidence = zip(*done, strict=True)
    return VerifiedPoses(joined(finished), joined(evidence), joined(samples), observed, objects)


def _refined(
    poses: PoseBatch, quality: Tensor, pair: Tensor, objects: Sequence[KnownObject], observed: ObservedMasks
) -> tuple[PoseBatch, RefinementSamples]:
    """Refine poses of known quality further: of each pair the best KEPT by the depth, and one by the outline."""
    by_depth = poses[best_of_pairs(pair, quality, KEPT)]
    # where the depth of an object is wrong, as of shiny and white ones, its outline still is right
    by_outline = poses[best_of_pairs(pair, -poses.cost)]
    depth_samples, outline_samples = refinement_samples(objects, by_depth), refinement_samples(objects, by_outline)
    refined = [
        refine(by_depth, depth_samples, observed, LAST_STEPS, first=0.4),
        refine(by_outline, outline_samples, observed, OUTLINE_STEPS, noise_factor=OUTLINE_NOISE_FACTOR),
    ]
    return joined(refined), joined([depth_samples, outline_samples])


def refinement_samples(objects: Sequence[KnownObject], poses: PoseBatch) -> RefinementSamples:
    """Gather the samples that the views of poses show.

    Args:
        objects: O objects.
        poses: H poses of objects that can be verified.

    Returns:
        The samples, on the device of the poses.
    """
    device, count = poses.cost.device, len(poses)
    points, normals = (np.empty((count, 3, VIEW_SAMPLES), np.float32) for _ in range(2))
    is_rim, radius_m = np.empty((count, VIEW_SAMPLES), bool), np.empty(count, np.float32)
    object_index, view = poses.object_index.cpu().numpy(), poses.view.cpu().numpy()
    for index in np.unique(object_index):
        known, rows = objects[index], np.flatnonzero(object_index == index)
        assert known.surface is not None
        assert known.views is not None
        points[rows], normals[rows] = (part[view[rows]] for part in known.surface.seen)
        is_rim[rows], radius_m[rows] = known.surface.is_rim[view[rows]], known.views.radius_m
    return RefinementSamples(*(torch.from_numpy(part).to(device) for part in (points, normals, is_rim, radius_m)))


def _first(samples: RefinementSamples, count: int) -> RefinementSamples:
    """Take the first samples of each pose, which are in random order."""
    points_m, normals, is_rim = (
        part[..., :count].contiguous() for part in (samples.points_m, samples.normals, samples.is_rim)
    )
    return RefinementSamples(points_m, normals, is_rim, samples.radius_m)


def _at(samples: RefinementSamples, rows: Tensor) -> RefinementSamples:
    return RefinementSamples(
        samples.points_m[rows], samples.normals[rows], samples.is_rim[rows], samples.radius_m[rows]
    )
