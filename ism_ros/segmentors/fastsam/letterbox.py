"""How a frame is put into the input of a YOLO network: scaled with its sides' ratio kept, centred, padded with grey."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STRIDE = 32
"""The network halves its input five times, so the sides of its input are multiples of this."""
GREY = (114, 114, 114)
"""What YOLO networks are trained to see as outside the image."""


@dataclass(frozen=True)
class Letterbox:
    """Where a frame lies in the network's input.

    All sizes are (height, width) in pixels. frame_size: of the frame. content_size: of the frame as scaled for the
    network. input_size: of the network's input. top, left: first row and column of the content in the input. scale:
    input pixels per frame pixel.
    """

    frame_size: tuple[int, int]
    content_size: tuple[int, int]
    input_size: tuple[int, int]
    top: int
    left: int
    scale: float

    def put(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame's image (H, W, 3) uint8 as the network's input, (height, width, 3) uint8."""
        height, width = self.content_size
        if image.shape[:2] != self.content_size:
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        padded = np.empty((*self.input_size, 3), dtype=np.uint8)
        padded[:] = GREY
        padded[self.top : self.top + height, self.left : self.left + width] = image
        return padded

    def boxes_in_frame(self, boxes_xyxy: Tensor) -> Tensor:
        """Boxes (N, 4) float from pixels of the input to those of the frame, cut off at its edges."""
        height, width = self.frame_size
        corner = torch.tensor([self.left, self.top, self.left, self.top], device=boxes_xyxy.device)
        edge = torch.tensor([width, height, width, height], device=boxes_xyxy.device)
        return torch.minimum(((boxes_xyxy - corner) / self.scale).clamp(min=0), edge)

    def positions_in(self, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Where the frame's rows (H,) and columns (W,) are in an image of the whole input scaled to `size` (height,
        width): float64, 0 = the centre of its first row or column.
        """
        rows = _positions(self.frame_size[0], self.content_size[0], self.top, size[0] / self.input_size[0], device)
        columns = _positions(self.frame_size[1], self.content_size[1], self.left, size[1] / self.input_size[1], device)
        return rows, columns


def letterbox_into(frame_size: tuple[int, int], input_size: tuple[int, int]) -> Letterbox:
    """A frame of `frame_size`, as large as fits, in an input of exactly `input_size`, both (height, width)."""
    scale, content_size = _fit(frame_size, input_size)
    return _centred(frame_size, content_size, input_size, scale)


def letterbox_around(frame_size: tuple[int, int], longest_side: int) -> Letterbox:
    """A frame of `frame_size` (height, width) scaled to `longest_side`, in the smallest input that a network takes."""
    scale, content_size = _fit(frame_size, (longest_side, longest_side))
    height, width = (-(-side // STRIDE) * STRIDE for side in content_size)
    return _centred(frame_size, content_size, (height, width), scale)


def _fit(frame_size: tuple[int, int], size: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """Scale and whole pixels of the largest copy of the frame inside `size`."""
    scale = min(size[0] / frame_size[0], size[1] / frame_size[1])
    return scale, (max(1, round(frame_size[0] * scale)), max(1, round(frame_size[1] * scale)))


def _centred(
    frame_size: tuple[int, int], content_size: tuple[int, int], input_size: tuple[int, int], scale: float
) -> Letterbox:
    """Where one row or column of padding is left over, it comes after the content."""
    top = (input_size[0] - content_size[0]) // 2
    left = (input_size[1] - content_size[1]) // 2
    return Letterbox(frame_size, content_size, input_size, top, left, scale)


def _positions(frame_length: int, content_length: int, offset: int, scale: float, device: torch.device) -> Tensor:
    centre = torch.arange(frame_length, dtype=torch.float64, device=device) + 0.5
    return (centre * (content_length / frame_length) + offset) * scale - 0.5
