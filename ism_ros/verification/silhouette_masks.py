"""Masks of verified poses: their visible silhouettes, at the size of the image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
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
        side = float(cell_px[row])
        # a cell's value stands at its centre
        to_image = np.array([[side, 0, x + side / 2], [0, side, y + side / 2]], np.float32) / np.float32(step)
        smooth = cv2.GaussianBlur(visible[row], (0, 0), SMOOTHING)
        masks[row] = cv2.warpAffine(smooth, to_image, (width, height), flags=cv2.INTER_LINEAR) > 0.5
    return torch.from_numpy(masks).to(evidence.visible.device)
