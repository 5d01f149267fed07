"""A frame cut into small patches, with what colour and depth say about each patch and each border between two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from ism_ros.segmentors.depth_geometry import Geometry
from ism_ros.segmentors.superpixels import Boundaries, Contacts, contacts, measure_borders, watershed

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
    them. frame_length: (L,) pixels along the image border.
    """

    labels: Labels
    area: Array
    lab: Array
    known: Array
    on_plane: Array
    front: Array
    frame_length: Array
    boundaries: Boundaries

    def __len__(self) -> int:
        return len(self.area)

    @cached_property
    def boxes(self) -> Array:
        """(L, 4): first and last column and row of each patch."""
        return label_boxes(self.labels, len(self))


def cut_patches(rgb: NDArray[np.uint8], geometry: Geometry | None, spacing: int) -> Patches:
    """Patches of `rgb` (h, w, 3), about `spacing` pixels wide; `geometry` may be smaller than the image."""
    height, width = rgb.shape[:2]
    lab = np.asarray(cv2.cvtColor(cv2.GaussianBlur(rgb, (5, 5), 0), cv2.COLOR_RGB2LAB), np.uint8)
    cues = [_colour_edges(lab), *_depth_edges(geometry, (width, height))]
    colour, step, crease, plane = cues
    shape = cv2.max(step, cv2.max(cv2.convertScaleAbs(crease, alpha=0.8), cv2.convertScaleAbs(plane, alpha=0.8)))
    labels = watershed(np.asarray(cv2.addWeighted(colour, 0.5, shape, 0.5, 0.0), np.uint8), spacing)

    count = int(labels.max()) + 1
    means = _means(labels, count, lab, geometry)
    met = contacts(labels)
    return Patches(
        labels,
        np.bincount(labels.ravel(), minlength=count).astype(np.float32),
        means[:, :3] * np.array([0.6, 1.5, 1.5], np.float32) / np.float32(60.0),
        means[:, 3],
        means[:, 4],
        np.zeros(count, np.float32) if geometry is None else _in_front(labels, met, geometry.disparity, count),
        np.bincount(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]), minlength=count).astype(
            np.float32
        ),
        measure_borders(labels, met, cues),
    )


def _colour_edges(lab: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Strength of colour edges, 0..255; lightness counts less than hue, for shadows."""
    lightness, a, b = cv2.split(cv2.morphologyEx(lab, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    return np.asarray(cv2.addWeighted(lightness, 0.6 * 255 / 60, cv2.max(a, b), 1.5 * 255 / 60, 0.0), np.uint8)


def _depth_edges(geometry: Geometry | None, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Depth steps, concave creases and the ends of planes, 0..255, at `size` (width, height)."""
    if geometry is None:
        return [np.zeros(size[::-1], np.uint8)] * 3
    wide = np.ones((3, 3), np.uint8)
    flat = cv2.medianBlur(geometry.on_plane, 5)
    small = (
        # registered depth is off by a few pixels from colour at object borders: let the two meet
        cv2.dilate(geometry.step, wide),
        geometry.crease,
        cv2.morphologyEx(flat, cv2.MORPH_GRADIENT, wide) * geometry.valid,
    )
    return [np.asarray(cv2.resize(cv2.convertScaleAbs(cue, alpha=255.0), size), np.uint8) for cue in small]


def _means(labels: Labels, count: int, lab: NDArray[np.uint8], geometry: Geometry | None) -> Array:
    """Of every patch the mean L, a, b, the share of pixels with depth and of lying on a plane, (count, 5)."""
    if geometry is None:
        places, images = labels, [*cv2.split(lab)]
    else:
        # every second pixel, where depth was measured
        places = labels[::2, ::2]
        images = [
            *cv2.split(lab[::2, ::2]),
            geometry.valid.astype(np.uint8),
            cv2.medianBlur(geometry.on_plane, 5),
        ]
    flat = places.ravel()
    area = np.bincount(flat, minlength=count)
    means = np.zeros((count, 5), np.float32)
    for column, image in enumerate(images):
        means[:, column] = np.bincount(flat, np.asarray(image).ravel(), count) / np.maximum(area, 1)
    # patches so small that no second pixel is theirs
    rest = np.flatnonzero((area == 0)[labels.ravel()])
    means[labels.ravel()[rest], :3] = lab.reshape(-1, 3)[rest]
    return means


def _in_front(labels: Labels, met: Contacts, disparity: Image, count: int, reach: int = 3) -> Array:
    """How far each patch is in front of its surroundings: see Patches.front. `disparity` may be smaller."""
    (height, width), (rows, columns) = labels.shape, disparity.shape
    y, x = np.divmod(met.here, width)
    over = np.arange(len(x)) < met.horizontal
    dx, dy = np.where(over, reach, 0), np.where(over, 0, reach)

    def at(v: NDArray[np.int64], u: NDArray[np.int64]) -> Array:
        v, u = np.clip(v, 0, height - 1) * rows // height, np.clip(u, 0, width - 1) * columns // width
        return disparity.ravel()[v * columns + u]

    nearer = np.clip((at(y - dy + (dy > 0), x - dx + (dx > 0)) - at(y + dy, x + dx)) / FRONT_LIMIT, -1.0, 1.0)
    flat = labels.ravel()
    total = np.bincount(flat[met.here], nearer, count) - np.bincount(flat[met.there], nearer, count)
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

    return Patches(
        group[patches.labels].astype(np.int32),
        area,
        np.stack([averaged(channel) for channel in patches.lab.T], axis=1),
        averaged(patches.known),
        averaged(patches.on_plane),
        summed(patches.front),
        summed(patches.frame_length),
        patches.boundaries.joined(group),
    )
