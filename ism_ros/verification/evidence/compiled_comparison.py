"""The loops over the cells of windows: depth of the model beside depth of the image (gathering has the formulas).

Loops have one output each and no branches, so that they become vector instructions.

H poses, A cells of a padded window.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ism_ros.runtime.compilation import HALF, ONE, ZERO, Float, Floats, compiled, compiled_part
from ism_ros.verification.evidence import terms
from ism_ros.verification.evidence.compiled_layout import AREA, FAR_M, STRIDE, Comparison, Windows

TOLERANCE_DEVIATIONS = Float(terms.TOLERANCE_DEVIATIONS)
MIN_RELATIVE_NOISE = Float(terms.MIN_RELATIVE_NOISE)
SILHOUETTE_CELLS = Float(terms.SILHOUETTE_CELLS)
FIRST, LAST = 2 * STRIDE, AREA - 2 * STRIDE
"""Loops leave out the first and the last two rows, in which nothing is, so that they may look two cells away."""
FOUR, TINY = Float(4), Float(1e-6)
OUTSIDE, UNREAD, AGREEING, MISSING, BEYOND, HIDDEN = (Float(state) for state in range(6))
"""States of a cell: no silhouette, no reading, the three of gathering, and BEYOND: missing at the rim."""


class Sensor(NamedTuple):
    """The depth camera.

    Attributes:
        focal_px: Focal length, pixels.
        constant_m: Standard deviation of depth that does not depend on the distance, metres.
        inverse_noise: Standard deviation of inverse depth, 1/m.
    """

    focal_px: np.float32
    constant_m: np.float32
    inverse_noise: np.float32


class Cells(NamedTuple):
    """The padded window of one pose, (A,) each.

    Attributes:
        model_m: Depth of the model, metres, 0 where there is no silhouette.
        far_m: The same, FAR_M where there is none.
        silhouette: Whether a cell is of the silhouette.
        inner: Whether all cells around it are as well.
        low_m, high_m: Least and largest depth around a cell.
        facing: Cosine between surface and viewing direction.
        state: AGREEING, HIDDEN and so on.
        weight, weighted_m: Whether a reading counts in the comparison of normals, and its depth there.
        smooth_m: Mean of such readings around a cell.
        work, other: What loops leave to the next.
    """

    model_m: Floats
    far_m: Floats
    silhouette: Floats
    inner: Floats
    low_m: Floats
    high_m: Floats
    facing: Floats
    state: Floats
    weight: Floats
    weighted_m: Floats
    smooth_m: Floats
    work: Floats
    other: Floats

    @staticmethod
    def empty() -> Cells:
        """Make cells to be worked in."""
        return Cells(*(np.zeros(AREA, np.float32) for _ in Cells._fields))


@compiled
def compare(
    windows: Windows, mask_px: Floats, read_px: Floats, sensor: Sensor, cells: Cells, comparison: Comparison
) -> None:
    """Compare windows with the image.

    Args:
        windows: Of H poses.
        mask_px: (H,) area of the mask of each, pixels.
        read_px: (H,) area of the part of it that has a reading, pixels.
        sensor: The depth camera.
        cells: That are worked in.
        comparison: That is filled in.
    """
    for pose in range(len(windows.cell_px)):
        nearest_m, depth_m, mask = windows.nearest_m[pose], windows.depth_m[pose], windows.mask[pose]
        cell_px, visible = windows.cell_px[pose], comparison.visible[pose]
        slope_width = FOUR * cell_px / sensor.focal_px
        _find_silhouette(nearest_m, windows.in_image[pose], cells)
        _find_facing(cells.model_m, cells.silhouette, slope_width, cells.facing)
        _judge(depth_m, sensor, cells)
        _find_visible(cells.state, mask, visible)
        counts = _count(depth_m, mask, visible, sensor, cells)
        _find_compared(nearest_m, mask, visible, counts.read == ZERO, sensor, cells, comparison.compared[pose])
        continues, nearer = _surroundings(depth_m, sensor, cells)
        normals = _normal_agreement(depth_m, slope_width, cells)
        _find_lines(visible, cells, comparison.line[pose])

        area = cell_px * cell_px
        mask_cells, read_cells = mask_px[pose] / area, read_px[pose] / area
        values = (
            counts.agreeing / max(counts.agreeing + counts.missing, ONE),
            counts.close / max(counts.agreeing, ONE),
            min(counts.explaining / max(read_cells, ONE), ONE),
            min(counts.common / max(counts.visible + mask_cells - counts.common, ONE), ONE),
            counts.common / max(counts.visible, ONE),
            continues,
            nearer,
            counts.hidden / max(counts.read, ONE),
            counts.read / max(counts.silhouette, ONE),
            normals,
            math.log10(max(counts.visible * area, ONE)),
            _relative_noise(counts.depth_m / max(counts.silhouette, ONE), cell_px, sensor),
        )
        for index in range(len(values)):
            comparison.terms[pose, index] = values[index]


@compiled_part
def _noise_m(depth_m: float, sensor: Sensor) -> float:
    return sensor.constant_m + sensor.inverse_noise * depth_m * depth_m


@compiled_part
def _relative_noise(depth_m: float, cell_px: float, sensor: Sensor) -> float:
    """Log10 of the noise at a distance over the width of the silhouette there."""
    width_m = SILHOUETTE_CELLS * cell_px / sensor.focal_px * depth_m
    return math.log10(min(max(_noise_m(depth_m, sensor) / max(width_m, TINY), MIN_RELATIVE_NOISE), ONE))


@compiled_part
def _least_around(values: Floats, step: int, work: Floats, least: Floats) -> None:
    """Take the least of each cell and the eight that are `step` rows and columns away."""
    for at in range(FIRST, LAST):
        work[at] = min(min(values[at - step], values[at]), values[at + step])
    for at in range(FIRST, LAST):
        least[at] = min(min(work[at - step * STRIDE], work[at]), work[at + step * STRIDE])


@compiled_part
def _largest_around(values: Floats, step: int, work: Floats, largest: Floats) -> None:
    """Take the largest of each cell and the eight that are `step` rows and columns away."""
    for at in range(FIRST, LAST):
        work[at] = max(max(values[at - step], values[at]), values[at + step])
    for at in range(FIRST, LAST):
        largest[at] = max(max(work[at - step * STRIDE], work[at]), work[at + step * STRIDE])


@compiled_part
def _sum_around(values: Floats, work: Floats, total: Floats) -> None:
    """Add up each cell and the eight around it."""
    for at in range(FIRST, LAST):
        work[at] = values[at - 1] + values[at] + values[at + 1]
    for at in range(FIRST, LAST):
        total[at] = work[at - STRIDE] + work[at] + work[at + STRIDE]


@compiled_part
def _find_silhouette(nearest_m: Floats, in_image: Floats, cells: Cells) -> None:
    """Close holes between samples, which may be empty or show the far side of something hollow; find what is around."""
    model_m, far_m, silhouette, covered_m = cells.model_m, cells.far_m, cells.silhouette, cells.other
    _least_around(nearest_m, 1, cells.work, cells.other)
    _largest_around(cells.other, 1, cells.work, far_m)
    _least_around(far_m, 1, cells.work, cells.low_m)
    for at in range(FIRST, LAST):
        covered_m[at] = far_m[at] if far_m[at] < FAR_M else ZERO
    _largest_around(covered_m, 1, cells.work, cells.high_m)
    for at in range(FIRST, LAST):
        model_m[at] = covered_m[at] * in_image[at]
    for at in range(FIRST, LAST):
        silhouette[at] = ONE if model_m[at] > ZERO else ZERO
    for at in range(FIRST, LAST):
        far_m[at] = model_m[at] if model_m[at] > ZERO else FAR_M
    _least_around(silhouette, 1, cells.work, cells.inner)


@compiled_part
def _slopes(depth_m: Floats, valid: Floats, at: int, width: float) -> tuple[float, float]:
    """Slopes of depth along columns and rows, metres a metre, over four cells; 0 where a neighbour is not valid.

    `width` is that of four cells at one metre.
    """
    scale = ONE / max(width * depth_m[at], TINY)
    left, right, above, below = at - 2, at + 2, at - 2 * STRIDE, at + 2 * STRIDE
    across = (depth_m[right] - depth_m[left]) * scale * valid[right] * valid[left]
    along = (depth_m[below] - depth_m[above]) * scale * valid[below] * valid[above]
    return across, along


@compiled_part
def _find_facing(model_m: Floats, silhouette: Floats, width: float, facing: Floats) -> None:
    for at in range(FIRST, LAST):
        across, along = _slopes(model_m, silhouette, at, width)
        facing[at] = ONE / math.sqrt(ONE + across * across + along * along)


@compiled_part
def _judge(depth_m: Floats, sensor: Sensor, cells: Cells) -> None:
    """Find the states of cells."""
    model_m, low_m, high_m, facing = cells.model_m, cells.low_m, cells.high_m, cells.facing
    inner, state = cells.inner, cells.state
    for at in range(FIRST, LAST):
        depth, tolerance = depth_m[at], TOLERANCE_DEVIATIONS * _noise_m(model_m[at], sensor)
        gap = (depth - model_m[at]) * facing[at]
        is_inner = inner[at] > ZERO
        # at the rim the model's depth changes within a cell
        is_between = (depth > low_m[at] - tolerance) & (depth < high_m[at] + tolerance)
        agrees = (is_inner & (abs(gap) < tolerance)) | (~is_inner & is_between)
        farther = MISSING if is_inner else BEYOND
        apart = farther if gap > ZERO else HIDDEN
        judged = AGREEING if agrees else apart
        read = judged if depth > ZERO else UNREAD
        state[at] = read if model_m[at] > ZERO else OUTSIDE


@compiled_part
def _find_visible(state: Floats, mask: Floats, visible: Floats) -> None:
    for at in range(FIRST, LAST):
        is_hidden = (state[at] == OUTSIDE) | (state[at] == HIDDEN) | ((state[at] == BEYOND) & (mask[at] == ZERO))
        visible[at] = ZERO if is_hidden else ONE


class Counts(NamedTuple):
    """Numbers of cells: of the silhouette, with a reading, and so on; and the sum of the model's depth, metres."""

    silhouette: np.float32
    read: np.float32
    agreeing: np.float32
    close: np.float32
    missing: np.float32
    hidden: np.float32
    explaining: np.float32
    visible: np.float32
    common: np.float32
    depth_m: np.float32


@compiled_part
def _count(depth_m: Floats, mask: Floats, visible: Floats, sensor: Sensor, cells: Cells) -> Counts:
    state, model_m, facing = cells.state, cells.model_m, cells.facing
    silhouette = read = agreeing = close = missing = hidden = explaining = seen = common = depth = ZERO
    for at in range(FIRST, LAST):
        agrees = ONE if state[at] == AGREEING else ZERO
        gap = abs(depth_m[at] - model_m[at]) * facing[at]
        is_close = gap < HALF * TOLERANCE_DEVIATIONS * _noise_m(model_m[at], sensor)
        silhouette += cells.silhouette[at]
        read += ONE if state[at] > UNREAD else ZERO
        agreeing += agrees
        close += agrees if is_close else ZERO
        missing += ONE if state[at] == MISSING else ZERO
        hidden += ONE if state[at] == HIDDEN else ZERO
        explaining += agrees * mask[at]
        seen += visible[at]
        common += visible[at] * mask[at]
        depth += model_m[at]
    return Counts(silhouette, read, agreeing, close, missing, hidden, explaining, seen, common, depth)


@compiled_part
def _find_compared(
    nearest_m: Floats, mask: Floats, visible: Floats, is_blind: bool, sensor: Sensor, cells: Cells, compared: Floats
) -> None:
    """Find the cells whose color counts: where nothing at all is read, the mask says where the object is seen."""
    state, model_m, blind = cells.state, cells.model_m, ONE if is_blind else ZERO
    for at in range(FIRST, LAST):
        seen = ONE if state[at] == AGREEING else blind * visible[at] * mask[at]
        # a cell without samples of the nearest surface may show one behind it
        is_shown = nearest_m[at] - model_m[at] < TOLERANCE_DEVIATIONS * _noise_m(model_m[at], sensor)
        compared[at] = seen if is_shown else ZERO


@compiled_part
def _surroundings(depth_m: Floats, sensor: Sensor, cells: Cells) -> tuple[float, float]:
    """Shares of the ring around the silhouette in which the same surface goes on, and which is nearer."""
    _least_around(cells.far_m, 1, cells.work, cells.other)
    _least_around(cells.other, 2, cells.work, cells.low_m)
    _largest_around(cells.model_m, 1, cells.work, cells.other)
    _largest_around(cells.other, 2, cells.work, cells.high_m)
    low_m, high_m, beside = cells.low_m, cells.high_m, cells.other
    ring = continues = nearer = ZERO
    for at in range(FIRST, LAST):
        tolerance = TOLERANCE_DEVIATIONS * _noise_m(high_m[at], sensor)
        is_ring = (high_m[at] > ZERO) & (beside[at] == ZERO) & (depth_m[at] > ZERO)
        is_nearer = is_ring & (depth_m[at] <= low_m[at] - tolerance)
        is_farther = is_ring & (depth_m[at] >= high_m[at] + tolerance)
        ring += ONE if is_ring else ZERO
        nearer += ONE if is_nearer else ZERO
        continues += ONE if is_ring & ~is_nearer & ~is_farther else ZERO
    return continues / max(ring, ONE), nearer / max(ring, ONE)


@compiled_part
def _normal_agreement(depth_m: Floats, width: float, cells: Cells) -> float:
    """Mean cosine between the normals of the model and of the smoothed readings where these agree."""
    weight, weighted_m, smooth_m, around = cells.weight, cells.weighted_m, cells.smooth_m, cells.other
    state, inner = cells.state, cells.inner
    for at in range(FIRST, LAST):
        weight[at] = inner[at] if state[at] == AGREEING else ZERO
    for at in range(FIRST, LAST):
        weighted_m[at] = weight[at] * depth_m[at]
    _sum_around(weighted_m, cells.work, smooth_m)
    _sum_around(weight, cells.work, around)
    for at in range(FIRST, LAST):
        smooth_m[at] = smooth_m[at] / max(around[at], TINY)
    _least_around(weight, 1, cells.work, around)
    number = cosines = ZERO
    for at in range(FIRST, LAST):
        across, along = _slopes(cells.model_m, cells.silhouette, at, width)
        seen_across, seen_along = _slopes(smooth_m, weight, at, width)
        norms = (ONE + across * across + along * along) * (ONE + seen_across * seen_across + seen_along * seen_along)
        cosine = (across * seen_across + along * seen_along + ONE) / math.sqrt(norms)
        number += around[at]
        cosines += around[at] * cosine
    return cosines / max(number, ONE)


@compiled_part
def _find_lines(visible: Floats, cells: Cells, line: Floats) -> None:
    """Find the outline of the visible silhouette, 1, and the line that is three cells farther inside, 2."""
    once, thrice = cells.low_m, cells.high_m
    _least_around(visible, 1, cells.work, once)
    _least_around(once, 2, cells.work, thrice)
    _least_around(thrice, 1, cells.work, cells.other)
    for at in range(FIRST, LAST):
        line[at] = visible[at] - once[at] + (thrice[at] - cells.other[at]) * Float(2)
