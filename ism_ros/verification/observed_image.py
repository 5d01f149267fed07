"""The color image that poses are compared with, and what is computed of it once a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.verification.color_agreement import light_of_image
from ism_ros.verification.image_edges import ImageEdges, image_edges


@dataclass(frozen=True)
class ObservedImage:
    """A color image, its edges and its light.

    Attributes:
        rgb: (H, W, 3) uint8.
        edges: Its edges; None where they do not count.
        light: (3,) shares of red, green and blue in the color of the light.
    """

    rgb: Tensor
    edges: ImageEdges | None
    light: Tensor

    @staticmethod
    def of(rgb: NDArray[np.uint8], device: torch.device) -> ObservedImage:
        """Observe an image.

        Args:
            rgb: (H, W, 3) uint8.
            device: Where poses are compared with it.

        Returns:
            The observation.
        """
        pixels = torch.from_numpy(rgb).to(device)
        return ObservedImage(pixels, image_edges(rgb, device), light_of_image(pixels))
