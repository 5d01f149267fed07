"""From the raw outputs of a YOLOv8-seg network with one class to boxes and masks, all masks at once.

Such a network gives, for every place of a grid, a box, a confidence and coefficients; and, for the whole image, as
many prototype images at a quarter of its input's size. A mask is the sum of the prototypes, each times its
coefficient, through a sigmoid, inside the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.data.nms import nms
from ism_ros.segmentors.fastsam.letterbox import Letterbox
from ism_ros.segmentors.upsampling import enlarge_to_masks

BOX_NUMBERS = 4
MASK_THRESHOLD = 0.5


@dataclass(frozen=True)
class RawOutputs:
    """What the network says about one image, in pixels of its input.

    head: (4 + 1 + C, A) float32, of each of A places the box (x centre, y centre, width, height), the confidence in
    [0, 1] and C coefficients. prototypes: (C, h, w) float32.
    """

    head: Tensor
    prototypes: Tensor


@dataclass(frozen=True)
class Candidates:
    """Boxes that remain, best first, in pixels of the network's input: boxes_xyxy (N, 4), confidence (N,),
    coefficients (N, C), all float32.
    """

    boxes_xyxy: Tensor
    confidence: Tensor
    coefficients: Tensor

    def __len__(self) -> int:
        return len(self.confidence)


def find_candidates(head: Tensor, confidence_threshold: float, nms_threshold: float, max_candidates: int) -> Candidates:
    """The best boxes of RawOutputs.head (4 + 1 + C, A) above `confidence_threshold`, without near duplicates."""
    rows = head[:, head[BOX_NUMBERS] > confidence_threshold].T
    centre, half = rows[:, :2], rows[:, 2:BOX_NUMBERS] / 2
    boxes = torch.cat([centre - half, centre + half], dim=1)
    kept = nms(boxes, rows[:, BOX_NUMBERS], nms_threshold, max_kept=max_candidates)
    return Candidates(boxes[kept], rows[kept, BOX_NUMBERS], rows[kept, BOX_NUMBERS + 1 :])


def assemble_masks(candidates: Candidates, prototypes: Tensor, letterbox: Letterbox) -> Tensor:
    """Masks of the candidates at the frame's size, (N, H, W) bool on the prototypes' device.

    prototypes: (C, h, w) float32. As in the reference, a mask is cut to its box at the prototypes' size, so that its
    outline can leave the box by less than one prototype pixel, and then enlarged (bilinear) and compared with 0.5.
    Where the network sees the frame at its own size, the masks are the reference's. Elsewhere they are enlarged to
    the frame at once and without the input's padding; the reference compares with 0.5 at the input's size, and then
    stretches the mask, padding and all, to the frame.
    """
    small = (candidates.coefficients @ prototypes.flatten(1)).sigmoid_().view(-1, *prototypes.shape[1:])
    height, width = prototypes.shape[1:]
    rows, columns = _inside_boxes(candidates.boxes_xyxy, (height, width), letterbox.input_size)
    small *= rows[:, :, None]
    small *= columns[:, None, :]
    return enlarge_to_masks(small, *letterbox.positions_in((height, width), small.device), MASK_THRESHOLD)


def _inside_boxes(boxes_xyxy: Tensor, size: tuple[int, int], input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which rows (N, h) and columns (N, w) of the prototypes, of `size`, lie in each box in pixels of the input."""
    (height, width), (input_height, input_width) = size, input_size
    column = torch.arange(width, device=boxes_xyxy.device)
    row = torch.arange(height, device=boxes_xyxy.device)
    left, right = (boxes_xyxy[:, side, None] * (width / input_width) for side in (0, 2))
    top, bottom = (boxes_xyxy[:, side, None] * (height / input_height) for side in (1, 3))
    return (row >= top) & (row < bottom), (column >= left) & (column < right)
