"""Class-agnostic proposals of one image: what a segmentor gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ism_ros.data.boxes import boxes_from_masks


@dataclass(frozen=True)
class Proposals:
    """Class-agnostic masks of one image.

    masks: (N, H, W) bool on the segmentor's device. confidence: (N,) float32 in [0, 1]. boxes_xyxy: (N, 4) int64,
    the first and last pixel column and row of each mask, both inclusive (as the reference computes them); made
    from the masks when left out. boxes_are_tight: whether they are, or are what the segmentor itself gives as boxes.
    """

    masks: Tensor
    confidence: Tensor
    boxes_xyxy: Tensor = field(default=None)  # type: ignore[assignment]
    boxes_are_tight: bool = True

    def __post_init__(self) -> None:
        if self.boxes_xyxy is None:
            object.__setattr__(self, "boxes_xyxy", boxes_from_masks(self.masks))

    def __len__(self) -> int:
        return int(self.masks.shape[0])

    def __getitem__(self, index: Tensor) -> Proposals:
        """The rows at `index` (bool mask or integer tensor); masks are large, so nothing is copied for all of them."""
        if index.dtype == torch.bool and bool(index.all()):
            return self
        return Proposals(self.masks[index], self.confidence[index], self.boxes_xyxy[index], self.boxes_are_tight)

    @staticmethod
    def empty(height: int, width: int, device: torch.device | str = "cpu") -> Proposals:
        return Proposals(
            torch.zeros((0, height, width), dtype=torch.bool, device=device),
            torch.zeros((0,), device=device),
        )
