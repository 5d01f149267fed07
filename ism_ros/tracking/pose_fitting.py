"""Predicted poses, fitted to a frame: refined against depth and regions, with the evidence for and against each.

H poses in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.refinement.pose_batch import PoseBatch
from ism_ros.refinement.projective_icp import pose_covariances, refine
from ism_ros.tracking.lost_detection import gather_pose_evidence, pose_score
from ism_ros.tracking.observed_regions import ObservedRegions, observe_regions, surface_colors
from ism_ros.tracking.region_colors import RegionColors, color_bins
from ism_ros.verification.evidence.terms import TERMS, Evidence
from ism_ros.verification.verification import object_samples, refinement_samples

STEPS, OPENNESS = 4, 0.8
"""Steps of the refinement, and how far its gates are open at the first."""


@dataclass(frozen=True)
class PredictedPose:
    """A pose to be fitted.

    Attributes:
        instance: Index of the instance that it is of.
        known: Its object.
        rotation: (3, 3) object-to-camera.
        centre_m: (3,) of the model, metres.
        is_rival: Whether it comes from the search, beside the pose that is followed.
    """

    instance: int
    known: KnownObject
    rotation: NDArray[np.float64]
    centre_m: NDArray[np.float64]
    is_rival: bool


@dataclass(frozen=True)
class FittedPoses:
    """What a frame says about H poses.

    Attributes:
        poses: The refined poses.
        evidence: For and against them, with their silhouettes.
        covariances: (H, 6, 6), as of `refinement.projective_icp.pose_covariances`.
        regions: Their windows.
        colors: (H, BINS^3) how much of their surfaces has each color in the image.
        scores: (H,) of `lost_detection.pose_score`.
        terms: (H,) terms of the evidence by name.
    """

    poses: PoseBatch
    evidence: Evidence
    covariances: Tensor
    regions: ObservedRegions
    colors: Tensor
    scores: list[float]
    terms: list[dict[str, float]]


def fit_poses(
    predicted: Sequence[PredictedPose], colors: Sequence[RegionColors], frame: Frame, inverse_noise: float
) -> FittedPoses:
    """Fit poses to a frame.

    Args:
        predicted: H poses.
        colors: H histograms of their instances.
        frame: With depth.
        inverse_noise: Standard deviation of inverse depth, 1/m.

    Returns:
        The fit.
    """
    assert frame.depth_m is not None
    camera, objects = frame.camera, [one.known for one in predicted]
    batch = _batch(predicted)
    surfaces = object_samples(objects, batch.object_index)
    intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
    depth_m, color_image = torch.from_numpy(frame.depth_m), color_bins(frame.rgb)
    instances = [one.instance for one in predicted]
    regions = observe_regions(batch, surfaces, instances, colors, depth_m, color_image, intrinsics, inverse_noise)
    samples = refinement_samples(objects, batch)
    poses = refine(_shifted(batch, regions, camera), samples, regions.masks, STEPS, first=OPENNESS)
    evidence = gather_pose_evidence(poses, surfaces, regions.masks, torch.from_numpy(frame.rgb))
    covariances = pose_covariances(poses, samples, regions.masks)
    terms = [dict(zip(TERMS, row, strict=True)) for row in evidence.terms.tolist()]
    seen_colors = surface_colors(poses, surfaces, depth_m, color_image, intrinsics, inverse_noise)
    return FittedPoses(poses, evidence, covariances, regions, seen_colors, [pose_score(one) for one in terms], terms)


def radius_of(known: KnownObject) -> float:
    """Return the radius of an object that can be verified, metres."""
    assert known.views is not None
    return float(known.views.radius_m)


def _shifted(poses: PoseBatch, regions: ObservedRegions, camera: Camera) -> PoseBatch:
    """Move predicted poses across the viewing direction upon their regions."""
    per_pixel = poses.centre_m[:, 2:] / torch.tensor([camera.fx, camera.fy])
    shift_m = torch.cat([regions.shift_px * per_pixel, torch.zeros(len(poses), 1)], dim=1)
    return replace(poses, centre_m=poses.centre_m + shift_m)


def _batch(wanted: Sequence[PredictedPose]) -> PoseBatch:
    """Make the batch; pose i is under mask i, of object i, from the view that it shows."""
    rotation = np.stack([one.rotation for one in wanted])
    centre_m = np.stack([one.centre_m for one in wanted])
    views = []
    for one in wanted:
        assert one.known.views is not None
        ray = one.rotation.T @ (one.centre_m / np.linalg.norm(one.centre_m))
        views.append(int((one.known.views.rotations[:, 2] @ ray).argmax()))
    each = torch.arange(len(wanted))
    return PoseBatch(
        torch.from_numpy(rotation).float(),
        torch.from_numpy(centre_m).float(),
        each,
        each.clone(),
        torch.tensor(views),
        torch.zeros(len(wanted)),
    )
