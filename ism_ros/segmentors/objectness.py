"""How much a region looks like a whole object, from sums that add up when regions are joined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ism_ros.segmentors.merge_tree import MergeTree
from ism_ros.segmentors.patches import PLANE, Patches

Array = NDArray[np.float32]

FEATURES = (
    "size",
    "compact",
    "fill",
    "frame",
    "out_colour",
    "out_step",
    "out_crease",
    "out_plane",
    "out_any",
    "out_open",
    "in_colour",
    "in_step",
    "in_crease",
    "in_plane",
    "in_any",
    "in_open",
    "front",
    "known",
    "on_plane",
)


@dataclass(frozen=True)
class Measures:
    """Sums over regions, one row each.

    inside: (N, 5): area, pixels along the image border, Patches.front, pixels with depth, pixels on a plane.
    around, within: (N, B), the columns of border_sums along the outline and along the borders inside. boxes: (N, 4),
    first and last column and row.
    """

    inside: Array
    around: Array
    within: Array
    boxes: Array

    def __getitem__(self, rows: NDArray[np.int64]) -> Measures:
        return Measures(self.inside[rows], self.around[rows], self.within[rows], self.boxes[rows])

    @property
    def area(self) -> Array:
        return self.inside[:, 0]


def border_cues(patches: Patches) -> Array:
    """The cues along each border (E, 4), leaving a plane also taken from how different the two patches are."""
    cues = patches.boundaries.cues.copy()
    first, second = patches.boundaries.pairs.T
    known = np.minimum(patches.known[first], patches.known[second])
    leaving = np.abs(patches.on_plane[first] - patches.on_plane[second]) * known
    cues[:, PLANE] = np.maximum(cues[:, PLANE], leaving)
    return cues


def border_sums(patches: Patches) -> Array:
    """What is summed along borders, (E, B): their length, the cues, the strongest cue, and the length with none."""
    cues = border_cues(patches)
    strongest = cues.max(axis=1, keepdims=True, initial=0.0)
    opening = np.clip(1.0 - strongest / 0.25, 0.0, 1.0)
    columns = np.concatenate([np.ones_like(strongest), cues, strongest, opening], axis=1)
    return columns * patches.boundaries.length[:, None]


def measure_nodes(tree: MergeTree, patches: Patches, sums: Array) -> Measures:
    """Measures of every node of a tree whose leaves are the patches, all of them once or several times over.

    sums: border_sums, also given to the tree as what to keep account of.
    """
    first, second = patches.boundaries.pairs.T
    count, columns = len(patches), sums.shape[1]
    border = np.zeros((count, columns), np.float32)
    for column, values in enumerate(sums.T):
        border[:, column] = np.bincount(first, values, count) + np.bincount(second, values, count)
    alone = np.stack(
        [
            patches.area,
            patches.frame_length,
            patches.front,
            patches.known * patches.area,
            patches.on_plane * patches.area,
        ],
        axis=1,
    )
    leaf = np.concatenate([alone, border, np.zeros_like(border)], axis=1)
    made = np.concatenate([np.zeros((len(tree.children), 5), np.float32), -2.0 * tree.shared, tree.shared], axis=1)
    times = tree.leaves // count
    total = tree.sums(np.tile(leaf, (times, 1)), made)
    return Measures(
        total[:, :5],
        np.maximum(total[:, 5 : 5 + columns], 0.0),
        total[:, 5 + columns :],
        tree.extremes(np.tile(patches.boxes, (times, 1))),
    )


def join(measures: Measures, first: NDArray[np.int64], second: NDArray[np.int64], shared: Array) -> Measures:
    """Measures of the unions of rows `first` and `second`, which have no patch in common; shared: (N, B), the sums
    along the border between the two."""
    a, b = measures[first], measures[second]
    return Measures(
        a.inside + b.inside,
        np.maximum(a.around + b.around - 2.0 * shared, 0.0),
        a.within + b.within + shared,
        np.concatenate([np.minimum(a.boxes[:, :2], b.boxes[:, :2]), np.maximum(a.boxes[:, 2:], b.boxes[:, 2:])], 1),
    )


def describe(measures: Measures, image_area: float) -> Array:
    """(N, F) in the order of FEATURES, all about 0..1."""
    area, frame_length, front, known, on_plane = measures.inside.T
    perimeter = np.maximum(measures.around[:, 0], 1.0)
    inner = np.maximum(measures.within[:, 0], 1.0)
    box = measures.boxes
    box_area = (box[:, 2] - box[:, 0] + 1) * (box[:, 3] - box[:, 1] + 1)
    return np.stack(
        [
            -np.log10(np.maximum(area / image_area, 1e-5)) / 5.0,
            np.minimum(1.0, 8.0 * np.pi * area / (perimeter + frame_length) ** 2),
            area / box_area,
            frame_length / (perimeter + frame_length),
            *(measures.around[:, 1:] / perimeter[:, None]).T,
            *(measures.within[:, 1:] / inner[:, None]).T,
            front / perimeter,
            known / area,
            on_plane / area,
        ],
        axis=1,
    ).astype(np.float32)


# A logistic regression of "is a whole object" on FEATURES, over tree nodes of rendered and real cluttered scenes:
# objects are neither tiny nor huge, off the image border, off large planes, in front of what surrounds them, and end
# where depth steps or the plane begins.
_LINEAR = {
    "size": 9.48,
    "compact": -0.34,
    "fill": 3.81,
    "frame": 0.82,
    "out_colour": 0.64,
    "out_step": 2.56,
    "out_crease": 1.00,
    "out_plane": 1.92,
    "out_any": 0.74,
    "out_open": 6.43,
    "in_colour": 0.67,
    "in_step": -1.12,
    "in_crease": -0.20,
    "in_plane": 4.28,
    "in_any": 1.07,
    "in_open": 1.13,
    "front": 2.12,
    "known": 1.40,
    "on_plane": -2.70,
}
_SQUARED = {"size": -29.08, "frame": -21.25, "out_open": -27.38, "in_crease": -0.32, "in_plane": -11.04}
_OFFSET = -7.55


def rank(features: Array) -> Array:
    """How much a region looks like a whole object, (N,) in 0..1."""
    linear = np.array([_LINEAR[name] for name in FEATURES], np.float32)
    squared = np.array([_SQUARED.get(name, 0.0) for name in FEATURES], np.float32)
    logit = features @ linear + features**2 @ squared + np.float32(_OFFSET)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0))), np.float32)
