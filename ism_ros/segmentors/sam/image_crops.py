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
"""Distance to the border of a crop within which a box counts as truncated there, pixels."""


class Crop(NamedTuple):
    """A rectangular crop of the image.

    Attributes:
        x_first: First column.
        y_first: First row.
        x_end: Column past the last.
        y_end: Row past the last.
        layer: Layer of crops that it belongs to; 0 = the whole image.
    """

    x_first: int
    y_first: int
    x_end: int
    y_end: int
    layer: int

    @property
    def size(self) -> Size:
        """Height and width, pixels."""
        return self.y_end - self.y_first, self.x_end - self.x_first


def resize_to_width(image_rgb: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Resize an image to a width, with its aspect ratio kept.

    Args:
        image_rgb: (H, W, 3) uint8.
        width: Pixels.

    Returns:
        (height, width, 3) uint8; the image itself where it has that size.
    """
    height = max(1, int(width * image_rgb.shape[0] / image_rgb.shape[1]))
    if image_rgb.shape[:2] == (height, width):
        return image_rgb
    return np.asarray(cv2.resize(image_rgb, (width, height)), dtype=np.uint8)


def point_grid(per_side: int, size: Size) -> Tensor:
    """Place points at the centres of a grid of equal cells.

    Args:
        per_side: Cells along each side.
        size: Height and width of the image, pixels.

    Returns:
        (per_side ** 2, 2) float32 points, x and y, pixels.
    """
    line = (torch.arange(per_side, dtype=torch.float64) + 0.5) / per_side
    y, x = torch.meshgrid(line * size[0], line * size[1], indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1).float()


def generate_crop_boxes(size: Size, layers: int, overlap_ratio: float) -> Iterator[Crop]:
    """Generate the whole image and, in layer i, 2^i x 2^i overlapping crops.

    Args:
        size: Height and width of the image, pixels.
        layers: Layers besides the whole image.
        overlap_ratio: Overlap of neighbouring crops in layer 1, as a ratio of the shorter side; half of it in each
            further layer.

    Yields:
        The crops.
    """
    height, width = size
    yield Crop(0, 0, width, height, 0)
    for layer in range(1, layers + 1):
        a_side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / a_side))
        crop_height, crop_width = (-(-(overlap * (a_side - 1) + length) // a_side) for length in size)
        for x in range(0, a_side * (crop_width - overlap), crop_width - overlap):
            for y in range(0, a_side * (crop_height - overlap), crop_height - overlap):
                yield Crop(x, y, min(x + crop_width, width), min(y + crop_height, height), layer)


def is_box_near_crop_edge(boxes_xyxy: Tensor, crop: Crop, size: Size) -> Tensor:
    """Find which boxes end at the border of their crop where that is not the border of the image.

    Args:
        boxes_xyxy: (N, 4), pixels of the crop.
        crop: The crop.
        size: Height and width of the image, pixels.

    Returns:
        (N,) bool: within EDGE_PX of such a border.
    """
    origin = boxes_xyxy.new_tensor([crop.x_first, crop.y_first] * 2)
    near_crop = ((boxes_xyxy + origin) - boxes_xyxy.new_tensor(crop[:4])).abs() <= EDGE_PX
    near_image = ((boxes_xyxy + origin) - boxes_xyxy.new_tensor([0, 0, size[1], size[0]])).abs() <= EDGE_PX
    return (near_crop & ~near_image).any(dim=1)
