"""What the compiled loops of evidence work on, and how windows lie in memory.

A window of G x G cells is kept row by row with PADDING more on each side, so that loops over neighbouring cells have no
branches: A cells in all. What is true or false of a cell is 1 or 0. Numbers are float32, never infinite.
Numba tells classes of named tuples apart by their names: each of its own is quickest.

H poses, K samples of an object, N masks, L levels of edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ism_ros.runtime.compilation import Float, Floats
from ism_ros.verification.evidence.terms import CELLS

Integers = NDArray[np.int32]
Indices = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Vector = tuple[float, float, float]

PADDING = 4
"""Cells around a window on each side: as many as any loop looks away from a cell."""
STRIDE = CELLS + 2 * PADDING
"""Cells from one row to the next."""
AREA = STRIDE * STRIDE
"""Cells of a padded window, A."""
FAR_M = Float(1e6)
"""Depth where there is no surface, metres."""


class Surfaces(NamedTuple):
    """Samples of the objects of H poses.

    Attributes:
        points_m: (H, 3, K) relative to the centres, object axes, metres.
        normals: (H, 3, K) outwards.
        colors: (H, K, 3) RGB in [0, 1].
    """

    points_m: Floats
    normals: Floats
    colors: Floats


class Image(NamedTuple):
    """What poses are compared with.

    Attributes:
        depth_m: (H, W) metres, 0 = no reading.
        masks: (N, H, W) bool.
        rgb: (H, W, 3) uint8.
        light: (3,) shares of red, green and blue in the color of the light.
    """

    depth_m: Floats
    masks: NDArray[np.bool_]
    rgb: Bytes
    light: Floats


class Edges(NamedTuple):
    """Edges of the image, as of verification.image_edges.ImageEdges.

    Attributes:
        levels: (P, 2) e cos 2a and e sin 2a of the pixels of all levels, row by row.
        first: (L,) int64, index of the first pixel of each level.
        height: (L,) int64, rows of each level.
        width: (L,) int64, columns of each level.
    """

    levels: Floats
    first: Indices
    height: Indices
    width: Indices


class Windows(NamedTuple):
    """Poses rendered into windows, and what the image has there.

    Attributes:
        nearest_m: (H, A) least depth of the samples in each cell, metres, FAR_M where there is none.
        sample: (H, A) int32, a sample as near as that.
        depth_m: (H, A) reading, metres, 0 = none.
        mask: (H, A) whether the cell is in the mask of the pose.
        in_image: (H, A) whether it is in the image.
        pixel: (H, A) int32, index of its pixel in the flattened image.
        origin: (H, 2) x and y of the window's corner, pixels.
        cell_px: (H,) side of a cell, pixels.
    """

    nearest_m: Floats
    sample: Integers
    depth_m: Floats
    mask: Floats
    in_image: Floats
    pixel: Integers
    origin: Floats
    cell_px: Floats

    @staticmethod
    def empty(poses: int) -> Windows:
        """Make windows in which nothing is."""
        nearest_m, depth_m, mask, in_image = (np.zeros((poses, AREA), np.float32) for _ in range(4))
        sample, pixel = (np.zeros((poses, AREA), np.int32) for _ in range(2))
        origin, cell_px = np.empty((poses, 2), np.float32), np.empty(poses, np.float32)
        return Windows(nearest_m, sample, depth_m, mask, in_image, pixel, origin, cell_px)


class Comparison(NamedTuple):
    """How windows compare with the image.

    Attributes:
        visible: (H, A) whether a cell is of the visible silhouette.
        line: (H, A) 1 along its outline, 2 along the line inside of it.
        compared: (H, A) whether the color of a cell is to be compared.
        terms: (H, 12) the terms that come of shape and depth, in the order of terms.TERMS.
    """

    visible: Floats
    line: Floats
    compared: Floats
    terms: Floats

    @staticmethod
    def empty(poses: int) -> Comparison:
        """Make a comparison to be filled in."""
        return Comparison(*(np.zeros((poses, size), np.float32) for size in (AREA, AREA, AREA, 12)))
