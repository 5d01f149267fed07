"""Answers of a promptable model that are made up: ellipses with noisy outlines, as many objects as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ism_ros.segmentors.sam.automatic_masks import Size, point_grid
from ism_ros.segmentors.sam.resized_masks import AxisResize
from ism_ros.segmentors.sam.sam_segmentor import scaled_to_side, upscaled, upscaling_axes

SIDE, SMALL = 1024, 256
"""SAM's square of input pixels and that of its small logits."""


class MadeUpModel:
    """Stands in for SAM: a point gets the three ellipses around it, at SAM's sizes and with SAM's two-step upscaling.

    Of the masks about a half are rated below SAM-6D's least predicted IoU, and some outlines are too soft to be stable.
    network: a real model that is run as well, and whose answers are thrown away, so that its time and memory count.
    """

    def __init__(
        self, objects: int, size: Size, points_per_side: int, network: Any = None, device: str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        rng = np.random.default_rng(0)
        self._network = network
        scale = SMALL / max(size)
        place = rng.uniform([0, 0], [size[1] * scale, size[0] * scale], (objects, 2))
        radius = rng.uniform(4.0, 24.0, (objects, 2))
        ellipses = _ellipses(place, radius, rng.uniform(0, np.pi, objects), rng.uniform(0.3, 2.0, objects))
        noise = torch.from_numpy(rng.normal(size=(32, 1, 24, 24)).astype(np.float32))
        wobble = interpolate(noise, size=(SMALL, SMALL), mode="bicubic", align_corners=False)[:, 0]
        points = point_grid(points_per_side, size).numpy() * scale
        distance = (((points[:, None] - place[None]) / radius[None]) ** 2).sum(axis=2)
        nearest = torch.from_numpy(distance.argsort(axis=1)[:, :3].copy())
        kind = torch.from_numpy(rng.integers(0, len(wobble), nearest.shape))
        self.logits = (ellipses[nearest] + wobble[kind] * 0.5).to(self.device)
        self.predicted_iou = torch.from_numpy(rng.uniform(0.76, 1.0, nearest.shape).astype(np.float32)).to(self.device)
        self._next = 0

    def embed(self, image_rgb: NDArray[np.uint8]) -> Any:
        self._next = 0
        return None if self._network is None else self._network.embed(image_rgb)

    def predict(self, embedding: Any, points_xy: Tensor) -> tuple[Tensor, Tensor]:
        if self._network is not None:
            self._network.predict(embedding, points_xy)
        rows = slice(self._next, self._next + len(points_xy))
        self._next = rows.stop
        return self.logits[rows], self.predicted_iou[rows]

    def upscale(self, logits: Tensor, size: Size) -> Tensor:
        return upscaled(logits, SIDE, size)

    def axes(self, size: Size) -> tuple[AxisResize, AxisResize]:
        return upscaling_axes(SIDE, SMALL, size)

    def extent(self, size: Size) -> tuple[float, float]:
        height, width = scaled_to_side(size, SIDE)
        return height * SMALL / SIDE, width * SMALL / SIDE


def _ellipses(
    place: NDArray[np.float64], radius: NDArray[np.float64], angle: NDArray[np.float64], softness: NDArray[np.float64]
) -> Tensor:
    """Logits (N, SMALL, SMALL) float32 that are 0 on the outlines."""
    y, x = np.mgrid[0:SMALL, 0:SMALL]
    dx, dy = (axis[None] - place[:, k, None, None] for k, axis in enumerate((x, y)))
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    distance = np.hypot(along / radius[:, 0, None, None], across / radius[:, 1, None, None])
    sharpness = 4.0 * radius.min(axis=1) / softness
    return torch.from_numpy(((1.0 - distance) * sharpness[:, None, None]).astype(np.float32))
