"""Decoding of a YOLOv8-seg network with one class: from its raw outputs to boxes and masks, all masks at once.

Such a network gives, for every anchor point of a grid, a box, a confidence and coefficients; and, for the whole image,
as many prototype masks at a quarter of its input's size. A mask is the sum of the prototypes, each times its
coefficient, through a sigmoid, inside the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.data.nms import nms
from ism_ros.segmentors.fastsam.letterbox import Letterbox
from ism_ros.segmentors.upsampling import upsample_to_masks

BOX_NUMBERS = 4
"""Rows of the head that hold the box: x centre, y centre, width, height."""
MASK_THRESHOLD = 0.5
"""Probability above which a pixel is inside a mask."""


@dataclass(frozen=True)
class RawOutputs:
    """Raw outputs of the network for one image, in pixels of its input.

    Attributes:
        head: (4 + 1 + C, A) float32, for each of A anchor points the box (x centre, y centre, width, height), the
            confidence in [0, 1] and C mask coefficients.
        prototypes: (C, h, w) float32 prototype masks.
    """

    head: Tensor
    prototypes: Tensor


@dataclass(frozen=True)
class Candidates:
    """Boxes that remain after suppression, best first.

    Attributes:
        boxes_xyxy: (N, 4) float32, pixels of the network's input.
        confidence: (N,) float32 in [0, 1].
        coefficients: (N, C) float32 mask coefficients.
    """

    boxes_xyxy: Tensor
    confidence: Tensor
    coefficients: Tensor

    def __len__(self) -> int:
        """Return N, how many there are."""
        return len(self.confidence)


def find_candidates(head: Tensor, confidence_threshold: float, nms_threshold: float, max_candidates: int) -> Candidates:
    """Keep the best boxes without near duplicates (non-maximum suppression).

    Args:
        head: (4 + 1 + C, A), as of RawOutputs.
        confidence_threshold: Boxes above it are kept.
        nms_threshold: Of two boxes whose IoU is above it, the less confident is dropped.
        max_candidates: Most boxes.

    Returns:
        The candidates, best first.
    """
    rows = head[:, head[BOX_NUMBERS] > confidence_threshold].T
    centre, half = rows[:, :2], rows[:, 2:BOX_NUMBERS] / 2
    boxes = torch.cat([centre - half, centre + half], dim=1)
    kept = nms(boxes, rows[:, BOX_NUMBERS], nms_threshold, max_kept=max_candidates)
    return Candidates(boxes[kept], rows[kept, BOX_NUMBERS], rows[kept, BOX_NUMBERS + 1 :])


def assemble_masks(candidates: Candidates, prototypes: Tensor, letterbox: Letterbox) -> Tensor:
    """Assemble the masks of candidates: sigmoid of the weighted sum of the prototypes, inside the box.

    As in the reference, a mask is cropped to its box at the prototypes' size, so that its contour can leave the box by
    less than one prototype pixel, and then upsampled (bilinear) and compared with 0.5. Where the network gets the frame
    at its own size, the masks are the reference's. Elsewhere they are upsampled to the frame in one step and without
    the input's padding; the reference compares with 0.5 at the input's size, and then stretches the mask, padding
    included, to the frame.

    Args:
        candidates: N boxes with their coefficients.
        prototypes: (C, h, w) float32.
        letterbox: Placement of the frame in the network's input.

    Returns:
        (N, H, W) bool at the frame's size, on the prototypes' device.
    """
    small = (candidates.coefficients @ prototypes.flatten(1)).sigmoid_().view(-1, *prototypes.shape[1:])
    height, width = prototypes.shape[1:]
    rows, columns = _inside_boxes(candidates.boxes_xyxy, (height, width), letterbox.input_size)
    small *= rows[:, :, None]
    small *= columns[:, None, :]
    return upsample_to_masks(small, *letterbox.positions_in((height, width), small.device), MASK_THRESHOLD)


def _inside_boxes(boxes_xyxy: Tensor, size: tuple[int, int], input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Find which rows (N, h) and columns (N, w) of prototypes of `size` lie in each box, in pixels of the input."""
    (height, width), (input_height, input_width) = size, input_size
    column = torch.arange(width, device=boxes_xyxy.device)
    row = torch.arange(height, device=boxes_xyxy.device)
    left, right = (boxes_xyxy[:, side, None] * (width / input_width) for side in (0, 2))
    top, bottom = (boxes_xyxy[:, side, None] * (height / input_height) for side in (1, 3))
    return (row >= top) & (row < bottom), (column >= left) & (column < right)
