"""Pictures of masks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals


def draw_masks(frame: Frame, masks: NDArray[np.bool_], ious: NDArray[np.float64] | None = None) -> NDArray[np.uint8]:
    """Draw masks filled and outlined, each in its own color.

    Args:
        frame: The frame.
        masks: (N, H, W) bool.
        ious: (N,) numbers to write on them.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = frame.rgb.copy()
    for k, mask in enumerate(masks):
        color = tuple(int(c) for c in cv2.cvtColor(np.uint8([[[k * 47 % 180, 220, 255]]]), cv2.COLOR_HSV2RGB)[0, 0])
        picture[mask] = (0.55 * picture[mask] + 0.45 * np.array(color)).astype(np.uint8)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(picture, contours, -1, color, 1, cv2.LINE_AA)
        if ious is not None and mask.any():
            v, u = (int(np.median(axis)) for axis in np.nonzero(mask))
            cv2.putText(picture, f"{ious[k]:.2f}", (u - 14, v), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return picture


def draw_disjoint_proposals(frame: Frame, proposals: Proposals, min_confidence: float = 0.3) -> NDArray[np.uint8]:
    """Draw the most confident proposals of which no two overlap much, and the number of all.

    Args:
        frame: The frame.
        proposals: Its proposals, most confident first.
        min_confidence: Least confidence of those that are drawn.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    taken = np.zeros(frame.rgb.shape[:2], bool)
    shown = []
    for mask, confidence in zip(proposals.masks.cpu().numpy(), proposals.confidence.tolist(), strict=True):
        if (mask & taken).sum() <= 0.2 * mask.sum() and confidence > min_confidence:
            taken |= mask
            shown.append(mask)
    picture = draw_masks(frame, np.array(shown).reshape(-1, *taken.shape))
    cv2.putText(picture, f"{len(shown)} of {len(proposals)}", (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 0), 2)
    return picture
