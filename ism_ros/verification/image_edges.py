"""Edges of the color image, for the outlines of poses: a right silhouette ends where the image has an edge.

An edge has the strength e = g / (g + 2 m + 4), with g the largest gradient of the channels and m its mean nearby, so
that strong texture and low contrast count alike, and the direction a of its gradient. Kept as e cos 2a and e sin 2a,
whose product with a normal's (cos 2b, sin 2b) is e cos 2(a - b): which side is the brighter one does not matter.

H, W rows and columns of the image, L levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.masks import mask_areas
from ism_ros.verification.window_cells import eroded, smoothed

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
        rgb: (H, W, 3) uint8, at least two rows and columns.
        device: Where they are used.

    Returns:
        The edges.
    """
    half = cv2.resize(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(half, (5, 5), 1.0)
    across, along = (cv2.Sobel(smooth, cv2.CV_16S, *axis) for axis in ((1, 0), (0, 1)))
    strongest = (np.abs(across) + np.abs(along)).argmax(axis=2)[..., None]
    across, along = (np.take_along_axis(part, strongest, 2)[..., 0].astype(np.float32) for part in (across, along))
    gradient, angle = cv2.cartToPolar(across, along)
    nearby = cv2.blur(gradient, (NEARBY_PX, NEARBY_PX))
    strength = gradient / (gradient + MEAN_WEIGHT * nearby + MIN_GRADIENT)
    double = np.stack([np.cos(2 * angle), np.sin(2 * angle)], axis=2)
    level: NDArray[np.float32] = (strength[..., None] * double).astype(np.float32)
    levels = [level]
    for _ in range(1, LEVELS):
        if min(level.shape[:2]) < 2:
            break
        level = _strongest_of_four(level)
        levels.append(level)
    sizes = torch.tensor([part.shape[:2] for part in levels], device=device)
    first = torch.cat([sizes.new_zeros(1), sizes.prod(dim=1).cumsum(0)[:-1]])
    flat = np.concatenate([part.reshape(-1, 2) for part in levels])
    return ImageEdges(torch.from_numpy(flat).to(device), first, sizes[:, 0], sizes[:, 1])


def _strongest_of_four(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """The strongest edge of each square of four pixels."""
    rows, columns = (size // 2 for size in level.shape[:2])
    squares = level[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 2).transpose(0, 2, 1, 3, 4)
    squares = squares.reshape(rows, columns, 4, 2)
    strongest = np.square(squares).sum(axis=3).argmax(axis=2)
    return np.take_along_axis(squares, strongest[..., None, None], 2)[:, :, 0]


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
    along_outline, along_inner = (
        (best * line).flatten(1).sum(dim=1) / mask_areas(line).clamp(min=1) for line in (outline, inner)
    )
    return along_outline, along_inner
