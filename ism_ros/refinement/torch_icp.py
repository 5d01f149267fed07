"""Pose refinement by operations of PyTorch, all poses at once: for GPUs (projective_icp has the formulas).

H poses, S samples, N masks, C cells along each side of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.refinement.observed_masks import CELLS, ObservedMasks, values_at
from ism_ros.refinement.pose_batch import PoseBatch, RefinementSamples
from ism_ros.refinement.step_limits import (
    AGREEING_DEVIATIONS,
    DAMPING,
    HIDDEN_M,
    MAX_STEP_M,
    MAX_STEP_RAD,
    MIN_DEPTH_M,
    NEAR_OUTLINE_PX,
    StepLimits,
)


def refine(
    poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks, limits: Sequence[StepLimits]
) -> PoseBatch:
    """Refine poses.

    Args:
        poses: H poses.
        samples: Of the same.
        observed: Depth and masks.
        limits: Of each step.

    Returns:
        The moved poses.
    """
    scale = torch.cat([samples.radius_m[:, None].square().expand(-1, 3), torch.ones_like(poses.centre_m)], dim=1)
    for limits_of_step in limits:
        matrix, vector = _normal_equations(poses, samples, observed, limits_of_step)
        diagonal = DAMPING * matrix.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1.0)
        matrix = matrix + torch.diag_embed(scale * diagonal[:, None] + 1e-6)
        move = torch.linalg.solve(matrix, vector)
        turn = rotation_of_vector(move[:, :3].clamp(-MAX_STEP_RAD, MAX_STEP_RAD))
        poses = poses.moved(turn @ poses.rotation, poses.centre_m + move[:, 3:].clamp(-MAX_STEP_M, MAX_STEP_M))
    return poses


def normal_matrices(
    poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks, limits: StepLimits
) -> Tensor:
    """Compute the matrices of the normal equations.

    Args:
        poses: H poses.
        samples: Of the same.
        observed: Depth and masks.
        limits: What counts.

    Returns:
        (H, 6, 6) of rotation vector and translation.
    """
    return _normal_equations(poses, samples, observed, limits)[0]


def fit_quality(poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks) -> Tensor:
    """Score how well poses fit.

    Args:
        poses: H poses.
        samples: Of the same.
        observed: Depth and masks.

    Returns:
        (H,), as of projective_icp.
    """
    seen = _projected(poses, samples, observed)
    gap = seen.along_ray.abs() * (seen.depth - seen.z)
    limit = AGREEING_DEVIATIONS * observed.noise_m(seen.z)
    read = seen.depth > 0
    agreeing, missing = read & (gap.abs() < limit), read & (gap > limit)
    surface = agreeing.sum(dim=1) / (agreeing | missing).sum(dim=1).clamp(min=1)
    near = (-(seen.distance_px / NEAR_OUTLINE_PX).square()).exp() * samples.is_rim
    return surface + near.sum(dim=1) / samples.is_rim.sum(dim=1).clamp(min=1)


def rotation_of_vector(vector: Tensor) -> Tensor:
    """Compute rotation matrices of rotation vectors (Rodrigues).

    Args:
        vector: (H, 3) radians.

    Returns:
        (H, 3, 3).
    """
    angle = vector.norm(dim=1).clamp(min=1e-9)[:, None, None]
    x, y, z = vector.unbind(dim=1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + angle.sin() / angle * skew + (1 - angle.cos()) / angle.square() * (skew @ skew)


def _normal_equations(
    poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks, limits: StepLimits
) -> tuple[Tensor, Tensor]:
    """Sum the normal equations: matrices (H, 6, 6) and right sides (H, 6) of rotation vector and translation."""
    seen = _projected(poses, samples, observed)
    difference, z = seen.depth - seen.z, seen.z
    has_depth = seen.depth > 0
    noise = limits.noise_factor * observed.noise_m(z) + limits.added_noise_m
    is_near = (difference.abs() < limits.gate_m) & (seen.distance_px > limits.least_distance_px)
    paired = has_depth & is_near & (seen.along_ray < 0)

    pixel_m = z / observed.intrinsics[0]
    free = samples.is_rim & ~(has_depth & (difference < HIDDEN_M))

    # of each pose, of samples paired with readings and of those drawn to the outline: six derivatives, and the residual
    rows = z.new_empty(len(z), 7, 2, z.shape[1])
    rows[:, 3:6, 0] = seen.normal
    rows[:, 3, 1], rows[:, 4, 1] = seen.slope_u, seen.slope_v
    torch.addcmul(seen.slope_u * seen.x_z, seen.slope_v, seen.y_z, out=rows[:, 5, 1]).neg_()
    torch.mul(seen.along_ray, difference, out=rows[:, 6, 0])
    torch.mul(seen.distance_px, pixel_m, out=rows[:, 6, 1]).neg_()
    arm = seen.arm[:, :, None]
    for axis in range(3):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        torch.mul(arm[:, one], rows[:, 3 + other], out=rows[:, axis])
        rows[:, axis].addcmul_(arm[:, other], rows[:, 3 + one], value=-1)
    noises = torch.stack([noise, limits.outline_noise_px * pixel_m], dim=1)
    counted = torch.stack([paired.to(z.dtype), limits.outline_weight * free], dim=1)
    weight = _robust_weight(rows[:, 6], noises) * counted
    sums = (rows[:, :6] * weight[:, None]).flatten(2) @ rows.flatten(2).mT
    return sums[:, :, :6], sums[:, :, 6]


@dataclass(frozen=True)
class _ProjectedSamples:
    """Samples of H poses in the image, and what is observed there; (H, S) each but for the vectors (H, 3, S).

    Attributes:
        arm: From the model's centre, axes of the camera frame, metres.
        normal: Outwards, camera frame.
        x_z, y_z, z: Point over its depth, and depth, metres.
        along_ray: Cosine between normal and viewing ray, times the length of the ray at z = 1.
        depth: Reading at the sample, metres; 0 = none.
        distance_px: Signed distance to the outline, above 0 inside, pixels.
        slope_u, slope_v: Slopes of that distance along columns and rows.
    """

    arm: Tensor
    normal: Tensor
    x_z: Tensor
    y_z: Tensor
    z: Tensor
    along_ray: Tensor
    depth: Tensor
    distance_px: Tensor
    slope_u: Tensor
    slope_v: Tensor


def _projected(poses: PoseBatch, samples: RefinementSamples, observed: ObservedMasks) -> _ProjectedSamples:
    """Project the samples of poses and read depth and outline there."""
    fx, fy, cx, cy = observed.intrinsics
    mask_index = poses.mask_index
    arm, normal = poses.rotation @ samples.points_m, poses.rotation @ samples.normals
    x, y, z = (arm + poses.centre_m[:, :, None]).unbind(dim=1)
    z = z.clamp(min=MIN_DEPTH_M)
    x_z, y_z = x / z, y / z
    u, v = x_z * fx + cx, y_z * fy + cy
    cell = observed.cell_px[mask_index][:, None]
    column, row = ((at - observed.origin[mask_index, axis][:, None]) / cell - 0.5 for axis, at in enumerate((u, v)))
    distance, slope_u, slope_v = _outline_distance(observed.distance, mask_index, column, row)
    along_ray = torch.addcmul(normal[:, 2], normal[:, 0], x_z).addcmul_(normal[:, 1], y_z)
    depth = observed.depth_at(u, v)
    return _ProjectedSamples(arm, normal, x_z, y_z, z, along_ray, depth, distance * cell, slope_u, slope_v)


def _robust_weight(residual: Tensor, noise: Tensor) -> Tensor:
    """Weights of residuals of some standard deviation, of one shape (Geman and McClure)."""
    variance = noise.square()
    return variance / torch.addcmul(variance, residual, residual).square_()


def _outline_distance(
    distance: Tensor, mask_index: Tensor, column: Tensor, row: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Interpolate signed distances (H, S) in cells, and their slopes along columns and rows."""
    left, top = column.floor().clamp_(0, CELLS - 2), row.floor().clamp_(0, CELLS - 2)
    right_share, bottom_share = (column - left).clamp_(0, 1), (row - top).clamp_(0, 1)
    index = torch.add(left, top, alpha=CELLS).long().add_(mask_index[:, None], alpha=CELLS * CELLS)
    flat = distance.flatten()
    a, b, c, d = (values_at(flat, index + offset) for offset in (0, 1, CELLS, CELLS + 1))
    upper, lower = torch.lerp(a, b, right_share), torch.lerp(c, d, right_share)
    slope_u, slope_v = torch.lerp(b - a, d - c, bottom_share), lower - upper
    return torch.addcmul(upper, slope_v, bottom_share), slope_u, slope_v
