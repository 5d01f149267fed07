"""What automatic masks need of a model: masks for point and box prompts, and how its small logits are upscaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.segmentors.sam.image_crops import Crop, Size
from ism_ros.segmentors.sam.resized_masks import AxisResize


class Prompts(NamedTuple):
    """Prompts of one crop, each of which is a mask of its own.

    Attributes:
        points_xy: (N, 2) float32, pixels of the crop.
        boxes_xyxy: (M, 4) float32, first and last column and row, pixels of the crop.
    """

    points_xy: Tensor
    boxes_xyxy: Tensor


CropPrompts = Callable[[Crop, Size], Prompts]
"""Makes the prompts of a crop of an image of the given height and width."""


class Promptable(Protocol):
    """A model that predicts masks for points and, where it is to be guided, for boxes."""

    @property
    def device(self) -> torch.device:
        """Device of its results."""
        ...

    def embed(self, image_rgb: NDArray[np.uint8]) -> Any:
        """Compute the image embedding that `predict` takes, from an image (H, W, 3) uint8."""
        ...

    def predict(self, embedding: Any, points_xy: Tensor) -> tuple[Tensor, Tensor]:
        """Predict masks for single points.

        Args:
            embedding: Of the image.
            points_xy: (N, 2) float32, pixels of the image.

        Returns:
            Low-resolution logits (N, M, h, w), and predicted IoU (N, M), of M masks a point.
        """
        ...

    def predict_boxes(self, embedding: Any, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
        """Predict masks for boxes.

        Args:
            embedding: Of the image.
            boxes_xyxy: (N, 4) float32, first and last column and row, pixels of the image.

        Returns:
            As `predict`, of M masks a box.
        """
        ...

    def upscale(self, logits: Tensor, size: Size) -> Tensor:
        """Upscale low-resolution logits (N, h, w) to the image's `size`, without their padding: (N, H, W)."""
        ...

    def axes(self, size: Size) -> tuple[AxisResize, AxisResize]:
        """Return `upscale` along the rows and along the columns of low-resolution logits, as matrices."""
        ...

    def extent(self, size: Size) -> tuple[float, float]:
        """Return how many rows and columns of low-resolution logits show an image of `size`; the rest is padding."""
        ...
