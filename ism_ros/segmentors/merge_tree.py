"""Agglomerative merging of touching patches: a forest of binary trees whose nodes are candidate regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ism_ros.segmentors.superpixels import runs_of_pairs


@dataclass(frozen=True)
class MergeTree:
    """Nodes 0..L-1 are the leaves, then one row a merge, children before parents.

    children: (M, 2) int64, the two nodes that merge L + row joined. height: (M,) float32, the boundary strength at
    which it did. rounds: (R + 1,) int64, the merges of round r are the rows rounds[r]:rounds[r + 1], independent of
    each other. leaves: L. shared: (M, C) float32, sums along the border that disappeared in the merge, of the columns
    given to merge_by_boundary.
    """

    children: NDArray[np.int64]
    height: NDArray[np.float32]
    rounds: NDArray[np.int64]
    leaves: int
    shared: NDArray[np.float32]

    def parents(self) -> NDArray[np.int64]:
        """(L + M,) int64, the node each node was merged into, -1 for roots."""
        parent = np.full(self.leaves + len(self.children), -1, dtype=np.int64)
        merged = self.leaves + np.arange(len(self.children))
        parent[self.children[:, 0]] = merged
        parent[self.children[:, 1]] = merged
        return parent

    def roots(self) -> NDArray[np.int64]:
        """(L,): the number of the tree that each leaf is in, from 0 without gaps."""
        parent = self.parents()
        root = np.arange(len(parent))
        for start, end in zip(self.rounds[-2::-1], self.rounds[:0:-1], strict=True):
            for column in (0, 1):
                root[self.children[start:end, column]] = root[self.leaves + start : self.leaves + end]
        return np.unique(root[: self.leaves], return_inverse=True)[1].reshape(-1)

    def extremes(self, leaf_boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(L + M, 4): the box around the `leaf_boxes` (L, 4) of every node."""
        boxes = np.concatenate([leaf_boxes, np.zeros((len(self.children), 4), np.float32)])
        for start, end in zip(self.rounds[:-1], self.rounds[1:], strict=True):
            pair = boxes[self.children[start:end]]
            boxes[self.leaves + start : self.leaves + end, :2] = pair[..., :2].min(axis=1)
            boxes[self.leaves + start : self.leaves + end, 2:] = pair[..., 2:].max(axis=1)
        return boxes

    def sums(
        self, leaf_values: NDArray[np.float32], added: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """(L + M, ...): for every node the sum of `leaf_values` (L, ...) over its leaves, and of `added` (M, ...) over
        the merges that made it."""
        made = np.zeros((len(self.children), *leaf_values.shape[1:]), np.float32) if added is None else added
        total = np.concatenate([leaf_values, made])
        for start, end in zip(self.rounds[:-1], self.rounds[1:], strict=True):
            total[self.leaves + start : self.leaves + end] += total[self.children[start:end]].sum(axis=1)
        return total

    def leaf_runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """An order of the leaves (L,) in which every node holds a run of neighbours, and of every node the start and
        the length of its run, (L + M,) each."""
        length = self.sums(np.ones(self.leaves, np.float32)).astype(np.int64)
        start = np.zeros(len(length), dtype=np.int64)
        roots = np.nonzero(self.parents() < 0)[0]
        start[roots] = np.cumsum(length[roots]) - length[roots]
        for first, end in zip(self.rounds[-2::-1], self.rounds[:0:-1], strict=True):
            left, right = self.children[first:end].T
            parent = self.leaves + np.arange(first, end)
            start[left] = start[parent]
            start[right] = start[parent] + length[left]
        return np.argsort(start[: self.leaves]), start, length


def merge_by_boundary(
    pairs: NDArray[np.int64],
    length: NDArray[np.float32],
    strength: NDArray[np.float32],
    area: NDArray[np.float32],
    colour: NDArray[np.float32],
    small_area: float,
    tracked: NDArray[np.float32],
    stop_at: float = np.inf,
    max_rounds: int = 1_000_000,
) -> MergeTree:
    """Merges the weakest border first, until none is left; patches that nothing connects end in trees of their own.

    pairs: (E, 2), the patches on the two sides of a border. length: (E,). strength: (E,), mean along the border;
    joined borders take the mean weighted by length. area: (L,), colour: (L, C), means of the patches; the distance
    between mean colours is added to the strength. small_area: regions below it merge earlier the smaller they are.
    tracked: (E, T), sums along each border to keep account of in MergeTree.shared. stop_at: borders as strong stay.
    max_rounds: stop after so many rounds, what would still merge then stays apart.

    Every round merges all pairs that are each other's weakest border. For a mean over joined borders this gives the
    same tree as one merge at a time (the linkage is reducible), in a few dozen array operations.
    """
    leaves = len(area)
    size = np.concatenate([area, np.zeros(leaves, np.float32)]).astype(np.float32)
    mass = np.zeros((2 * leaves, colour.shape[1]), dtype=np.float32)
    mass[:leaves] = colour * area[:, None]
    first, second = pairs.T
    long = length.astype(np.float64)
    total = strength * long
    account = tracked.astype(np.float64)
    rounds = [0]
    children: list[NDArray[np.int64]] = []
    heights: list[NDArray[np.float64]] = []
    shared: list[NDArray[np.float64]] = []
    made = leaves
    while len(first) and len(rounds) <= max_rounds:
        mean = mass / np.maximum(size, 1e-6)[:, None]
        difference = mean[first] - mean[second]
        distance = np.sqrt((difference**2).sum(axis=1))
        weight = total / long + distance
        weight *= np.minimum(1.0, np.minimum(size[first], size[second]) / small_area) ** 0.5 + 1e-6
        # no two borders are equally strong, so that no patch is in two merges of a round
        weight += 1e-12 * np.arange(len(weight))
        weakest = np.full(made, np.inf)
        np.minimum.at(weakest, first, weight)
        np.minimum.at(weakest, second, weight)
        merged = np.nonzero((weakest[first] == weight) & (weakest[second] == weight) & (weight < stop_at))[0]
        if len(merged) == 0:
            break
        a, b = first[merged], second[merged]
        new = made + np.arange(len(merged))
        size[new] = size[a] + size[b]
        mass[new] = mass[a] + mass[b]
        children.append(np.stack([a, b], axis=1))
        heights.append(weight[merged])
        shared.append(account[merged])
        made += len(merged)
        rounds.append(made - leaves)

        renamed = np.arange(made)
        renamed[a] = new
        renamed[b] = new
        first, second = renamed[first], renamed[second]
        outside = first != second
        first, second = np.minimum(first, second)[outside], np.maximum(first, second)[outside]
        order, starts = runs_of_pairs(first, second)
        first, second = first[order][starts], second[order][starts]
        if len(starts):
            long = np.add.reduceat(long[outside][order], starts)
            total = np.add.reduceat(total[outside][order], starts)
            account = np.add.reduceat(account[outside][order], starts, axis=0)
    return MergeTree(
        np.concatenate(children) if children else np.zeros((0, 2), np.int64),
        np.concatenate(heights).astype(np.float32) if heights else np.zeros(0, np.float32),
        np.array(rounds),
        leaves,
        np.concatenate(shared).astype(np.float32) if shared else tracked[:0],
    )
