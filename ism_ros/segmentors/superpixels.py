"""Small patches that respect every edge, and the graph of which touches which."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Boundaries:
    """The borders between touching patches, one row a pair.

    pairs: (E, 2) int64, first < second. length: (E,) float32, pixel pairs. cues: (E, C) float32, mean along the border.
    """

    pairs: NDArray[np.int64]
    length: NDArray[np.float32]
    cues: NDArray[np.float32]

    def joined(self, group: NDArray[np.int64]) -> Boundaries:
        """The borders that remain when all patches of a `group` (one number a patch) become one."""
        count = int(group.max()) + 1
        ends = np.sort(group[self.pairs], axis=1)
        outside = ends[:, 0] != ends[:, 1]
        key, index = np.unique(ends[outside, 0] * count + ends[outside, 1], return_inverse=True)
        length = np.bincount(index, self.length[outside], len(key))
        weighted = self.cues[outside] * self.length[outside, None]
        sums = np.stack([np.bincount(index, column, len(key)) for column in weighted.T], axis=1)
        return Boundaries(
            np.stack([key // count, key % count], axis=1),
            length.astype(np.float32),
            (sums / length[:, None]).astype(np.float32),
        )


def watershed(edges: NDArray[np.float32], spacing: int) -> NDArray[np.int32]:
    """Patches of an edge map (H, W) float32 in 0..1: labels (H, W) int32 from 0, all used, each patch connected.

    One seed per `spacing` x `spacing` cell, at the weakest edge in it.
    """
    height, width = edges.shape
    seeds = _cell_minima(edges, spacing) + 1
    # OpenCV never labels the outermost pixels: work in a frame of one more
    markers = np.zeros((height + 2, width + 2), dtype=np.int32)
    markers[seeds[:, 0], seeds[:, 1]] = np.arange(1, len(seeds) + 1)
    # OpenCV floods by the difference between neighbouring pixels, not by height. With the edge strength added and
    # taken away in turn like on a chessboard, that difference is the sum of both strengths: a flood by height.
    half = np.zeros(markers.shape, np.int16)
    half[1:-1, 1:-1] = np.clip(edges * 127.0, 0.0, 127.0)
    half[1::2, ::2] *= -1
    half[::2, 1::2] *= -1
    relief = (half + 128).astype(np.uint8)
    cv2.watershed(cv2.merge([relief, relief, relief]), markers)
    return _close_lines(markers[1:-1, 1:-1])


def _cell_minima(edges: NDArray[np.float32], spacing: int) -> NDArray[np.int64]:
    """Row and column of the smallest value in every cell of a grid, (S, 2)."""
    height, width = edges.shape
    rows, columns = -(-height // spacing), -(-width // spacing)
    # a slight pull to the middle of the cell, so that flat cells are seeded there
    along_y = np.abs((np.arange(height) % spacing) - spacing / 2)
    along_x = np.abs((np.arange(width) % spacing) - spacing / 2)
    pulled = edges + (0.002 * (along_y[:, None] + along_x[None])).astype(np.float32)
    padded = np.full((rows * spacing, columns * spacing), np.inf, dtype=np.float32)
    padded[:height, :width] = pulled
    cells = padded.reshape(rows, spacing, columns, spacing).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    inside = cells.argmin(axis=1)
    cell = np.arange(rows * columns)
    return np.stack(
        [cell // columns * spacing + inside // spacing, cell % columns * spacing + inside % spacing], 1
    )


def _close_lines(markers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Gives the one-pixel lines (-1) between patches to a neighbouring patch and numbers the patches from 0."""
    labels = np.maximum(markers, 0).astype(np.float32)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    while not labels.all():
        labels = np.where(labels > 0, labels, cv2.dilate(labels, cross))
    number = labels.astype(np.int32)
    used = np.bincount(number.ravel()) > 0
    return (np.cumsum(used, dtype=np.int32) - 1)[number]


def touching(labels: NDArray[np.int32], cues: list[NDArray[np.float32]]) -> Boundaries:
    """The pairs of patches that touch (4-neighbours) and the mean of each cue image (H, W) along their border."""
    count = int(labels.max()) + 1
    keys: list[NDArray[np.int64]] = []
    values: list[list[NDArray[np.float32]]] = [[] for _ in cues]
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        rows, columns = np.nonzero(labels[a] != labels[b])
        first, second = labels[a][rows, columns], labels[b][rows, columns]
        keys.append(np.minimum(first, second).astype(np.int64) * count + np.maximum(first, second))
        for collected, cue in zip(values, cues, strict=True):
            collected.append(np.maximum(cue[a][rows, columns], cue[b][rows, columns]))
    pair_keys, index, length = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    sums = [np.bincount(index, np.concatenate(v), len(pair_keys)) / length for v in values]
    return Boundaries(
        np.stack([pair_keys // count, pair_keys % count], axis=1),
        length.astype(np.float32),
        np.stack(sums, axis=1).astype(np.float32) if sums else np.zeros((len(pair_keys), 0), np.float32),
    )
