"""Candidate regions: nodes of merge trees in several opinions of what a border is, and unions of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ism_ros.data.masks import MIN_BOX_SIDE, MIN_MASK_AREA
from ism_ros.segmentors.merge_tree import MergeTree, merge_by_boundary
from ism_ros.segmentors.objectness import (
    Measures,
    border_cues,
    border_sums,
    describe,
    join,
    measure_nodes,
    rank,
)
from ism_ros.segmentors.patches import Patches, joined

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
    Opinion(colour=0.60, step=0.2, crease=0.1, plane=0.2, mean_colour=1.00),
    Opinion(colour=0.20, step=1.0, crease=0.1, plane=1.0, mean_colour=0.30),
)
# A bare table's patches score below 0.001, the least conspicuous objects above 0.1.
_LEAST_SCORE = 0.02
# One proposal in so many is for a place that no better one covers: a pen on a table never looks as good as the parts
# of a box.
_SHARE_FOR_FREE_PLACES = 6
_CAUTIOUS = Opinion(colour=0.8, step=1.0, crease=0.8, plane=1.0, mean_colour=0.8)


@dataclass(frozen=True)
class Regions:
    """Sets of patches. members: (K, L) bool. score: (K,) float32 in 0..1."""

    members: NDArray[np.bool_]
    score: Array

    def __getitem__(self, rows: NDArray[np.int64]) -> Regions:
        return Regions(self.members[rows], self.score[rows])


def merge(
    patches: Patches,
    opinions: Sequence[Opinion],
    tracked: Array,
    small_area: float,
    stop_at: float = np.inf,
    max_rounds: int = 1_000_000,
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
        max_rounds,
    )


def join_alike(patches: Patches, stop_at: float = 0.4) -> Patches:
    """`patches` with those made one that no cue separates: fewer, larger patches for the trees to start from."""
    nothing = np.zeros((len(patches.boundaries.pairs), 0), np.float32)
    return joined(patches, merge(patches, [_CAUTIOUS], nothing, small_area=1.0, stop_at=stop_at, max_rounds=18).roots())


def find_regions(patches: Patches, at_most: int) -> Regions:
    """The `at_most` regions that look most like whole objects, best first, without near duplicates."""
    sums = border_sums(patches)
    grown, measures = grow_regions(patches, sums)
    first = distinct(patches, grown, at_most)[0]
    unions = join_neighbours(patches, grown[first], measures[first], sums)
    both = concatenated(grown[first], unions)
    kept, score = distinct(patches, both, at_most - at_most // _SHARE_FOR_FREE_PLACES)
    apart = in_free_places(patches, both, kept, at_most - len(kept))
    chosen = concatenated(Regions(both.members[kept], score), both[apart])
    return chosen[np.argsort(-chosen.score, kind="stable")]


def grow_regions(patches: Patches, sums: Array, at_most: int = 500) -> tuple[Regions, Measures]:
    """The nodes of the merge trees of all opinions that look most like objects, best first. sums: border_sums."""
    total = float(patches.area.sum())
    tree = merge(patches, OPINIONS, sums, 0.002 * total)
    measures = measure_nodes(tree, patches, sums)
    area = measures.area
    score = rank(describe(measures, total))
    parent = tree.parents()
    has_parent = np.nonzero(parent >= 0)[0]
    # of a node and a parent that is hardly larger the better one stays
    alike = has_parent[area[has_parent] > 0.9 * area[parent[has_parent]]]
    child_wins = score[alike] >= score[parent[alike]]
    score[np.where(child_wins, parent[alike], alike)] = -1.0
    score[~_fair_size(measures, total)] = -1.0
    chosen = np.argsort(-score, kind="stable")[:at_most]
    chosen = chosen[score[chosen] > _LEAST_SCORE]
    order, start, count = tree.leaf_runs()
    members = np.zeros((len(chosen), len(patches)), dtype=bool)
    for row, node in enumerate(chosen):
        members[row, order[start[node] : start[node] + count[node]] % len(patches)] = True
    return Regions(members, score[chosen]), measures[chosen]


def join_neighbours(
    patches: Patches, regions: Regions, measures: Measures, sums: Array, at_most: int = 100, best: int = 100
) -> Regions:
    """The unions of two touching regions among the `best` that look most like objects: parts that no tree joined."""
    members = regions.members[:best]
    first, second = patches.boundaries.pairs.T
    left, right = members[:, first].astype(np.float32), members[:, second].astype(np.float32)
    apart = ~((members.astype(np.float32) @ members.T) > 0)
    along = (left * patches.boundaries.length) @ right.T
    a, b = np.nonzero(np.triu(apart & (along + along.T > 0), 1))
    shared = np.zeros((len(a), sums.shape[1]), np.float32)
    for column, values in enumerate(sums.T):
        between = (left * values) @ right.T
        shared[:, column] = (between + between.T)[a, b]
    joint = join(measures, a, b, shared)
    total = float(patches.area.sum())
    score = rank(describe(joint, total))
    better = score > np.maximum(regions.score[a], regions.score[b])
    score = np.where(better & _fair_size(joint, total), score, np.float32(0.0))
    chosen = np.argsort(-score, kind="stable")[:at_most]
    chosen = chosen[score[chosen] > _LEAST_SCORE]
    return Regions(members[a[chosen]] | members[b[chosen]], score[chosen])


def _fair_size(measures: Measures, image_area: float) -> NDArray[np.bool_]:
    """Neither too small to be recognised (masks.large_enough drops those anyway) nor the better part of the image."""
    area, boxes = measures.area, measures.boxes
    box_area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    large = (area >= max(80.0, MIN_MASK_AREA * image_area)) & (box_area > MIN_BOX_SIDE**2 * image_area)
    return np.asarray(large & (area <= 0.4 * image_area))


def concatenated(first: Regions, second: Regions) -> Regions:
    """The rows of both."""
    return Regions(np.concatenate([first.members, second.members]), np.concatenate([first.score, second.score]))


def distinct(
    patches: Patches, regions: Regions, at_most: int, overlap: float = 0.85, reluctance: float = 0.8
) -> tuple[NDArray[np.int64], Array]:
    """The best regions, best first, none overlapping a better one by an IoU above `overlap`: indices and scores.

    Scores are lowered by up to `reluctance` the more a region overlaps one chosen before, so that a region of
    middling looks in a place of its own comes before the fifth variation of a good one.
    """
    held = regions.members.astype(np.float32)
    area = held @ patches.area
    shared = (held * patches.area) @ held.T
    iou = shared / (area[:, None] + area[None] - shared)
    score = regions.score.copy()
    factor = np.where(iou < overlap, 1.0 - reluctance * iou, 0.0).astype(np.float32)
    kept: list[int] = []
    scores: list[float] = []
    lowered = np.ones_like(score)
    while len(kept) < min(at_most, len(score)):
        row = int(np.argmax(score * lowered))
        best = float(score[row] * lowered[row])
        if best <= 0.0:
            break
        kept.append(row)
        scores.append(best)
        np.minimum(lowered, factor[row], out=lowered)
    return np.array(kept, np.int64), np.array(scores, np.float32)


def in_free_places(
    patches: Patches, regions: Regions, chosen: NDArray[np.int64], at_most: int, free: float = 0.7, small: float = 0.1
) -> NDArray[np.int64]:
    """Indices of further regions, best first, of which at least the share `free` lies in no region chosen before.

    Regions larger than the share `small` of the image neither cover others nor are chosen: objects lie on them.
    """
    held = regions.members.astype(np.float32)
    area = held @ patches.area
    is_small = area < small * patches.area.sum()
    score = np.where(is_small, regions.score, np.float32(0.0))
    covered = regions.members[chosen[is_small[chosen]]].any(axis=0)
    found: list[int] = []
    while len(found) < min(at_most, len(score)):
        candidates = np.where(held @ (patches.area * ~covered) >= free * area, score, np.float32(0.0))
        best = int(candidates.argmax())
        if candidates[best] <= 0.0:
            break
        found.append(best)
        covered |= regions.members[best]
    return np.array(found, np.int64)
