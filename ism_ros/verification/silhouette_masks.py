"""Masks of verified poses: their visible silhouettes, at the size of the image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.verification.evidence.terms import Evidence

SMOOTHING = 0.8
"""Standard deviation over which borders are smoothed, cells: each cell is decided alone, by one noisy reading."""


def silhouette_masks(evidence: Evidence, rows: Tensor, size: tuple[int, int] | torch.Size, step: int = 1) -> Tensor:
    """Enlarge visible silhouettes to the image, with smooth borders.

    Args:
        evidence: Of H poses.
        rows: (K,) int64, which of them.
        size: Height and width of the image, pixels.
        step: Only every `step`th row and column of the masks is made.

    Returns:
        (K, height, width) bool, on the device of the evidence; of each [::step, ::step].
    """
    visible = evidence.visible[rows].cpu().numpy().astype(np.float32)
    origin, cell_px = evidence.origin[rows].cpu().numpy(), evidence.cell_px[rows].cpu().numpy()
    height, width = -(-int(size[0]) // step), -(-int(size[1]) // step)
    masks = np.zeros((len(rows), height, width), bool)
    for row, (x, y) in enumerate(origin):
        masks[row] = silhouette_mask(visible[row], float(x), float(y), float(cell_px[row]), (height, width), step)
    return torch.from_numpy(masks).to(evidence.visible.device)


def silhouette_mask(
    visible: NDArray[np.float32], x: float, y: float, cell_px: float, size: tuple[int, int], step: int = 1
) -> NDArray[np.bool_]:
    """Enlarge one visible silhouette to an image, with a smooth border.

    Args:
        visible: (G, G), 1 in the cells of the silhouette, else 0.
        x: Column of the window's corner in the image, pixels.
        y: Its row.
        cell_px: Side of a cell, pixels.
        size: Height and width of the mask.
        step: Pixels of the image from one pixel of the mask to the next.

    Returns:
        (height, width).
    """
    # a cell's value stands at its centre
    to_image = np.array([[cell_px, 0, x + cell_px / 2], [0, cell_px, y + cell_px / 2]], np.float32) / np.float32(step)
    smooth = cv2.GaussianBlur(visible, (0, 0), SMOOTHING)
    return np.asarray(cv2.warpAffine(smooth, to_image, (size[1], size[0]), flags=cv2.INTER_LINEAR) > 0.5)
