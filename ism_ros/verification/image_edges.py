"""Edges of the color image, for the outlines of poses: a right silhouette ends where the image has an edge.

An edge has the strength e = g / (g + 2 m + 4), with g the largest gradient of the channels and m its mean nearby, so
that strong texture and low contrast count alike, and the direction a of its gradient. Kept as e cos 2a and e sin 2a,
whose product with a normal's (cos 2b, sin 2b) is e cos 2(a - b): which side is the brighter one does not matter.

H, W rows and columns of the image, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.verification.window_cells import eroded, mean_over, smoothed

LEVELS = 5
"""Levels, each with half the resolution of the one before; the first has half that of the image."""
NEARBY_PX = 31
"""Window of the mean gradient, pixels of the first level."""
MEAN_WEIGHT, MIN_GRADIENT = 2.0, 4.0
"""Weight of the mean gradient in the strength of an edge, and gray levels that are noise."""


@dataclass(frozen=True)
class ImageEdges:
    """Edges at several resolutions; a pixel of a coarser level has the strongest edge of the four that it covers.

    Attributes:
        levels: (P, 2) float32, e cos 2a and e sin 2a of the pixels of all levels, row by row.
        first: (L,) int64, index of the first pixel of each level.
        height: (L,) int64, rows of each level.
        width: (L,) int64, columns of each level.
    """

    levels: Tensor
    first: Tensor
    height: Tensor
    width: Tensor

    def at_cells(self, origin: Tensor, cell_px: Tensor, cells: int) -> Tensor:
        """Read the edges at the cells of square windows, at the level whose pixels are about as large.

        Args:
            origin: (H, 2) x and y of the windows' corners, pixels of the image.
            cell_px: (H,) side of a cell, pixels of the image.
            cells: Cells along each side, G.

        Returns:
            (H, 2, G, G); at the border of the image, those of the nearest pixel.
        """
        level = (cell_px.log2().round() - 1).clamp(0, len(self.first) - 1).long()
        scale = 2.0 ** -(level + 1).float()
        at = (torch.arange(cells, device=cell_px.device) + 0.5) * cell_px[:, None]
        column, row = (
            torch.minimum(
                ((origin[:, axis, None] + at + 0.5) * scale[:, None]).long().clamp(min=0), size[level][:, None] - 1
            )
            for axis, size in ((0, self.width), (1, self.height))
        )
        index = (self.first[level][:, None] + row * self.width[level][:, None])[:, :, None] + column[:, None]
        return self.levels[index].movedim(3, 1)


def image_edges(rgb: NDArray[np.uint8], device: torch.device) -> ImageEdges:
    """Find the edges of an image.

    Args:
        rgb: (H, W, 3) uint8.
        device: Where they are used.

    Returns:
        The edges.
    """
    height, width = (max(size // 2, 1) for size in rgb.shape[:2])
    half = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(half, (5, 5), 1.0)
    slopes = [cv2.split(cv2.Sobel(smooth, cv2.CV_32F, *axis)) for axis in ((1, 0), (0, 1))]
    across, along = _strongest([np.stack(channel) for channel in zip(*slopes, strict=True)])
    gradient, angle = cv2.cartToPolar(across, along)
    nearby = cv2.blur(gradient, (NEARBY_PX, NEARBY_PX))
    strength = gradient / (gradient + MEAN_WEIGHT * nearby + MIN_GRADIENT)
    level: NDArray[np.float32] = np.stack([strength * np.cos(2 * angle), strength * np.sin(2 * angle)])
    levels = [level]
    for _ in range(1, LEVELS):
        rows, columns = (2 * (size // 2) for size in level.shape[1:])
        if not min(rows, columns):
            break
        level = _strongest([level[:, row:rows:2, column:columns:2] for row in (0, 1) for column in (0, 1)])
        levels.append(level)
    sizes = torch.tensor([part.shape[1:] for part in levels], device=device)
    first = torch.cat([sizes.new_zeros(1), sizes.prod(dim=1).cumsum(0)[:-1]])
    flat = np.ascontiguousarray(np.concatenate([part.reshape(2, -1) for part in levels], axis=1).T)
    return ImageEdges(torch.from_numpy(flat).to(device), first, sizes[:, 0], sizes[:, 1])


def _strongest(vectors: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """At each pixel the vector with the largest magnitude, of several images (2, H, W) of vectors."""
    best, *others = vectors
    size = np.square(best).sum(axis=0)
    for other in others:
        other_size = np.square(other).sum(axis=0)
        best = np.where(other_size > size, other, best)
        size = np.maximum(size, other_size)
    return best


def outline_agreement(edges: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Measure how well edges follow the outlines of silhouettes.

    Of a cell of the outline with normal direction b counts the largest e cos 2(a - b) of the cells around it, if above
    0. The same two cells farther inside says what texture alone would give.

    Args:
        edges: (H, 2, G, G) of `ImageEdges.at_cells`.
        visible: (H, G, G) bool silhouettes.

    Returns:
        Means (H,) along the outline, and along the line inside of it; 0 where there is none.
    """
    height = smoothed(smoothed(visible.float(), 2), 1)
    across, along = torch.zeros_like(height), torch.zeros_like(height)
    torch.sub(height[:, :, 2:], height[:, :, :-2], out=across[:, :, 1:-1])
    torch.sub(height[:, 2:], height[:, :-2], out=along[:, 1:-1])
    # cos 2b and sin 2b, times the square of the slope
    cosine, sine = across.square() - along.square(), 2 * across * along
    slope = (across.square() + along.square()).clamp(min=1e-6)
    around, cells = torch.nn.functional.pad(edges, (1, 1, 1, 1)), visible.shape[1]
    best, one = torch.zeros_like(height), torch.empty_like(height)
    for down in range(3):
        for right in range(3):
            part = around[:, :, down : down + cells, right : right + cells]
            torch.mul(part[:, 0], cosine, out=one)
            torch.maximum(best, one.addcmul_(part[:, 1], sine), out=best)
    best = best / slope
    once = eroded(visible)
    thrice = eroded(eroded(once))
    outline, inner = visible & ~once, thrice & ~eroded(thrice)
    return mean_over(best, outline), mean_over(best, inner)
