"""Pose refinement by compiled loops, several times faster on a CPU than operations of PyTorch (torch_icp).

Poses have no need of each other, so that several threads may each refine some of them: loops hold no lock of Python.

H poses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ism_ros.refinement import compiled_loops
from ism_ros.refinement.compiled_loops import Observed, Poses, Samples, Solution
from ism_ros.refinement.depth_noise import CONSTANT_M
from ism_ros.refinement.observed_masks import ObservedMasks
from ism_ros.refinement.pose_batch import PoseBatch, RefinementSamples
from ism_ros.refinement.step_limits import (
    AGREEING_DEVIATIONS,
    DAMPING,
    MAX_STEP_M,
    MAX_STEP_RAD,
    NEAR_OUTLINE_PX,
    StepLimits,
)

SOLUTION = Solution(DAMPING, MAX_STEP_RAD, MAX_STEP_M)


def refine(
    poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks, limits: Sequence[StepLimits]
) -> PoseBatch:
    """Refine poses.

    Args:
        poses: H poses on the CPU.
        samples: Of the same.
        observed: Depth and masks.
        limits: Of each step.

    Returns:
        The moved poses.
    """
    moved = poses.moved(*(of.clone(memory_format=torch.contiguous_format) for of in (poses.rotation, poses.centre_m)))
    of_steps = np.array(limits, np.float32).reshape(len(limits), len(StepLimits._fields))
    radius_m = samples.radius_m.contiguous().numpy()
    compiled_loops.refine(pose_arrays(moved), radius_m, _samples(samples), _observed(observed), of_steps, SOLUTION)
    return moved


def fit_quality(poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks) -> Tensor:
    """Score how well poses fit.

    Args:
        poses: H poses on the CPU.
        samples: Of the same.
        observed: Depth and masks.

    Returns:
        (H,), as of projective_icp.
    """
    quality = np.empty(len(poses), np.float32)
    inputs = pose_arrays(poses), _samples(samples), _observed(observed)
    compiled_loops.fit_quality(*inputs, AGREEING_DEVIATIONS, NEAR_OUTLINE_PX, quality)
    return torch.from_numpy(quality)


def normal_matrices(
    poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks, limits: StepLimits
) -> Tensor:
    """Compute the matrices of the normal equations.

    Args:
        poses: H poses on the CPU.
        samples: Of the same.
        observed: Depth and masks.
        limits: What counts.

    Returns:
        (H, 6, 6) of rotation vector and translation.
    """
    matrices = np.empty((len(poses), 6, 6), np.float32)
    inputs = pose_arrays(poses), _samples(samples), _observed(observed)
    compiled_loops.normal_matrices(*inputs, np.array(limits, np.float32), matrices)
    return torch.from_numpy(matrices)


def pose_arrays(poses: PoseBatch) -> Poses:
    """Hand poses to compiled loops.

    Args:
        poses: H poses on the CPU.

    Returns:
        Their arrays, which share the memory of contiguous tensors.
    """
    rotation, centre_m, mask_index = poses.rotation, poses.centre_m, poses.mask_index
    return Poses(*(values.contiguous().numpy() for values in (rotation, centre_m, mask_index)))


def _samples(samples: RefinementSamples) -> Samples:
    return Samples(*(of.contiguous().numpy() for of in (samples.points_m, samples.normals, samples.is_rim)))


def _observed(observed: ObservedMasks) -> Observed:
    of_masks = observed.distance, observed.origin, observed.cell_px
    return Observed(
        observed.depth_m.contiguous().numpy(),
        np.array(observed.intrinsics, np.float32),
        np.array((CONSTANT_M, observed.inverse_noise), np.float32),
        *(values.contiguous().numpy() for values in of_masks),
    )
