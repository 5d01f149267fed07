"""The loops of alignment: chosen views in all in-plane rotations, and the start poses of the best of them.

view_choice and start_poses have the formulas. Nothing is gathered or copied here, which is most of what operations of
PyTorch do.

N masks, K views chosen for each, V views, R rings, A in-plane rotations, F frequencies, S start poses.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ism_ros.rendering.views.polar_maps import ANGLES, RINGS
from ism_ros.runtime.compilation import ONE, ZERO, Float, Floats, compiled, compiled_part

TINY, NONE = Float(1e-12), Float(3e38)
Indices = NDArray[np.int64]
TERM, TERMS, FIRST = 2 * RINGS, 7 * 2 * RINGS, 4 * 2 * RINGS
"""Numbers of a term at one frequency (its cosine and sine parts in all rings), of all seven, and before the term 1."""


class Observed(NamedTuple):
    """Where the maps of N masks stand, as of ObservedMaps.

    Attributes:
        centroid_m: (N, 3) metres.
        ray_rotation: (N, 3, 3).
    """

    centroid_m: Floats
    ray_rotation: Floats


class Views(NamedTuple):
    """Poses of V views.

    Attributes:
        turns: (A, 3, 3) in-plane rotations.
        rotations: (V, 3, 3) object-to-camera.
        from_centre_m: (V, 3) from the model's centre to the mean of the visible surface, object frame, metres.
    """

    turns: Floats
    rotations: Floats
    from_centre_m: Floats


class Starts(NamedTuple):
    """Start poses that are filled in, as of StartPoses.

    Attributes:
        rotation: (N, S, 3, 3).
        centre_m: (N, S, 3) metres.
        view_index: (N, S) int64.
        cost: (N, S).
    """

    rotation: Floats
    centre_m: Floats
    view_index: Indices
    cost: Floats


class Alignments(NamedTuple):
    """The best in-plane rotation of each chosen view, filled in.

    Attributes:
        cost: (N, K) alignment cost.
        turn: (N, K) int64, the in-plane rotation.
        offset_m: (N, K) depth offset, metres.
    """

    cost: Floats
    turn: Indices
    offset_m: Floats


@compiled
def align(
    queries: Floats,
    by_view: Floats,
    view: Indices,
    inverse: Floats,
    areas_m2: tuple[Floats, Floats],
    of_depth: float,
    best: Alignments,
) -> None:
    """Align chosen views in all in-plane rotations.

    Args:
        queries: (N, F, 2, 10 * 2 * R), the spectra of the masks for the real and the imaginary part of products: of all
            terms, of 1 and depth, of 1 (`view_choice.SUMS`).
        by_view: (V, F, 7 * 2 * R) spectra of the views.
        view: (N, K) the views of each mask.
        inverse: (2F, A) transform back to in-plane rotations.
        areas_m2: (N,) covered areas of the masks and (V,) of the views, square metres.
        of_depth: Weight of squared depth, 1 / square metres.
        best: That is filled in.
    """
    spectrum = np.empty((3, len(inverse)), np.float32)
    sums = np.empty((3, ANGLES), np.float32)
    cost = np.empty(ANGLES, np.float32)
    for mask in range(len(view)):
        for chosen in range(view.shape[1]):
            number = view[mask, chosen]
            for frequency in range(by_view.shape[1]):
                of_view = by_view[number, frequency]
                for part in range(2):
                    query, at = queries[mask, frequency, part], 2 * frequency + part
                    squared = offset = common = ZERO
                    for index in range(TERMS):
                        squared += query[index] * of_view[index]
                    for index in range(2 * TERM):
                        offset += query[TERMS + index] * of_view[FIRST + index]
                    for index in range(TERM):
                        common += query[TERMS + 2 * TERM + index] * of_view[FIRST + index]
                    spectrum[0, at], spectrum[1, at], spectrum[2, at] = squared, offset, common
            sums[:] = ZERO
            for kind in range(3):
                for at in range(len(inverse)):
                    value = spectrum[kind, at]
                    for angle in range(ANGLES):
                        sums[kind, angle] += value * inverse[at, angle]
            both_m2 = areas_m2[0][mask] + areas_m2[1][number]
            for angle in range(ANGLES):
                common = max(sums[2, angle], TINY)
                offset_m = sums[1, angle] / common
                mse = max(sums[0, angle] / common - of_depth * offset_m * offset_m, ZERO)
                iou = min(common / max(both_m2 - common, TINY), ONE)
                sums[1, angle], cost[angle] = offset_m, mse - iou + ONE
            turn = np.argmin(cost)
            best.cost[mask, chosen], best.turn[mask, chosen] = cost[turn], turn
            best.offset_m[mask, chosen] = sums[1, turn]


@compiled
def choose_starts(
    best: Alignments, view: Indices, observed: Observed, views: Views, most_alike: float, starts: Starts
) -> None:
    """Choose the best aligned views that differ from each other.

    Args:
        best: Of N masks and K views.
        view: (N, K) these views.
        observed: Where the maps of the masks stand.
        views: Poses of the views.
        most_alike: Trace of the rotation between two poses from which on they are the same.
        starts: That are filled in; NONE is the cost of those that there are not.
    """
    count = view.shape[1]
    rotations, left = np.empty((count, 3, 3), np.float32), np.empty(count, np.float32)
    turned = np.empty((3, 3), np.float32)
    for mask in range(len(view)):
        for chosen in range(count):
            _product_3x3(observed.ray_rotation[mask], views.turns[best.turn[mask, chosen]], turned)
            _product_3x3(turned, views.rotations[view[mask, chosen]], rotations[chosen])
            left[chosen] = best.cost[mask, chosen]
        for start in range(starts.cost.shape[1]):
            least = np.argmin(left)
            rotation, number = rotations[least], view[mask, least]
            starts.cost[mask, start], starts.view_index[mask, start] = left[least], number
            of_centre_m = views.from_centre_m[number]
            for row in range(3):
                arm_m = ZERO
                for column in range(3):
                    starts.rotation[mask, start, row, column] = rotation[row, column]
                    arm_m += rotation[row, column] * of_centre_m[column]
                along_ray_m = observed.ray_rotation[mask, row, 2] * best.offset_m[mask, least]
                starts.centre_m[mask, start, row] = observed.centroid_m[mask, row] + along_ray_m - arm_m
            for chosen in range(count):
                trace = ZERO
                for row in range(3):
                    for column in range(3):
                        trace += rotations[chosen, row, column] * rotation[row, column]
                if trace > most_alike:
                    left[chosen] = NONE


@compiled_part
def _product_3x3(one: Floats, other: Floats, product: Floats) -> None:
    for row in range(3):
        for column in range(3):
            product[row, column] = (
                one[row, 0] * other[0, column] + one[row, 1] * other[1, column] + one[row, 2] * other[2, column]
            )
