"""Crops of an image and grids of point prompts, as segment-anything's automatic masks define them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Size = tuple[int, int]
"""Height and width, pixels."""

EDGE_PX = 20
"""A box so close to the border of a crop is of something that is cut off there."""


class Crop(NamedTuple):
    """A part of the image: first and past-the-last column and row, and in which layer it is."""

    x_first: int
    y_first: int
    x_end: int
    y_end: int
    layer: int

    @property
    def size(self) -> Size:
        return self.y_end - self.y_first, self.x_end - self.x_first


def resize_to_width(image_rgb: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The image (H, W, 3) at another width and the height that goes with it."""
    height = max(1, int(width * image_rgb.shape[0] / image_rgb.shape[1]))
    if image_rgb.shape[:2] == (height, width):
        return image_rgb
    return np.asarray(cv2.resize(image_rgb, (width, height)), dtype=np.uint8)


def point_grid(per_side: int, size: Size) -> Tensor:
    """Points (per_side ** 2, 2) in the middle of as many equal cells of an image, x then y, pixels."""
    line = (torch.arange(per_side, dtype=torch.float64) + 0.5) / per_side
    y, x = torch.meshgrid(line * size[0], line * size[1], indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1).float()


def generate_crop_boxes(size: Size, layers: int, overlap_share: float) -> Iterator[Crop]:
    """The whole image and, in layer i, 2^i x 2^i crops that overlap."""
    height, width = size
    yield Crop(0, 0, width, height, 0)
    for layer in range(1, layers + 1):
        a_side = 2**layer
        overlap = int(overlap_share * min(height, width) * (2 / a_side))
        crop_height, crop_width = (-(-(overlap * (a_side - 1) + length) // a_side) for length in size)
        for x in range(0, a_side * (crop_width - overlap), crop_width - overlap):
            for y in range(0, a_side * (crop_height - overlap), crop_height - overlap):
                yield Crop(x, y, min(x + crop_width, width), min(y + crop_height, height), layer)


def is_box_near_crop_edge(boxes_xyxy: Tensor, crop: Crop, size: Size) -> Tensor:
    """Which boxes (N, 4) in a crop end at its border where that is not the border of the image (of `size`), (N,)."""
    origin = boxes_xyxy.new_tensor([crop.x_first, crop.y_first] * 2)
    near_crop = ((boxes_xyxy + origin) - boxes_xyxy.new_tensor(crop[:4])).abs() <= EDGE_PX
    near_image = ((boxes_xyxy + origin) - boxes_xyxy.new_tensor([0, 0, size[1], size[0]])).abs() <= EDGE_PX
    return (near_crop & ~near_image).any(dim=1)
