"""Synthetic masks of a promptable model: ellipses with noisy outlines."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ism_ros.segmentors.sam.image_crops import Size, point_grid
from ism_ros.segmentors.sam.resized_masks import AxisResize
from ism_ros.segmentors.sam.sam_segmentor import scaled_to_side, upscale_logits, upscaling_axes

SIDE, SMALL = 1024, 256
"""Sides of SAM's input and of its small logits, pixels."""


class SyntheticMaskModel:
    """Replaces SAM: a point gets the three ellipses around it, at SAM's sizes and with SAM's two-step upscaling.

    About half of the masks have a predicted IoU below the limit of SAM-6D, and some outlines are too soft to be stable.

    Attributes:
        device: Where the logits are.
        logits: (P, 3, 256, 256) float32 logits of each point.
        predicted_iou: (P, 3) float32.
    """

    def __init__(
        self, objects: int, size: Size, points_per_side: int, network: Any = None, device: str = "cpu"
    ) -> None:
        """Make the masks of all points.

        Args:
            objects: How many ellipses.
            size: Height and width of the image.
            points_per_side: Points along each side.
            network: A real model that is run as well, its results discarded, so that its time and memory count.
            device: Where the logits are.
        """
        self.device = torch.device(device)
        rng = np.random.default_rng(0)
        self._network = network
        scale = SMALL / max(size)
        centre = rng.uniform([0, 0], [size[1] * scale, size[0] * scale], (objects, 2))
        radius = rng.uniform(4.0, 24.0, (objects, 2))
        ellipses = _ellipses(centre, radius, rng.uniform(0, np.pi, objects), rng.uniform(0.3, 2.0, objects))
        noise = torch.from_numpy(rng.normal(size=(32, 1, 24, 24)).astype(np.float32))
        roughness = interpolate(noise, size=(SMALL, SMALL), mode="bicubic", align_corners=False)[:, 0]
        points = point_grid(points_per_side, size).numpy() * scale
        distance = (((points[:, None] - centre[None]) / radius[None]) ** 2).sum(axis=2)
        nearest = torch.from_numpy(distance.argsort(axis=1)[:, :3].copy())
        kind = torch.from_numpy(rng.integers(0, len(roughness), nearest.shape))
        self.logits = (ellipses[nearest] + roughness[kind] * 0.5).to(self.device)
        self.predicted_iou = torch.from_numpy(rng.uniform(0.76, 1.0, nearest.shape).astype(np.float32)).to(self.device)
        self._next = 0

    def embed(self, image_rgb: NDArray[np.uint8]) -> Any:
        """Start over with the first point; runs the network's image encoder where there is one.

        Args:
            image_rgb: (H, W, 3) uint8.

        Returns:
            The network's embedding, or None.
        """
        self._next = 0
        return None if self._network is None else self._network.embed(image_rgb)

    def predict(self, embedding: Any, points_xy: Tensor) -> tuple[Tensor, Tensor]:
        """Return the masks of the next points; runs the network where there is one.

        Args:
            embedding: What `embed` returned.
            points_xy: (P, 2) points.

        Returns:
            Logits (P, 3, 256, 256) and predicted IoU (P, 3).
        """
        if self._network is not None:
            self._network.predict(embedding, points_xy)
        rows = slice(self._next, self._next + len(points_xy))
        self._next = rows.stop
        return self.logits[rows], self.predicted_iou[rows]

    def upscale(self, logits: Tensor, size: Size) -> Tensor:
        """Upscale logits as SAM does.

        Args:
            logits: (N, 256, 256).
            size: Height and width of the image.

        Returns:
            (N, H, W).
        """
        return upscale_logits(logits, SIDE, size)

    def axes(self, size: Size) -> tuple[AxisResize, AxisResize]:
        """Compute the resizing of both axes.

        Args:
            size: Height and width of the image.

        Returns:
            That of rows and that of columns.
        """
        return upscaling_axes(SIDE, SMALL, size)

    def extent(self, size: Size) -> tuple[float, float]:
        """Compute which part of the small logits the image covers.

        Args:
            size: Height and width of the image.

        Returns:
            Height and width in pixels of the small logits.
        """
        height, width = scaled_to_side(size, SIDE)
        return height * SMALL / SIDE, width * SMALL / SIDE


def _ellipses(
    centre: NDArray[np.float64], radius: NDArray[np.float64], angle: NDArray[np.float64], softness: NDArray[np.float64]
) -> Tensor:
    """Logits (N, SMALL, SMALL) float32 that are 0 on the outlines."""
    y, x = np.mgrid[0:SMALL, 0:SMALL]
    dx, dy = (axis[None] - centre[:, k, None, None] for k, axis in enumerate((x, y)))
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    distance = np.hypot(along / radius[:, 0, None, None], across / radius[:, 1, None, None])
    sharpness = 4.0 * radius.min(axis=1) / softness
    return torch.from_numpy(((1.0 - distance) * sharpness[:, None, None]).astype(np.float32))
