"""Colors of an instance and of what surrounds it, learned while it is followed.

Histograms of foreground and background (Prisacariu and Reid, IJCV 2012), from which each pixel has log-odds of being of
the instance. The odds tell where the depth does not: where an object stands on a table, both have the same depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BITS = 4
"""Bits of each channel that count."""
BINS = 2**BITS
"""Bins of each channel."""
RATE = 0.03
"""Share of a new frame in the histograms."""
PRIOR = 1.0
"""Points that each bin is supposed to have of foreground and background alike, so that rare colors say little."""
MAX_LOG_ODDS = 3.0
"""Limit of the log-odds of one color."""


@dataclass(frozen=True)
class RegionColors:
    """Histograms of one instance.

    Attributes:
        foreground: (BINS^3,) points of each color on the instance.
        background: (BINS^3,) cells of each color around it.
    """

    foreground: Tensor
    background: Tensor

    @staticmethod
    def unknown() -> RegionColors:
        """Make histograms that know nothing."""
        return RegionColors(torch.zeros(BINS**3), torch.zeros(BINS**3))

    @property
    def is_known(self) -> bool:
        """Whether there is anything in them."""
        return float(self.foreground.sum()) > 0

    def updated(self, foreground: Tensor, background: Tensor) -> RegionColors:
        """Learn from a frame.

        Args:
            foreground: (BINS^3,) points of each color on the instance in that frame.
            background: (BINS^3,) cells of each color around it.

        Returns:
            The new histograms.
        """
        if not self.is_known:
            return RegionColors(foreground, background)
        return RegionColors(self.foreground.lerp(foreground, RATE), self.background.lerp(background, RATE))


def log_odds(colors: Sequence[RegionColors]) -> Tensor:
    """Compute the log-odds (H, BINS^3) of each color of being of H instances."""
    foreground = torch.stack([one.foreground for one in colors])
    background = torch.stack([one.background for one in colors])
    # as if both regions had as many cells
    scale = (foreground.sum(dim=1, keepdim=True) + 1.0) / (background.sum(dim=1, keepdim=True) + 1.0)
    odds = (foreground + PRIOR).log_() - (background * scale + PRIOR).log_()
    return odds.clamp_(-MAX_LOG_ODDS, MAX_LOG_ODDS)


def histograms(colors: Tensor, chosen: Tensor) -> Tensor:
    """Count colors.

    Args:
        colors: (H, A) int64 bins.
        chosen: (H, A) bool, which of them count.

    Returns:
        (H, BINS^3) float32.
    """
    count = BINS**3
    # those that do not count are put into one bin more
    bins = colors.where(chosen, count) + torch.arange(len(colors))[:, None] * (count + 1)
    counts = torch.bincount(bins.flatten(), minlength=len(colors) * (count + 1))
    return counts.view(len(colors), count + 1)[:, :count].float()


def color_bins(rgb: NDArray[np.uint8]) -> Tensor:
    """Find the bins of the colors of an image.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) int16.
    """
    red, green, blue = (np.asarray(part, np.uint8) >> (8 - BITS) for part in cv2.split(rgb))
    # of numbers of one byte each, the lower one first
    low = green << BITS | blue
    return torch.from_numpy(cv2.merge([low, red]).view(np.int16)[..., 0])
