"""Candidate regions: nodes of merge trees, and how much each looks like a whole object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ism_ros.segmentors.merge_tree import MergeTree, merge_by_boundary
from ism_ros.segmentors.patches import PLANE, Patches, joined

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Opinion:
    """How strong a border is: weights of the mean cues along it, and of the distance between mean colours."""

    colour: float
    step: float
    crease: float
    plane: float
    mean_colour: float

    @property
    def border(self) -> tuple[float, float, float, float]:
        """The weights in the order of Boundaries.cues."""
        return self.colour, self.step, self.crease, self.plane


OPINIONS = (
    Opinion(colour=0.10, step=1.0, crease=0.8, plane=1.0, mean_colour=0.10),
    Opinion(colour=0.40, step=0.6, crease=0.5, plane=0.6, mean_colour=0.50),
    Opinion(colour=0.60, step=0.2, crease=0.1, plane=0.2, mean_colour=1.00),
    Opinion(colour=0.20, step=1.0, crease=0.1, plane=1.0, mean_colour=0.30),
)
_CAUTIOUS = Opinion(colour=0.8, step=1.0, crease=0.8, plane=1.0, mean_colour=0.8)


@dataclass(frozen=True)
class Regions:
    """Sets of patches. members: (K, L) bool. score: (K,) float32 in 0..1."""

    members: NDArray[np.bool_]
    score: Array


def border_cues(patches: Patches) -> Array:
    """The cues along each border (E, 4), leaving a plane also taken from how different the two patches are."""
    cues = patches.boundaries.cues.copy()
    first, second = patches.boundaries.pairs.T
    known = np.minimum(patches.known[first], patches.known[second])
    leaving = np.abs(patches.on_plane[first] - patches.on_plane[second]) * known
    cues[:, PLANE] = np.maximum(cues[:, PLANE], leaving)
    return cues


def merge(
    patches: Patches, opinions: Sequence[Opinion], tracked: Array, small_area: float, stop_at: float = np.inf
) -> MergeTree:
    """The merge trees of `patches` in several opinions, as one: its leaves are all patches once for every opinion."""
    cues = border_cues(patches)
    count = len(patches)
    return merge_by_boundary(
        np.concatenate([patches.boundaries.pairs + count * k for k in range(len(opinions))]),
        np.tile(patches.boundaries.length, len(opinions)),
        np.concatenate([cues @ np.array(opinion.border, np.float32) for opinion in opinions]),
        np.tile(patches.area, len(opinions)),
        np.concatenate([patches.lab * np.float32(opinion.mean_colour) for opinion in opinions]),
        small_area,
        np.tile(tracked, (len(opinions), 1)),
        stop_at,
    )


def join_alike(patches: Patches, stop_at: float = 0.4) -> Patches:
    """`patches` with those made one that no cue separates: fewer, larger patches for the trees to start from."""
    nothing = np.zeros((len(patches.boundaries.pairs), 0), np.float32)
    return joined(patches, merge(patches, [_CAUTIOUS], nothing, small_area=1.0, stop_at=stop_at).roots())


def grow_regions(patches: Patches, at_most: int = 500) -> Regions:
    """The candidates that look most like objects from the merge trees of all opinions, best first."""
    total = float(patches.area.sum())
    smallest, largest = max(80.0, 3e-4 * total), 0.4 * total
    length = patches.boundaries.length
    tracked = np.concatenate([length[:, None], border_cues(patches) * length[:, None]], axis=1)
    tree = merge(patches, OPINIONS, tracked, 0.002 * total)
    score = rank(describe(tree, patches, tracked))
    area = tree.sums(np.tile(patches.area, len(OPINIONS)))
    parent = tree.parents()
    has_parent = np.nonzero(parent >= 0)[0]
    # of a node and a parent that is hardly larger the better one stays
    alike = has_parent[area[has_parent] > 0.9 * area[parent[has_parent]]]
    child_wins = score[alike] >= score[parent[alike]]
    score[np.where(child_wins, parent[alike], alike)] = -1.0
    score[(area < smallest) | (area > largest)] = -1.0
    chosen = np.argsort(-score, kind="stable")[:at_most]
    chosen = chosen[score[chosen] > 0]
    order, start, count = tree.leaf_runs()
    members = np.zeros((len(chosen), len(patches)), dtype=bool)
    for row, node in enumerate(chosen):
        members[row, order[start[node] : start[node] + count[node]] % len(patches)] = True
    return Regions(members, score[chosen].astype(np.float32))


FEATURES = (
    "size",
    "compact",
    "fill",
    "frame",
    "out_colour",
    "out_step",
    "out_crease",
    "out_plane",
    "in_colour",
    "in_step",
    "in_crease",
    "in_plane",
    "front",
    "known",
    "on_plane",
    "height",
    "persistence",
)


def describe(tree: MergeTree, patches: Patches, tracked: Array) -> Array:
    """What is known of every node, (L + M, F), in the order of FEATURES; all about 0..1."""
    first, second = patches.boundaries.pairs.T
    border = np.stack(
        [np.bincount(first, t, len(patches)) + np.bincount(second, t, len(patches)) for t in tracked.T],
        axis=1,
    )
    leaf = np.column_stack(
        [
            patches.area,
            patches.frame_length,
            patches.front,
            patches.known * patches.area,
            patches.on_plane * patches.area,
            border,
            np.zeros_like(border),
        ]
    ).astype(np.float32)
    opinions = tree.leaves // len(patches)
    added = np.zeros((len(tree.children), leaf.shape[1]), np.float32)
    added[:, -2 * border.shape[1] :] = np.concatenate([-2.0 * tree.shared, tree.shared], axis=1)
    sums = tree.sums(np.tile(leaf, (opinions, 1)), added)
    area, frame_length, front, known, on_plane = sums[:, :5].T
    around, within = np.split(np.maximum(sums[:, 5:], 0.0), 2, axis=1)
    perimeter = np.maximum(around[:, 0], 1.0)
    inner = np.maximum(within[:, 0], 1.0)
    box = tree.extremes(np.tile(patches.boxes, (opinions, 1)))
    box_area = (box[:, 2] - box[:, 0] + 1) * (box[:, 3] - box[:, 1] + 1)
    height = np.concatenate([np.zeros(tree.leaves, np.float32), tree.height])
    parent = tree.parents()
    above = np.where(parent >= 0, height[parent], 1.0)
    share = area / patches.area.sum()
    return np.stack(
        [
            -np.log10(np.maximum(share, 1e-5)) / 5.0,
            np.minimum(1.0, 8.0 * np.pi * area / (perimeter + frame_length) ** 2),
            area / box_area,
            frame_length / (perimeter + frame_length),
            *(around[:, 1:] / perimeter[:, None]).T,
            *(within[:, 1:] / inner[:, None]).T,
            front / perimeter,
            known / area,
            on_plane / area,
            np.minimum(height, 2.0),
            np.clip(above - height, -1.0, 1.0),
        ],
        axis=1,
    ).astype(np.float32)


# A logistic regression of "is a whole object" on FEATURES, over tree nodes of rendered and real cluttered scenes:
# objects are neither tiny nor huge, off the image border, off large planes, in front of what surrounds them, and end
# where depth steps or the plane begins.
_LINEAR = {
    "size": 4.82,
    "compact": -0.17,
    "fill": 4.31,
    "frame": -1.04,
    "out_colour": 1.08,
    "out_step": 2.67,
    "out_crease": 0.20,
    "out_plane": 2.16,
    "in_colour": 1.30,
    "in_step": -1.71,
    "in_crease": 4.82,
    "in_plane": 3.97,
    "front": 2.26,
    "known": 1.36,
    "on_plane": -3.70,
    "height": 0.14,
    "persistence": 1.15,
}
_SQUARED = {"size": -23.71, "frame": -10.59, "in_crease": -7.49, "in_plane": -2.95}
_OFFSET = -5.72


def rank(features: Array) -> Array:
    """How much a node looks like a whole object, (N,) in 0..1."""
    linear = np.array([_LINEAR[name] for name in FEATURES], np.float32)
    squared = np.array([_SQUARED.get(name, 0.0) for name in FEATURES], np.float32)
    logit = features @ linear + features**2 @ squared + np.float32(_OFFSET)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0))), np.float32)


def distinct(patches: Patches, regions: Regions, at_most: int, overlap: float = 0.85) -> NDArray[np.int64]:
    """The best regions, best first, none of which overlaps a better one by an IoU above `overlap`."""
    held = regions.members.astype(np.float32)
    area = held @ patches.area
    shared = (held * patches.area) @ held.T
    iou = shared / (area[:, None] + area[None] - shared)
    alive = np.ones(len(area), dtype=bool)
    kept: list[int] = []
    for row in np.argsort(-regions.score, kind="stable"):
        if alive[row]:
            kept.append(int(row))
            if len(kept) == at_most:
                break
            alive &= iou[row] < overlap
    return np.array(kept, dtype=np.int64)
