"""Class-agnostic proposals of one image: what a segmentor returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ism_ros.data.boxes import boxes_from_masks


@dataclass(frozen=True)
class Proposals:
    """Class-agnostic masks of one image; row i of every field belongs to the same proposal.

    Attributes:
        masks: (N, H, W) bool, on the segmentor's device.
        confidence: (N,) float32 in [0, 1].
        boxes_xyxy: (N, 4) int64, first and last column and row, both inclusive; made from the masks when left out.
        boxes_are_tight: True: boxes are the masks' extents. False: they are the detector's own (FastSAM) and may be
            wider or narrower.
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
        """Select rows.

        Args:
            index: (N,) bool or (K,) int64. Masks are large, so that nothing is copied where all rows are selected.

        Returns:
            The proposals of these rows.
        """
        if index.dtype == torch.bool and bool(index.all()):
            return self
        return Proposals(self.masks[index], self.confidence[index], self.boxes_xyxy[index], self.boxes_are_tight)

    @staticmethod
    def empty(height: int, width: int, device: torch.device | str = "cpu") -> Proposals:
        """Make no proposals of an image of `height` x `width` pixels, on `device`."""
        return Proposals(
            torch.zeros((0, height, width), dtype=torch.bool, device=device),
            torch.zeros((0,), device=device),
        )
