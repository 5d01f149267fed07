"""The loops of pose refinement: samples of one pose after the other (projective_icp has the formulas).

All numbers are float32, so that loops without branches become vector instructions.

H poses, S samples, N masks, C cells along each side of a window.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ism_ros.refinement import step_limits
from ism_ros.runtime.compilation import HALF, ONE, ZERO, Float, Floats, compiled, compiled_part

LEAST_DEPTH_M, HIDDEN_M = Float(step_limits.MIN_DEPTH_M), Float(step_limits.HIDDEN_M)


class Poses(NamedTuple):
    """H poses.

    Attributes:
        rotation: (H, 3, 3) object-to-camera.
        centre_m: (H, 3) position of the model's centre in the camera frame, metres.
        mask_index: (H,) int64.
    """

    rotation: Floats
    centre_m: Floats
    mask_index: NDArray[np.int64]


class Samples(NamedTuple):
    """Samples of H poses.

    Attributes:
        points_m: (H, 3, S) relative to the model's centre, object axes, metres.
        normals: (H, 3, S) outwards.
        is_rim: (H, S) bool.
    """

    points_m: Floats
    normals: Floats
    is_rim: NDArray[np.bool_]


class Observed(NamedTuple):
    """What poses are compared with.

    Attributes:
        depth_m: (H, W) metres, 0 = no reading.
        intrinsics: (4,) fx, fy, cx, cy, pixels.
        noise: (2,) standard deviation of depth, metres, that is constant, and that of inverse depth, 1/m.
        distance: (N, C, C) distance to the outline, cells, above 0 inside the mask.
        origin: (N, 2) x and y of the window's corner, pixels.
        cell_px: (N,) side of a cell, pixels.
    """

    depth_m: Floats
    intrinsics: Floats
    noise: Floats
    distance: Floats
    origin: Floats
    cell_px: Floats


class Solution(NamedTuple):
    """Numbers of the solution of a step.

    Attributes:
        damping: Of the normal equations, relative to the mean of their diagonal.
        max_rad, max_m: Most that a pose turns about each axis, and moves along each.
    """

    damping: float
    max_rad: float
    max_m: float


@compiled
def refine(
    poses: Poses,
    radius_m: Floats,
    samples: Samples,
    observed: Observed,
    limits: Floats,
    solution: Solution,
) -> None:
    """Refine poses in place.

    Args:
        poses: H poses.
        radius_m: (H,) radius of the object, metres.
        samples: Of the poses.
        observed: Depth and outlines.
        limits: (K, 6) of each of K steps, as of `normal_matrices`.
        solution: Of the steps.
    """
    matrix, vector = np.empty((6, 6)), np.empty(6)
    rows, sums = np.empty((9, 2 * samples.points_m.shape[2]), np.float32), np.empty(27, np.float32)
    for pose in range(len(poses.rotation)):
        for step in range(len(limits)):
            _sum_equations(pose, poses, samples, observed, limits[step], rows, sums)
            trace, index = 0.0, 0
            for row in range(6):
                for column in range(row, 6):
                    matrix[row, column] = matrix[column, row] = sums[index]
                    index += 1
                vector[row] = sums[index]
                index += 1
                trace += matrix[row, row]
            damping = solution.damping * max(trace / 6, 1.0)
            for axis in range(3):
                matrix[axis, axis] += radius_m[pose] ** 2 * damping + 1e-6
                matrix[axis + 3, axis + 3] += damping + 1e-6
            _solve(matrix, vector)
            for axis in range(3):
                vector[axis] = min(max(vector[axis], -solution.max_rad), solution.max_rad)
                poses.centre_m[pose, axis] += min(max(vector[axis + 3], -solution.max_m), solution.max_m)
            _turn(poses.rotation[pose], vector)


@compiled
def normal_matrices(
    poses: Poses,
    samples: Samples,
    observed: Observed,
    limits: Floats,
    matrix: Floats,
) -> None:
    """Sum the normal equations of rotation vector and translation of poses.

    Args:
        poses: H poses.
        samples: Of the poses.
        observed: Depth and outlines.
        limits: (6,) the numbers of step_limits.StepLimits.
        matrix: (H, 6, 6) that is filled in.
    """
    rows, sums = np.empty((9, 2 * samples.points_m.shape[2]), np.float32), np.empty(27, np.float32)
    for pose in range(len(poses.rotation)):
        _sum_equations(pose, poses, samples, observed, limits, rows, sums)
        index = 0
        for row in range(6):
            for column in range(row, 6):
                matrix[pose, row, column] = matrix[pose, column, row] = sums[index]
                index += 1
            index += 1


@compiled
def fit_quality(
    poses: Poses,
    samples: Samples,
    observed: Observed,
    deviations: float,
    outline_px: float,
    quality: Floats,
) -> None:
    """Score how well poses fit.

    Args:
        poses: H poses.
        samples: Of the poses.
        observed: Depth and outlines.
        deviations: Standard deviations of the noise within which a reading agrees with the surface.
        outline_px: Distance to the outline, pixels, at which the agreement of a rim falls to 1/e.
        quality: (H,) that is filled in.
    """
    count = samples.points_m.shape[2]
    for pose in range(len(poses.rotation)):
        agreeing = missing = rims = near = ZERO
        for sample in range(count):
            _, normal, at = _turned(pose, sample, poses, samples)
            depth, distance_px, _, _ = _observed_at(at, poses.mask_index[pose], observed)
            gap = abs(normal[2] + normal[0] * at[0] + normal[1] * at[1]) * (depth - at[2])
            limit = Float(deviations) * (observed.noise[0] + observed.noise[1] * at[2] * at[2])
            agreeing += ONE if (depth > ZERO) & (abs(gap) < limit) else ZERO
            missing += ONE if (depth > ZERO) & (gap > limit) else ZERO
            rims += ONE if samples.is_rim[pose, sample] else ZERO
            relative = distance_px / Float(outline_px)
            near += math.exp(-relative * relative) if samples.is_rim[pose, sample] else ZERO
        quality[pose] = agreeing / max(agreeing + missing, ONE) + near / max(rims, ONE)


Vector = tuple[np.float32, np.float32, np.float32]


@compiled_part
def _turned(pose: int, sample: int, poses: Poses, samples: Samples) -> tuple[Vector, Vector, Vector]:
    """Turn a sample: its arm from the centre, metres, its normal, and x / z, y / z and z of it, camera frame."""
    rotation, centre_m, points, normals = poses.rotation, poses.centre_m, samples.points_m, samples.normals
    x, y, z = points[pose, 0, sample], points[pose, 1, sample], points[pose, 2, sample]
    arm_x = rotation[pose, 0, 0] * x + rotation[pose, 0, 1] * y + rotation[pose, 0, 2] * z
    arm_y = rotation[pose, 1, 0] * x + rotation[pose, 1, 1] * y + rotation[pose, 1, 2] * z
    arm_z = rotation[pose, 2, 0] * x + rotation[pose, 2, 1] * y + rotation[pose, 2, 2] * z
    x, y, z = normals[pose, 0, sample], normals[pose, 1, sample], normals[pose, 2, sample]
    normal_x = rotation[pose, 0, 0] * x + rotation[pose, 0, 1] * y + rotation[pose, 0, 2] * z
    normal_y = rotation[pose, 1, 0] * x + rotation[pose, 1, 1] * y + rotation[pose, 1, 2] * z
    normal_z = rotation[pose, 2, 0] * x + rotation[pose, 2, 1] * y + rotation[pose, 2, 2] * z
    depth_m = max(arm_z + centre_m[pose, 2], LEAST_DEPTH_M)
    nearness = ONE / depth_m
    at = ((arm_x + centre_m[pose, 0]) * nearness, (arm_y + centre_m[pose, 1]) * nearness, depth_m)
    return (arm_x, arm_y, arm_z), (normal_x, normal_y, normal_z), at


@compiled_part
def _observed_at(at: Vector, mask: int, observed: Observed) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Read depth, metres, signed distance to the outline of a mask, pixels, and its slopes along columns and rows."""
    height, width = observed.depth_m.shape
    cells = observed.distance.shape[1]
    u = at[0] * observed.intrinsics[0] + observed.intrinsics[2]
    v = at[1] * observed.intrinsics[1] + observed.intrinsics[3]
    column, row = np.floor(u + HALF), np.floor(v + HALF)
    nearest_column = min(max(column, ZERO), Float(width - 1))
    nearest_row = min(max(row, ZERO), Float(height - 1))
    reading = observed.depth_m[np.int32(nearest_row), np.int32(nearest_column)]
    depth_m = reading if (nearest_column == column) & (nearest_row == row) else ZERO

    cell_px = observed.cell_px[mask]
    across = (u - observed.origin[mask, 0]) / cell_px - HALF
    down = (v - observed.origin[mask, 1]) / cell_px - HALF
    left = min(max(np.floor(across), ZERO), Float(cells - 2))
    top = min(max(np.floor(down), ZERO), Float(cells - 2))
    right_share, bottom_share = min(max(across - left, ZERO), ONE), min(max(down - top, ZERO), ONE)
    i, j = np.int32(top), np.int32(left)
    a, b = observed.distance[mask, i, j], observed.distance[mask, i, j + 1]
    c, d = observed.distance[mask, i + 1, j], observed.distance[mask, i + 1, j + 1]
    upper, lower = a + (b - a) * right_share, c + (d - c) * right_share
    slope_u = (b - a) + ((d - c) - (b - a)) * bottom_share
    return depth_m, (upper + (lower - upper) * bottom_share) * cell_px, slope_u, lower - upper


@compiled_part
def _sum_equations(
    pose: int,
    poses: Poses,
    samples: Samples,
    observed: Observed,
    limits: Floats,
    rows: Floats,
    sums: Floats,
) -> None:
    """Sum the normal equations of one pose: the upper triangle of the matrix, row by row, each with its right side.

    `rows` (9, 2 S) is worked in: of samples paired with readings, and of those drawn to the outline, six derivatives,
    the residual, its weight, and a row times the weight.
    """
    count = samples.points_m.shape[2]
    factor, added_m, gate_m, least_px, outline_px, outline_weight = limits
    focal_px = observed.intrinsics[0]
    for sample in range(count):
        arm, normal, at = _turned(pose, sample, poses, samples)
        depth, distance_px, slope_u, slope_v = _observed_at(at, poses.mask_index[pose], observed)
        along_ray = normal[2] + normal[0] * at[0] + normal[1] * at[1]
        difference = depth - at[2]

        noise_m = factor * (observed.noise[0] + observed.noise[1] * at[2] * at[2]) + added_m
        paired = (depth > ZERO) & (abs(difference) < gate_m) & (along_ray < ZERO) & (distance_px > least_px)
        _fill(rows, sample, arm, normal, along_ray * difference, noise_m, ONE if paired else ZERO)

        pixel_m = at[2] / focal_px
        slope = (slope_u, slope_v, -(slope_u * at[0] + slope_v * at[1]))
        is_free = samples.is_rim[pose, sample] & ~((depth > ZERO) & (difference < HIDDEN_M))
        weight = outline_weight if is_free else ZERO
        _fill(rows, count + sample, arm, slope, -distance_px * pixel_m, outline_px * pixel_m, weight)
    index = 0
    for row in range(6):
        for sample in range(2 * count):
            rows[8, sample] = rows[row, sample] * rows[7, sample]
        for column in range(row, 7):
            total = ZERO
            for sample in range(2 * count):
                total += rows[8, sample] * rows[column, sample]
            sums[index] = total
            index += 1


@compiled_part
def _fill(
    rows: Floats, column: int, arm: Vector, direction: Vector, residual: float, noise: float, weight: float
) -> None:
    """Fill in a residual along a direction, its derivatives, and its weight (Geman and McClure)."""
    rows[0, column] = arm[1] * direction[2] - arm[2] * direction[1]
    rows[1, column] = arm[2] * direction[0] - arm[0] * direction[2]
    rows[2, column] = arm[0] * direction[1] - arm[1] * direction[0]
    rows[3, column], rows[4, column], rows[5, column] = direction
    rows[6, column] = residual
    variance = noise * noise
    total = variance + residual * residual
    rows[7, column] = weight * variance / (total * total)


@compiled_part
def _solve(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> None:
    """Solve a symmetric positive definite system in place (Cholesky)."""
    size = len(vector)
    for row in range(size):
        for column in range(row + 1):
            left = matrix[row, column]
            for index in range(column):
                left -= matrix[row, index] * matrix[column, index]
            matrix[row, column] = math.sqrt(max(left, 1e-30)) if row == column else left / matrix[column, column]
        for index in range(row):
            vector[row] -= matrix[row, index] * vector[index]
        vector[row] /= matrix[row, row]
    for row in range(size - 1, -1, -1):
        for index in range(row + 1, size):
            vector[row] -= matrix[index, row] * vector[index]
        vector[row] /= matrix[row, row]


@compiled_part
def _turn(rotation: Floats, vector: NDArray[np.float64]) -> None:
    """Turn a rotation (3, 3) in place about an axis, by its length in radians (Rodrigues)."""
    x, y, z = vector[0], vector[1], vector[2]
    angle = max(math.sqrt(x * x + y * y + z * z), 1e-9)
    first, second = math.sin(angle) / angle, (1 - math.cos(angle)) / (angle * angle)
    for column in range(3):
        a, b, c = rotation[0, column], rotation[1, column], rotation[2, column]
        across_x, across_y, across_z = y * c - z * b, z * a - x * c, x * b - y * a
        rotation[0, column] = a + first * across_x + second * (y * across_z - z * across_y)
        rotation[1, column] = b + first * across_y + second * (z * across_x - x * across_z)
        rotation[2, column] = c + first * across_z + second * (x * across_y - y * across_x)
