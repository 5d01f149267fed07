"""Letterboxing, as of YOLO: a frame is scaled with its aspect ratio kept, centred in the input, padded with gray."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STRIDE = 32
"""Divisor of the sides of the network's input, which it halves five times, pixels."""
GRAY = (114, 114, 114)
"""Color of the padding that YOLO networks are trained with."""


@dataclass(frozen=True)
class Letterbox:
    """Placement of a frame in the network's input.

    Attributes:
        frame_size: Height and width of the frame, pixels.
        content_size: Height and width of the scaled frame in the input, pixels.
        input_size: Height and width of the network's input, pixels.
        top: First row of the scaled frame in the input.
        left: First column of it.
        scale: Input pixels per frame pixel.
    """

    frame_size: tuple[int, int]
    content_size: tuple[int, int]
    input_size: tuple[int, int]
    top: int
    left: int
    scale: float

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale and pad an image of the frame's size.

        Args:
            image: (H, W, 3) uint8.

        Returns:
            The network's input, (input height, input width, 3) uint8.
        """
        height, width = self.content_size
        if image.shape[:2] != self.content_size:
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        padded = np.empty((*self.input_size, 3), dtype=np.uint8)
        padded[:] = GRAY
        padded[self.top : self.top + height, self.left : self.left + width] = image
        return padded

    def boxes_in_frame(self, boxes_xyxy: Tensor) -> Tensor:
        """Transform boxes from the input to the frame.

        Args:
            boxes_xyxy: (N, 4) float, pixels of the input.

        Returns:
            (N, 4) float, pixels of the frame, clamped to it.
        """
        height, width = self.frame_size
        corner = torch.tensor([self.left, self.top, self.left, self.top], device=boxes_xyxy.device)
        edge = torch.tensor([width, height, width, height], device=boxes_xyxy.device)
        return torch.minimum(((boxes_xyxy - corner) / self.scale).clamp(min=0), edge)

    def positions_in(self, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Locate the frame's rows and columns in a scaled copy of the input.

        Args:
            size: Height and width of that copy, pixels.
            device: Of the result.

        Returns:
            Positions of rows (H,) and of columns (W,), float64; 0 = the centre of the copy's first row or column.
        """
        rows = _positions(self.frame_size[0], self.content_size[0], self.top, size[0] / self.input_size[0], device)
        columns = _positions(self.frame_size[1], self.content_size[1], self.left, size[1] / self.input_size[1], device)
        return rows, columns


def letterbox_into(frame_size: tuple[int, int], input_size: tuple[int, int]) -> Letterbox:
    """Place a frame in an input of fixed size, as large as it allows.

    Args:
        frame_size: Height and width of the frame, pixels.
        input_size: Height and width of the input, pixels.

    Returns:
        The placement.
    """
    scale, content_size = _scaled_inside(frame_size, input_size)
    return _centred(frame_size, content_size, input_size, scale)


def letterbox_around(frame_size: tuple[int, int], longest_side: int) -> Letterbox:
    """Place a frame, scaled to a longest side, in the smallest input that the network takes.

    Args:
        frame_size: Height and width of the frame, pixels.
        longest_side: Longer side of the scaled frame, pixels.

    Returns:
        The placement.
    """
    scale, content_size = _scaled_inside(frame_size, (longest_side, longest_side))
    height, width = (-(-side // STRIDE) * STRIDE for side in content_size)
    return _centred(frame_size, content_size, (height, width), scale)


def _scaled_inside(frame_size: tuple[int, int], size: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """Compute the scale and the whole pixels of the largest copy of the frame inside `size`."""
    scale = min(size[0] / frame_size[0], size[1] / frame_size[1])
    return scale, (max(1, round(frame_size[0] * scale)), max(1, round(frame_size[1] * scale)))


def _centred(
    frame_size: tuple[int, int], content_size: tuple[int, int], input_size: tuple[int, int], scale: float
) -> Letterbox:
    """Centre the content; an odd row or column of padding comes after it."""
    top = (input_size[0] - content_size[0]) // 2
    left = (input_size[1] - content_size[1]) // 2
    return Letterbox(frame_size, content_size, input_size, top, left, scale)


def _positions(frame_length: int, content_length: int, offset: int, scale: float, device: torch.device) -> Tensor:
    centre = torch.arange(frame_length, dtype=torch.float64, device=device) + 0.5
    return (centre * (content_length / frame_length) + offset) * scale - 0.5
