"""Refinement of poses against the depth image and the outline of a mask: projective point-to-plane ICP, robust.

For each of H poses, the model's samples q (with normals n) that its view shows are projected into the image; there
the camera measures the depth d. With p the point at that depth on the ray through q, the residual is the distance of p
from the tangent plane of the model,

    r = n . (p - q)                                     (Chen and Medioni, 1991; projective: Blais and Levine, 1995)

weighed by w = 1 / (s^2 (1 + r^2 / s^2)^2), Geman and McClure's, with s the noise of the sensor at that distance.
Samples at the rim of the view are also drawn to the outline of the mask: with the signed distance D (above 0 inside),
their residual is -D in metres at their depth; where something nearer hides them they are free. Each step solves the
6 x 6 normal equations of all poses at once and moves the poses about their centres.

What computes it: compiled loops on the CPU (compiled_icp), operations of PyTorch on a GPU (torch_icp).

H poses, S samples, N masks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ism_ros.refinement import compiled_icp, torch_icp
from ism_ros.refinement.covariance import UNKNOWN_POSITION_M, UNKNOWN_ROTATION_RAD2
from ism_ros.refinement.observed_masks import ObservedMasks
from ism_ros.refinement.pose_batch import PoseBatch, RefinementSamples
from ism_ros.refinement.step_limits import StepLimits
from ism_ros.runtime.compilation import is_compiled_for

SAMPLES_PER_READING = 12.0
"""Number of neighbouring readings whose errors count as one, in covariances."""
FLOOR_M, FLOOR_RAD = 0.0015, 0.02
"""Standard deviations of position and rotation that remain of any fit: of the model, the calibration, the clock."""


def refine(
    poses: PoseBatch,
    samples: RefinementSamples,
    observed: ObservedMasks,
    steps: int,
    first: float = 1.0,
    noise_factor: float = 1.0,
) -> PoseBatch:
    """Refine poses.

    Args:
        poses: H poses.
        samples: Of the same.
        observed: Depth and masks.
        steps: Steps.
        first: How far gates are open at the first step, 1 = wholly.
        noise_factor: Factor of the depth's noise: where it is large, the outline decides.

    Returns:
        The moved poses.
    """
    limits = [StepLimits.at(first * (1 - step / steps), noise_factor) for step in range(steps)]
    icp = compiled_icp if is_compiled_for(poses.cost) else torch_icp
    return icp.refine(poses, samples, observed, limits)


def fit_quality(poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks) -> Tensor:
    """Score how well poses fit, to choose between several of one object under one mask.

    The sum of two means, in [0, 2]: over samples that the camera should see, 1 where the reading is within three
    standard deviations of the surface, 0 where it is farther away; over the rim,
    exp(-(distance to the outline / 4 px)^2).

    Args:
        poses: H poses.
        samples: Of the same.
        observed: Depth and masks.

    Returns:
        (H,).
    """
    icp = compiled_icp if is_compiled_for(poses.cost) else torch_icp
    return icp.fit_quality(poses, samples, observed)


def pose_covariances(poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks) -> Tensor:
    """Compute the covariances that refined poses are left with.

    The inverse of the normal equations at the pose, with what is known beforehand of any pose (UNKNOWN_POSITION_M,
    UNKNOWN_ROTATION_RAD2) as a prior, so that a rotation that nothing fixes, as of a can about its axis, stays open.
    Neighbouring readings err together: SAMPLES_PER_READING of them count as one. Added is the floor of the fit itself.

    Args:
        poses: H poses.
        samples: Of the same.
        observed: Depth and masks.

    Returns:
        (H, 6, 6) of x, y, z (metres) and rotations about x, y, z (radians) of the model's centre, camera frame.
    """
    icp = compiled_icp if is_compiled_for(poses.cost) else torch_icp
    matrix = icp.normal_matrices(poses, samples, observed, StepLimits.at(0.0))
    order = [3, 4, 5, 0, 1, 2]
    matrix = matrix[:, order][:, :, order].double() / SAMPLES_PER_READING
    prior = matrix.new_tensor([UNKNOWN_POSITION_M**-2] * 3 + [1 / UNKNOWN_ROTATION_RAD2] * 3)
    floor = matrix.new_tensor([FLOOR_M**2] * 3 + [FLOOR_RAD**2] * 3)
    return (torch.linalg.inv(matrix + torch.diag(prior)) + torch.diag(floor)).float()
