"""Proposals that are too small to be recognised: how they are dropped, and the warning where nothing else was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.boxes import box_area
from ism_ros.data.frame import Frame
from ism_ros.data.masks import large_enough, mask_areas
from ism_ros.data.proposals import Proposals
from ism_ros.segmentors.base import SAM6D_MIN_MASK

MIN_SIZE_RATIO, MAX_SIZE_RATIO = 0.3, 1.5
"""Ratios of a box's diagonal to an object's diameter between which the box may show the object: seen from its end,
occluded in part, or with a mask that is too wide."""


@dataclass(frozen=True)
class SmallProposals:
    """What is kept of K proposals that were too small.

    Attributes:
        boxes_xyxy: (K, 4) int64, inclusive pixels.
        areas: (K,) int64, pixels of their masks.
    """

    boxes_xyxy: Tensor
    areas: Tensor

    def __len__(self) -> int:
        """Return K, how many there are."""
        return len(self.areas)


def split_small(proposals: Proposals, min_mask_pixels: int) -> tuple[Proposals, SmallProposals]:
    """Split off the proposals that are too small to be recognised.

    Args:
        proposals: Of one frame.
        min_mask_pixels: Least pixels of a mask; SAM6D_MIN_MASK = least fractions of the image, as SAM-6D has them. What
            is but one pixel high or wide, so that it has no crop, is too small in any case.

    Returns:
        Those that are large enough; and boxes and areas of the others.
    """
    areas = mask_areas(proposals.masks)
    if min_mask_pixels == SAM6D_MIN_MASK:
        kept = large_enough(proposals.masks, proposals.boxes_xyxy, areas=areas)
    else:
        kept = (areas >= min_mask_pixels) & (box_area(proposals.boxes_xyxy) > 0)
    return proposals[kept], SmallProposals(proposals.boxes_xyxy[~kept], areas[~kept])


def too_small_warning(
    small: SmallProposals, frame: Frame, diameters_m: Sequence[float | None], min_mask_pixels: int
) -> InputWarning | None:
    """Warn of dropped proposals that may have shown an object.

    Args:
        small: Proposals of `frame` that were dropped.
        frame: The frame; its depth gives their sizes in metres. Without depth each of them may be an object.
        diameters_m: Diameters of the objects that were searched for, metres; None where one is not known.
        min_mask_pixels: Threshold by which they were dropped.

    Returns:
        A warning with their number and the largest area; None where none of them is of the size of an object.
    """
    may_be = torch.from_numpy(_of_their_size(small.boxes_xyxy.cpu().numpy(), frame, diameters_m))
    count = int(may_be.sum())
    if not count:
        return None
    largest = int(small.areas.cpu()[may_be].max())
    of_a_size = " of the size of the objects" if frame.has_depth else ""
    are, have = (f"region{of_a_size} is", "with") if count == 1 else (f"regions{of_a_size} are", "the largest with")
    least = (
        "SAM-6D's shares of the image (0.03 % of its pixels, 5 % of its side)"
        if min_mask_pixels == SAM6D_MIN_MASK
        else f"{min_mask_pixels} pixels"
    )
    return InputWarning(
        "too_small",
        f"nothing was found, but {count} {are} left out as too small, {have} {largest} pixels, less than {least}: "
        "lower min_mask_pixels, go nearer, or take pictures of a higher resolution",
    )


def _of_their_size(boxes_xyxy: np.ndarray, frame: Frame, diameters_m: Sequence[float | None]) -> np.ndarray:
    """Which boxes (K, 4) may be of one of the objects by their size in metres, (K,) bool."""
    everything = np.ones(len(boxes_xyxy), bool)
    if not frame.has_depth or any(diameter is None for diameter in diameters_m):
        return everything
    for row, box in enumerate(boxes_xyxy.tolist()):
        size_m = frame.observed_size_m(box)
        everything[row] = np.isnan(size_m) or any(
            MIN_SIZE_RATIO * diameter <= size_m <= MAX_SIZE_RATIO * diameter
            for diameter in diameters_m
            if diameter is not None
        )
    return everything
