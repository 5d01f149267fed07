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

    def sums(self, leaf_values: NDArray[np.float32], added: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
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


@dataclass(frozen=True)
class _Borders:
    """Borders between nodes, one column a pair.

    ends: (2, E) int64, the two nodes. sums: (2, E), their length and the strength summed along it. number: (E,), one
    that no other border ever has.
    """

    ends: NDArray[np.int64]
    sums: NDArray[np.float64]
    number: NDArray[np.int64]

    def __getitem__(self, columns: NDArray[np.int64]) -> _Borders:
        return _Borders(self.ends.take(columns, axis=1), self.sums.take(columns, axis=1), self.number.take(columns))

    def followed_by(self, other: _Borders) -> _Borders:
        """The columns of both."""
        return _Borders(
            np.concatenate([self.ends, other.ends], axis=1),
            np.concatenate([self.sums, other.sums], axis=1),
            np.concatenate([self.number, other.number]),
        )

    def renamed(self, heir: NDArray[np.int64], next_number: int) -> tuple[_Borders, NDArray[np.int64]]:
        """These borders between the heirs of their nodes, those of one pair joined; and the new number of each."""
        if len(self.number) == 0:
            return self, self.number
        ends = heir[self.ends]
        order, starts = runs_of_pairs(ends.min(axis=0), ends.max(axis=0))
        joined = _Borders(
            ends.take(order[starts], axis=1),
            np.add.reduceat(self.sums.take(order, axis=1), starts, axis=1),
            np.arange(next_number, next_number + len(starts)),
        )
        number = np.empty(len(order), np.int64)
        number[order] = joined.number.repeat(np.diff(starts, append=len(order)))
        return joined, number


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
    leaves, edges = len(area), len(pairs)
    size = np.concatenate([area, np.zeros(leaves, np.float32)]).astype(np.float32)
    mass = np.zeros((2 * leaves, colour.shape[1]), dtype=np.float32)
    mass[:leaves] = colour * area[:, None]
    heir = np.arange(2 * leaves)

    def weigh(border: _Borders) -> NDArray[np.float64]:
        sizes = size[border.ends]
        means = mass[border.ends] / sizes[..., None]
        difference = means[0] - means[1]
        weight = border.sums[1] / border.sums[0] + np.sqrt(np.einsum("ec,ec->e", difference, difference))
        weight *= np.sqrt(np.minimum(1.0, sizes.min(axis=0) / small_area)) + 1e-6
        # no two borders are equally strong, so that no patch is in two merges of a round
        return np.asarray(weight + 1e-12 * border.number)

    border = _Borders(pairs.T.copy(), np.stack([length, strength * length]).astype(np.float64), np.arange(edges))
    weight = weigh(border)
    rounds = [0]
    children: list[NDArray[np.int64]] = []
    heights: list[NDArray[np.float64]] = []
    gone: list[NDArray[np.int64]] = []
    became: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    made, numbered = leaves, edges
    while len(weight) and len(rounds) <= max_rounds:
        weakest = np.full(made, np.inf)
        for end in border.ends:
            np.minimum.at(weakest, end, weight)
        mutual = (weakest[border.ends] == weight).all(axis=0) & (weight < stop_at)
        merged = np.flatnonzero(mutual)
        if len(merged) == 0:
            break
        pair = border.ends.take(merged, axis=1)
        new = made + np.arange(len(merged))
        size[new] = size[pair].sum(axis=0)
        mass[new] = mass[pair].sum(axis=0)
        heir[pair] = new
        children.append(pair.T)
        heights.append(weight[merged])
        gone.append(border.number[merged])
        made += len(merged)
        rounds.append(made - leaves)

        # only the borders of what has just merged change
        stale = (heir[border.ends] != border.ends).any(axis=0)
        kept = np.flatnonzero(~stale)
        old = border[np.flatnonzero(stale & ~mutual)]
        changed, renumbered = old.renamed(heir, numbered)
        became.append((old.number, renumbered))
        numbered += len(changed.number)
        weight = np.concatenate([weight[kept], weigh(changed)])
        border = border[kept].followed_by(changed)
    return MergeTree(
        np.concatenate(children) if children else np.zeros((0, 2), np.int64),
        np.concatenate(heights).astype(np.float32) if heights else np.zeros(0, np.float32),
        np.array(rounds),
        leaves,
        _sums_at_merges(tracked, gone, became, numbered),
    )


def _sums_at_merges(
    tracked: NDArray[np.float32],
    gone: list[NDArray[np.int64]],
    became: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    numbered: int,
) -> NDArray[np.float32]:
    """(M, T): `tracked` (E, T), the values of the first borders, summed over those that each merge made disappear.

    gone: numbers of the borders that disappeared, in the order of the merges. became: numbers before and after, of
    the borders that were joined. numbered: how many numbers were given.
    """
    if not gone:
        return tracked[:0]
    last = np.arange(numbered)
    for before, after in became:
        last[before] = after
    while not np.array_equal(last, further := last[last]):
        last = further
    disappeared = np.concatenate(gone)
    merge = np.full(numbered, len(disappeared))
    merge[disappeared] = np.arange(len(disappeared))
    at = merge[last[: len(tracked)]]
    sums = [np.bincount(at, column, len(disappeared) + 1)[:-1] for column in tracked.T]
    return np.stack(sums, axis=1).astype(np.float32) if sums else np.zeros((len(disappeared), 0), np.float32)
