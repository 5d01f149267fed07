"""The terms of the evidence for and against poses, and what they are gathered from.

H poses, E terms, G cells a side of a window, K samples of an object.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

CELLS = 32
"""Cells along each side of the window, G."""
MARGIN_CELLS = 4
"""Cells around the silhouette on each side, in which its surroundings are seen."""
SILHOUETTE_CELLS = CELLS - 2 * MARGIN_CELLS - 0.01
"""Cells along the longer side of the silhouette: a little less than whole ones, so that rounding does not decide in
which cells its outermost samples lie."""
MIN_CELL_PX = 0.25
"""Least side of a cell, pixels."""
TOLERANCE_DEVIATIONS = 2.5
"""Tolerance t in standard deviations of the sensor."""
MIN_RELATIVE_NOISE = 1e-4
"""Least noise relative to the width of a silhouette."""

TERMS = (
    "agreeing", "close", "explained", "outline_iou", "inside", "continues", "nearer", "hidden", "measured",
    "normals", "visible_pixels", "color_correlation", "chroma", "balanced_chroma", "saturation", "edges", "inner_edges",
    "relative_noise",
)  # fmt: skip
"""Names of the terms of Evidence.terms, in their order."""


@dataclass(frozen=True)
class ObjectSamples:
    """Samples of the surfaces of the objects of H poses, of equal number.

    Attributes:
        points_m: (H, 3, K) relative to the centres, object axes, metres.
        normals: (H, 3, K) outwards.
        colors: (H, K, 3) RGB in [0, 1].
    """

    points_m: Tensor
    normals: Tensor
    colors: Tensor


@dataclass(frozen=True)
class Evidence:
    """Evidence of H poses.

    Attributes:
        terms: (H, E) float32, in the order of TERMS:
            agreeing: agreeing cells / (agreeing + missing);
            close: cells within half the tolerance / agreeing;
            explained: agreeing cells of the mask / cells of the mask with a reading;
            outline_iou: IoU of the mask and the visible silhouette;
            inside: share of the visible silhouette that is in the mask;
            continues: share of the ring around the silhouette in which the same surface goes on;
            nearer: share of that ring which is nearer than the object;
            hidden, measured: shares of the silhouette that are hidden, and that have a reading;
            normals: mean cosine of the normals of model and readings;
            visible_pixels: log10 of the visible silhouette's area, pixels;
            color_correlation, chroma, balanced_chroma, saturation: as of verification.color_agreement;
            edges, inner_edges: how well edges of the image follow the outline of the visible silhouette, and a line
                inside of it (verification.image_edges);
            relative_noise: log10 of the sensor's noise at the object's distance over the width of its silhouette: where
                it is large, depth that agrees says little.
        visible: (H, G, G) bool, cells of the visible silhouette.
        origin: (H, 2) x and y of the window's corner, pixels.
        cell_px: (H,) side of a cell, pixels.
    """

    terms: Tensor
    visible: Tensor
    origin: Tensor
    cell_px: Tensor
