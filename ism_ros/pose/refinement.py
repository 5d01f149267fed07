"""Refinement of poses against the depth image and the outline of a mask: projective point-to-plane ICP, robust.

For each of H poses, the model's samples q (with normals n) that its view shows are projected into the image; there
the camera measures the depth d. With p the point at that depth on the ray through q, the residual is the distance of p
from the tangent plane of the model,

    r = n . (p - q)                                     (Chen and Medioni, 1991; projective: Blais and Levine, 1995)

weighed by w = 1 / (s^2 (1 + r^2 / s^2)^2), Geman and McClure's, with s the noise of the sensor at that distance.
Samples at the rim of the view are also drawn to the outline of the mask: with the signed distance D (above 0 inside),
their residual is -D in metres at their depth; where something nearer hides them they are free. Each step solves the
6 x 6 normal equations of all poses at once and moves the poses about their centres.

H poses, S samples, N masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from ism_ros.pose.covariance import UNKNOWN_POSITION_M, UNKNOWN_ROTATION_RAD2
from ism_ros.pose.observed_masks import CELLS, ObservedMasks, values_at

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Batch = TypeVar("Batch", bound="DataclassInstance")

GATE_M = 0.03
"""Distance along the ray, metres, beyond which a sample and a reading are no pair at the first step; it shrinks to
LAST_GATE_M."""
LAST_GATE_M = 0.008
MAX_STEP_RAD, MAX_STEP_M = 0.2, 0.03
"""Most that a pose moves in a step."""
OUTLINE_NOISE_PX = 2.0
"""Standard deviation of the outlines of masks, pixels, at the last step; four times as much at the first."""
OUTLINE_WEIGHT = 0.5
"""Weight of a rim's residual relative to one of depth."""
LAST_OUTLINE = 0.1
"""Least factor of OUTLINE_WEIGHT: outlines bring poses near, depth is the more exact."""
SAMPLES_PER_READING = 12.0
"""Number of neighbouring readings whose errors count as one, in covariances."""
FLOOR_M, FLOOR_RAD = 0.0015, 0.02
"""Standard deviations of position and rotation that remain of any fit: of the model, the calibration, the clock."""
DAMPING = 1e-3
"""Damping of the normal equations, relative to the mean of their diagonal."""


@dataclass(frozen=True)
class PoseBatch:
    """H poses of known objects under masks.

    Attributes:
        rotation: (H, 3, 3) object-to-camera.
        centre_m: (H, 3) position of the model's centre in the camera frame, metres.
        mask_index: (H,) int64.
        object_index: (H,) int64.
        view: (H,) int64, the view that each started from.
        cost: (H,) alignment cost of that view.
    """

    rotation: Tensor
    centre_m: Tensor
    mask_index: Tensor
    object_index: Tensor
    view: Tensor
    cost: Tensor

    def __len__(self) -> int:
        """Count the poses, H."""
        return len(self.cost)

    def __getitem__(self, rows: Tensor) -> PoseBatch:
        """Return the poses at `rows`, (K,) int64 or (H,) bool."""
        return PoseBatch(
            self.rotation[rows],
            self.centre_m[rows],
            self.mask_index[rows],
            self.object_index[rows],
            self.view[rows],
            self.cost[rows],
        )


@dataclass(frozen=True)
class RefinementSamples:
    """The samples that H poses are refined by.

    Attributes:
        points_m: (H, 3, S) relative to the model's centre, object axes, metres.
        normals: (H, 3, S) outwards.
        is_rim: (H, S) bool.
        radius_m: (H,) radius of the object, metres.
    """

    points_m: Tensor
    normals: Tensor
    is_rim: Tensor
    radius_m: Tensor


def joined(batches: Sequence[Batch]) -> Batch:
    """Join batches of poses, or of what belongs to them, one after the other.

    Args:
        batches: One at least, dataclasses whose fields are all tensors with a row for each pose.

    Returns:
        One batch.
    """
    names = [field.name for field in fields(batches[0])]
    return type(batches[0])(*(torch.cat([getattr(batch, name) for batch in batches]) for name in names))


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
    rotation, centre_m = poses.rotation, poses.centre_m
    scale = torch.cat([samples.radius_m[:, None].square().expand(-1, 3), torch.ones_like(centre_m)], dim=1)
    for step in range(steps):
        openness = first * (1 - step / steps)
        matrix, vector = _normal_equations(
            rotation, centre_m, poses.mask_index, samples, observed, openness, noise_factor
        )
        diagonal = DAMPING * matrix.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1.0)
        matrix = matrix + torch.diag_embed(scale * diagonal[:, None] + 1e-6)
        move = torch.linalg.solve(matrix, vector)
        rotation = rotation_of_vector(move[:, :3].clamp(-MAX_STEP_RAD, MAX_STEP_RAD)) @ rotation
        centre_m = centre_m + move[:, 3:].clamp(-MAX_STEP_M, MAX_STEP_M)
    return PoseBatch(rotation, centre_m, poses.mask_index, poses.object_index, poses.view, poses.cost)


def _normal_equations(
    rotation: Tensor,
    centre_m: Tensor,
    mask_index: Tensor,
    samples: RefinementSamples,
    observed: ObservedMasks,
    openness: float,
    noise_factor: float,
) -> tuple[Tensor, Tensor]:
    """Sum the 6 x 6 normal equations of rotation vector and translation, (H, 6, 6) and (H, 6)."""
    seen = _projected(rotation, centre_m, mask_index, samples, observed)
    difference, z = seen.depth - seen.z, seen.z
    has_depth = seen.depth > 0
    gate_m = noise_factor * (GATE_M * openness + LAST_GATE_M)
    noise = noise_factor * observed.noise_m(z) + 0.3 * openness * (GATE_M * openness + LAST_GATE_M)
    paired = has_depth & (difference.abs() < gate_m) & (seen.along_ray < 0) & (seen.distance_px > -2 - 3 * openness)

    pixel_m = z / observed.intrinsics[0]
    rim_noise = OUTLINE_NOISE_PX * (1 + 3 * openness) * pixel_m
    free = samples.is_rim & ~(has_depth & (difference < -0.02))
    # where the outline decides, it does so up to the last step
    outline_weight = OUTLINE_WEIGHT * (max(openness, LAST_OUTLINE) if noise_factor == 1.0 else 1.0)

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
    noises = torch.stack([noise, rim_noise], dim=1)
    weight = _robust_weight(rows[:, 6], noises) * torch.stack([paired.to(z.dtype), outline_weight * free], dim=1)
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


def _projected(
    rotation: Tensor, centre_m: Tensor, mask_index: Tensor, samples: RefinementSamples, observed: ObservedMasks
) -> _ProjectedSamples:
    """Project the samples of poses and read depth and outline there."""
    fx, fy, cx, cy = observed.intrinsics
    arm, normal = rotation @ samples.points_m, rotation @ samples.normals
    x, y, z = (arm + centre_m[:, :, None]).unbind(dim=1)
    z = z.clamp(min=0.05)
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
    seen = _projected(poses.rotation, poses.centre_m, poses.mask_index, samples, observed)
    gap = seen.along_ray.abs() * (seen.depth - seen.z)
    limit = 3 * observed.noise_m(seen.z)
    read = seen.depth > 0
    agreeing, missing = read & (gap.abs() < limit), read & (gap > limit)
    surface = agreeing.sum(dim=1) / (agreeing | missing).sum(dim=1).clamp(min=1)
    near = (-(seen.distance_px / 4).square()).exp() * samples.is_rim
    return surface + near.sum(dim=1) / samples.is_rim.sum(dim=1).clamp(min=1)


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
    matrix, _ = _normal_equations(poses.rotation, poses.centre_m, poses.mask_index, samples, observed, 0.0, 1.0)
    order = [3, 4, 5, 0, 1, 2]
    matrix = matrix[:, order][:, :, order].double() / SAMPLES_PER_READING
    prior = matrix.new_tensor([UNKNOWN_POSITION_M**-2] * 3 + [1 / UNKNOWN_ROTATION_RAD2] * 3)
    floor = matrix.new_tensor([FLOOR_M**2] * 3 + [FLOOR_RAD**2] * 3)
    return (torch.linalg.inv(matrix + torch.diag(prior)) + torch.diag(floor)).float()
