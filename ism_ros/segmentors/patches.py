"""A frame cut into small patches, with what colour and depth say about each patch and each border between two."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from ism_ros.segmentors.depth_geometry import Geometry
from ism_ros.segmentors.superpixels import Boundaries, touching, watershed

Image = NDArray[np.float32]
Array = NDArray[np.float32]
Labels = NDArray[np.int32]

COLOUR, STEP, CREASE, PLANE = range(4)
"""Columns of Boundaries.cues, each 0..1: colour edges, depth steps, concave creases, leaving a large plane."""

FRONT_LIMIT = 6.0
"""Depth steps beyond this many noise units count as much as one of this height."""


@dataclass(frozen=True)
class Patches:
    """The patches of an image, L of them, and their borders.

    labels: (h, w) int32. area: (L,) pixels. lab: (L, 3), mean colour, 1 = about one strong edge. known: (L,), share of
    pixels with depth. on_plane: (L,), how much lies on a large plane, 0..1. front: (L,), how far the patch is in front
    of what surrounds it, summed along its border, in pixels times -1..1; adding patches up cancels the borders between
    them. frame_length: (L,) pixels along the image border. boxes: (L, 4), first and last column and row.
    """

    labels: Labels
    area: Array
    lab: Array
    known: Array
    on_plane: Array
    front: Array
    frame_length: Array
    boxes: Array
    boundaries: Boundaries

    def __len__(self) -> int:
        return len(self.area)


def cut_patches(rgb: NDArray[np.uint8], geometry: Geometry | None, spacing: int) -> Patches:
    """Patches of `rgb` (h, w, 3), about `spacing` pixels wide; `geometry` may be smaller than the image."""
    height, width = rgb.shape[:2]
    lab = np.asarray(cv2.cvtColor(cv2.GaussianBlur(rgb, (5, 5), 0), cv2.COLOR_RGB2LAB), np.uint8)
    colour = _colour_edges(lab)
    nothing = np.zeros((height, width), dtype=np.float32)
    if geometry is None:
        step = crease = plane = known = on_plane = disparity = nothing
    else:
        wide = np.ones((3, 3), np.uint8)

        def enlarge(image: cv2.typing.MatLike, how: int = cv2.INTER_LINEAR) -> Image:
            return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.float32)

        flat = cv2.medianBlur(geometry.on_plane, 5)
        # registered depth is off by a few pixels from colour at object borders: let the two meet
        step = enlarge(cv2.dilate(geometry.step, wide))
        crease = enlarge(geometry.crease)
        plane = enlarge(cv2.morphologyEx(flat, cv2.MORPH_GRADIENT, wide) * geometry.valid)
        known = enlarge(geometry.valid.astype(np.float32), cv2.INTER_NEAREST)
        on_plane = enlarge(flat)
        disparity = enlarge(geometry.disparity, cv2.INTER_NEAREST)
    shape = np.maximum(np.maximum(step, 0.8 * crease), 0.8 * plane)
    labels = watershed(0.5 * colour + 0.5 * shape, spacing)

    count = int(labels.max()) + 1
    area = np.bincount(labels.ravel(), minlength=count).astype(np.float32)

    def means(image: Image) -> Array:
        return (np.bincount(labels.ravel(), image.ravel(), count) / area).astype(np.float32)

    mean_lab = np.stack([means(np.asarray(lab[..., channel], np.float32)) for channel in range(3)], axis=1)
    return Patches(
        labels,
        area,
        mean_lab * np.array([0.6, 1.5, 1.5], np.float32) / 60.0,
        means(known),
        means(on_plane),
        _in_front(labels, disparity, count),
        np.bincount(
            np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]), minlength=count
        ).astype(np.float32),
        label_boxes(labels, count),
        touching(labels, [colour, step, crease, plane]),
    )


def _colour_edges(lab: NDArray[np.uint8]) -> Image:
    """Strength of colour edges, 0..1; lightness counts less than hue, for shadows."""
    gradient = np.asarray(cv2.morphologyEx(lab, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), np.float32)
    strength = 0.6 * gradient[..., 0] + 1.5 * np.maximum(gradient[..., 1], gradient[..., 2])
    return np.minimum(np.float32(1.0), strength / np.float32(60.0))


def _in_front(labels: Labels, disparity: Image, count: int, reach: int = 3) -> Array:
    """How far each patch is in front of its surroundings: see Patches.front."""
    total = np.zeros(count)
    for axis in (0, 1):
        here, there = (labels[:-1], labels[1:]) if axis == 0 else (labels[:, :-1], labels[:, 1:])
        rows, columns = np.nonzero(here != there)
        line, limit = (rows, labels.shape[0] - 1) if axis == 0 else (columns, labels.shape[1] - 1)
        near, far = np.maximum(line - reach + 1, 0), np.minimum(line + reach, limit)
        if axis == 0:
            difference = disparity[near, columns] - disparity[far, columns]
        else:
            difference = disparity[rows, near] - disparity[rows, far]
        nearer = np.clip(difference / FRONT_LIMIT, -1.0, 1.0)
        total += np.bincount(here[rows, columns], nearer, count) - np.bincount(
            there[rows, columns], nearer, count
        )
    return total.astype(np.float32)


def label_boxes(labels: Labels, count: int) -> Array:
    """First and last column and row of every label below `count`, (count, 4) float32; all 0 for labels not there."""
    boxes = np.zeros((count, 4), np.float32)
    for row, found in enumerate(find_objects(labels + 1, count)):
        if found is not None:
            y, x = found
            boxes[row] = x.start, y.start, x.stop - 1, y.stop - 1
    return boxes


def joined(patches: Patches, group: NDArray[np.int64]) -> Patches:
    """The same image with all patches of a `group` (L,), numbered from 0 without gaps, made one."""
    count = int(group.max()) + 1

    def summed(values: Array) -> Array:
        return np.bincount(group, values, count).astype(np.float32)

    area = summed(patches.area)

    def averaged(values: Array) -> Array:
        return summed(values * patches.area) / area

    boxes = np.empty((count, 4), np.float32)
    for column, extreme in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        boxes[:, column] = np.inf if column < 2 else -np.inf
        extreme.at(boxes[:, column], group, patches.boxes[:, column])
    return Patches(
        group[patches.labels].astype(np.int32),
        area,
        np.stack([averaged(channel) for channel in patches.lab.T], axis=1),
        averaged(patches.known),
        averaged(patches.on_plane),
        summed(patches.front),
        summed(patches.frame_length),
        boxes,
        patches.boundaries.joined(group),
    )
