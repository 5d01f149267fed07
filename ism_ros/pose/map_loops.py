"""The loops of polar maps of what is observed under masks (torch_alignment has the formulas).

N masks, P points sampled under each, R rings, A angles.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ism_ros.rendering.views.polar_maps import ANGLES, RINGS
from ism_ros.runtime.compilation import ONE, ZERO, Float, Floats, compiled, compiled_part

TURN, QUARTER, HALF_TURN = Float(ANGLES), Float(ANGLES / 4), Float(ANGLES / 2)
LAST_RING, LAST_ANGLE = Float(RINGS - 1), Float(ANGLES - 1)
ANGLES_PER_RAD = Float(ANGLES / (2 * math.pi))
ARCTANGENT = tuple(Float(value) for value in (0.99997726, -0.33262347, 0.19354346, -0.11643287, 0.05265332, -0.0117212))
"""Coefficients of the odd powers of x in atan(x) for x in [0, 1], to 2e-6 (Hastings, 1955)."""
THREE, TINY, MIN_BRIGHTNESS = Float(3), Float(1e-12), Float(1e-3)


class Points(NamedTuple):
    """What is observed under N masks, as of ObservedPoints.

    Attributes:
        points_m: (N, 3, P) camera frame, metres.
        colors: (N, 3, P) RGB in [0, 1].
        pixels: (N, P) pixels that a sample stands for.
        median_m: (N, 3) metres.
        pixel_m: Width of a pixel at a distance of one metre, metres.
    """

    points_m: Floats
    colors: Floats
    pixels: Floats
    median_m: Floats
    pixel_m: np.float32


class Maps(NamedTuple):
    """Maps that are filled in, as of ObservedMaps.

    Attributes:
        maps: (N, 5, R * A) of zeros.
        centroid_m: (N, 3) metres.
        ray_rotation: (N, 3, 3).
        pixels: (N,) pixels that were counted.
    """

    maps: Floats
    centroid_m: Floats
    ray_rotation: Floats
    pixels: Floats


@compiled
def fill_maps(observed: Points, radius_m: float, cell_m2: Floats, seen: Maps) -> None:
    """Make polar maps of what is observed under masks.

    Args:
        observed: Under N masks.
        radius_m: Radius of the outermost ring, metres.
        cell_m2: (R * A,) area of each cell, square metres.
        seen: That is filled in.
    """
    count = observed.points_m.shape[2]
    area_m2, depth_m = np.empty(count, np.float32), np.empty(count, np.float32)
    cell = np.empty(count, np.int64)
    for row in range(len(seen.maps)):
        points_m, colors, maps = observed.points_m[row], observed.colors[row], seen.maps[row]
        centroid_m, rotation = seen.centroid_m[row], seen.ray_rotation[row]
        seen.pixels[row] = _weigh(observed, row, radius_m, area_m2, centroid_m)
        _rotate_to_ray(centroid_m, rotation)
        _find_cells(points_m, centroid_m, rotation, Float(RINGS) / radius_m, depth_m, cell)
        for point in range(count):
            area, at = area_m2[point], cell[point]
            if area > ZERO:
                maps[0, at] += area
                maps[1, at] += area * depth_m[point]
                for channel in range(3):
                    maps[channel + 2, at] += area * colors[channel, point]
        _divide(maps, cell_m2)


@compiled_part
def _weigh(observed: Points, row: int, radius_m: float, area_m2: Floats, centroid_m: Floats) -> float:
    """Find the area of each point across the optical axis and the centroid of all; return the pixels they stand for."""
    points_m, pixels, median_m = observed.points_m[row], observed.pixels[row], observed.median_m[row]
    x_median, y_median, z_median = median_m[0], median_m[1], median_m[2]
    total = total_m2 = x_sum = y_sum = z_sum = ZERO
    for point in range(len(pixels)):
        x, y, z = points_m[0, point], points_m[1, point], points_m[2, point]
        off_x, off_y, off_z = x - x_median, y - y_median, z - z_median
        # what lies further away than the object's radius is the ground around it, or a reading between the two
        is_near = off_x * off_x + off_y * off_y + off_z * off_z < radius_m * radius_m
        number = pixels[point] if is_near else ZERO
        width_m = observed.pixel_m * z
        area = number * width_m * width_m
        area_m2[point] = area
        total += number
        total_m2 += area
        x_sum += x * area
        y_sum += y * area
        z_sum += z * area
    total_m2 = max(total_m2, TINY)
    centroid_m[0], centroid_m[1], centroid_m[2] = x_sum / total_m2, y_sum / total_m2, z_sum / total_m2
    return total


@compiled_part
def _rotate_to_ray(towards: Floats, rotation: Floats) -> None:
    """Fill in the smallest rotation (3, 3) from the optical axis to a direction (3,); of none, that of the axis."""
    length = math.sqrt(towards[0] * towards[0] + towards[1] * towards[1] + towards[2] * towards[2])
    x, y, z = (towards[0] / length, towards[1] / length, towards[2] / length) if length > TINY else (ZERO, ZERO, ONE)
    s = ONE / (ONE + z)
    rotation[0, 0], rotation[0, 1], rotation[0, 2] = ONE - s * x * x, -s * x * y, x
    rotation[1, 0], rotation[1, 1], rotation[1, 2] = -s * x * y, ONE - s * y * y, y
    rotation[2, 0], rotation[2, 1], rotation[2, 2] = -x, -y, z


@compiled_part
def _find_cells(
    points_m: Floats, centroid_m: Floats, rotation: Floats, rings_per_m: float, depth_m: Floats, cell: NDArray[np.int64]
) -> None:
    """Find the cell of each point, and its depth relative to the centroid along the ray through that."""
    xx, xy, xz = rotation[0, 0], rotation[0, 1], rotation[0, 2]
    yx, yy, yz = rotation[1, 0], rotation[1, 1], rotation[1, 2]
    zx, zy, zz = rotation[2, 0], rotation[2, 1], rotation[2, 2]
    x_centre, y_centre, z_centre = centroid_m[0], centroid_m[1], centroid_m[2]
    for point in range(len(cell)):
        off_x, off_y, off_z = (
            points_m[0, point] - x_centre,
            points_m[1, point] - y_centre,
            points_m[2, point] - z_centre,
        )
        x = xx * off_x + yx * off_y + zx * off_z
        y = xy * off_x + yy * off_y + zy * off_z
        depth_m[point] = xz * off_x + yz * off_y + zz * off_z
        ring = min(math.sqrt(x * x + y * y) * rings_per_m, LAST_RING)
        along, across = abs(x), abs(y)
        ratio = min(along, across) / max(max(along, across), TINY)
        squared = ratio * ratio
        power = ARCTANGENT[5]
        power = power * squared + ARCTANGENT[4]
        power = power * squared + ARCTANGENT[3]
        power = power * squared + ARCTANGENT[2]
        power = power * squared + ARCTANGENT[1]
        power = power * squared + ARCTANGENT[0]
        angle = power * ratio * ANGLES_PER_RAD
        angle = QUARTER - angle if across > along else angle
        angle = HALF_TURN - angle if x < ZERO else angle
        angle = TURN - angle if y < ZERO else angle
        cell[point] = np.int64(ring) * ANGLES + np.int64(min(max(angle, ZERO), LAST_ANGLE))


@compiled_part
def _divide(maps: Floats, cell_m2: Floats) -> None:
    """Divide sums by areas, colors by the mean brightness, and areas by those of cells."""
    total = weighted = ZERO
    for at in range(RINGS * ANGLES):
        total += maps[0, at]
        weighted += maps[2, at] + maps[3, at] + maps[4, at]
    brightness = max(weighted / THREE / max(total, TINY), MIN_BRIGHTNESS)
    for at in range(RINGS * ANGLES):
        area = max(maps[0, at], TINY)
        maps[1, at] /= area
        maps[2, at] /= area * brightness
        maps[3, at] /= area * brightness
        maps[4, at] /= area * brightness
        maps[0, at] = min(maps[0, at] / cell_m2[at], ONE)
