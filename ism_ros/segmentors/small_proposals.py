"""Proposals that are too small to be recognised: which are left out, and what is said where nothing else was found."""

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

LEAST_SIZE_SHARE, LARGEST_SIZE_SHARE = 0.3, 1.5
"""A box whose diagonal is between these shares of an object's diameter may show it: from the end, hidden in part, or
with a wide outline."""


@dataclass(frozen=True)
class LeftOut:
    """Proposals that were too small. boxes_xyxy: (K, 4) int64, inclusive. areas: (K,) int64, pixels of their masks."""

    boxes_xyxy: Tensor
    areas: Tensor

    def __len__(self) -> int:
        return len(self.areas)


def without_small(proposals: Proposals, min_mask_pixels: int) -> tuple[Proposals, LeftOut]:
    """Split off the proposals that are too small to be recognised.

    Args:
        proposals: Of one frame.
        min_mask_pixels: Least pixels of a mask; SAM6D_MIN_MASK = least shares of the picture, as SAM-6D has them. What
            is but one pixel high or wide, so that it has no crop, is too small in any case.

    Returns:
        Those that are large enough, and what is left of the others.
    """
    areas = mask_areas(proposals.masks)
    if min_mask_pixels == SAM6D_MIN_MASK:
        kept = large_enough(proposals.masks, proposals.boxes_xyxy, areas=areas)
    else:
        kept = (areas >= min_mask_pixels) & (box_area(proposals.boxes_xyxy) > 0)
    return proposals[kept], LeftOut(proposals.boxes_xyxy[~kept], areas[~kept])


def too_small_warning(
    left_out: LeftOut, frame: Frame, diameters_m: Sequence[float | None], min_mask_pixels: int
) -> InputWarning | None:
    """Say how many of the proposals left out may have shown an object; None where none of them is of such a size.

    Args:
        left_out: Of `frame`.
        frame: Its depth tells how large in metres they are; without depth each of them may be an object.
        diameters_m: Of the objects that were looked for, None where it is not known.
        min_mask_pixels: By which they were left out.
    """
    may_be = torch.from_numpy(_of_their_size(left_out.boxes_xyxy.cpu().numpy(), frame, diameters_m))
    count = int(may_be.sum())
    if not count:
        return None
    largest = int(left_out.areas.cpu()[may_be].max())
    of_a_size = " of the size of the objects" if frame.has_depth else ""
    are, have = (f"region{of_a_size} is", "with") if count == 1 else (f"regions{of_a_size} are", "the largest with")
    least = (
        "SAM-6D's shares of the picture (0.03 % of its pixels, 5 % of its side)"
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
            LEAST_SIZE_SHARE * diameter <= size_m <= LARGEST_SIZE_SHARE * diameter
            for diameter in diameters_m
            if diameter is not None
        )
    return everything
