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
        ends = np.sort(group[self.pairs], axis=1)
        outside = ends[:, 0] != ends[:, 1]
        ends, length, cues = ends[outside], self.length[outside], self.cues[outside]
        order, starts = runs_of_pairs(ends[:, 0], ends[:, 1])
        if len(starts) == 0:
            return Boundaries(ends, length, cues)
        long = np.add.reduceat(length[order], starts)
        sums = np.add.reduceat((cues * length[:, None])[order], starts, axis=0)
        return Boundaries(ends[order][starts], long, np.asarray(sums / long[:, None], np.float32))


def watershed(edges: NDArray[np.uint8], spacing: int) -> NDArray[np.int32]:
    """Patches of an edge map (H, W) uint8: labels (H, W) int32 from 0, all used, each patch connected.

    One seed per `spacing` x `spacing` cell, at the weakest edge in it.
    """
    height, width = edges.shape
    seeds = _cell_minima(edges, spacing) + 1
    # OpenCV never labels the outermost pixels: work in a frame of one more
    markers = np.zeros((height + 2, width + 2), dtype=np.int32)
    markers[seeds[:, 0], seeds[:, 1]] = np.arange(1, len(seeds) + 1)
    # OpenCV floods by the difference between neighbouring pixels, not by height. With the edge strength added and
    # taken away in turn like on a chessboard, that difference is the sum of both strengths: a flood by height.
    half = np.zeros(markers.shape, np.int8)
    half[1:-1, 1:-1] = edges >> 1
    half[1::2, ::2] *= -1
    half[::2, 1::2] *= -1
    relief = half.view(np.uint8) + np.uint8(128)
    cv2.watershed(cv2.merge([relief, relief, relief]), markers)
    return _close_lines(markers[1:-1, 1:-1])


def _cell_minima(edges: NDArray[np.uint8], spacing: int) -> NDArray[np.int64]:
    """Row and column of the smallest value in every cell of a grid, (S, 2)."""
    height, width = edges.shape
    rows, columns = -(-height // spacing), -(-width // spacing)
    # a slight pull to the middle of the cell, so that flat cells are seeded there
    middle = np.abs(np.arange(spacing) - spacing / 2).astype(np.uint16)
    padded = np.full((rows * spacing, columns * spacing), np.iinfo(np.uint16).max, dtype=np.uint16)
    padded[:height, :width] = edges
    padded[:height, :width] *= 4
    cells = padded.reshape(rows, spacing, columns, spacing).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    inside = (cells // 2 + (middle[:, None] + middle[None]).ravel()).argmin(axis=1)
    cell = np.arange(rows * columns)
    return np.stack([cell // columns * spacing + inside // spacing, cell % columns * spacing + inside % spacing], 1)


def _close_lines(markers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Gives the one-pixel lines (-1) between patches to a neighbouring patch and numbers the patches from 0."""
    labels = np.maximum(markers, 0).astype(np.float32)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    while not labels.all():
        labels = np.where(labels > 0, labels, cv2.dilate(labels, cross))
    number = labels.astype(np.int32)
    used = np.bincount(number.ravel()) > 0
    return (np.cumsum(used, dtype=np.int32) - 1)[number]


@dataclass(frozen=True)
class Contacts:
    """The places where two patches meet, one row a pair of 4-neighbours.

    here, there: (B,) int64, flat pixel indices. horizontal: the first so many rows are pairs side by side, the others
    one above the other.
    """

    here: NDArray[np.int64]
    there: NDArray[np.int64]
    horizontal: int


def contacts(labels: NDArray[np.int32]) -> Contacts:
    """Where the patches of `labels` (H, W) meet."""
    width = labels.shape[1]
    flat = labels.ravel()
    beside = np.flatnonzero(flat[:-1] != flat[1:])
    beside = beside[beside % width != width - 1]
    below = np.flatnonzero(flat[:-width] != flat[width:])
    return Contacts(np.concatenate([beside, below]), np.concatenate([beside + 1, below + width]), len(beside))


def measure_borders(labels: NDArray[np.int32], met: Contacts, cues: list[NDArray[np.uint8]]) -> Boundaries:
    """The borders between patches and the mean of each cue (H, W), 255 taken as 1, along them."""
    flat = labels.ravel()
    a, b = flat[met.here], flat[met.there]
    values = np.empty((len(a), len(cues)), np.float32)
    for column, cue in enumerate(cues):
        values[:, column] = np.maximum(cue.ravel()[met.here], cue.ravel()[met.there])
    order, starts = runs_of_pairs(np.minimum(a, b), np.maximum(a, b))
    length = np.diff(np.append(starts, len(a))).astype(np.float32)
    pairs = np.stack([np.minimum(a, b)[order][starts], np.maximum(a, b)[order][starts]], axis=1).astype(np.int64)
    if len(starts) == 0:
        return Boundaries(pairs, length, np.zeros((0, len(cues)), np.float32))
    sums = np.add.reduceat(values[order], starts, axis=0)
    return Boundaries(pairs, length, sums / (np.float32(255.0) * length[:, None]))


def runs_of_pairs(
    first: NDArray[np.integer], second: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An order that puts equal pairs of numbers side by side, and the start of each run of equal pairs in it."""
    if len(first) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if max(int(first.max()), int(second.max())) < 1 << 16:
        # numpy sorts 16-bit numbers by radix, several times faster
        first, second = first.astype(np.uint16), second.astype(np.uint16)
    order = np.argsort(second, kind="stable")
    order = order[np.argsort(first[order], kind="stable")]
    first, second = first[order], second[order]
    new = np.flatnonzero((first[1:] != first[:-1]) | (second[1:] != second[:-1])) + 1
    return order, np.concatenate([np.zeros(1, np.int64), new])
