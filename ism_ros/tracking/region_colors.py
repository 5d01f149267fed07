"""Colors of an instance and of what surrounds it, learned while it is followed.

Histograms of foreground and background (Prisacariu and Reid, IJCV 2012), from which each pixel has log-odds of being of
the instance. The odds tell where the depth does not: where an object stands on a table, both have the same depth.
"""

from __future__ import annotations

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

    def log_odds(self) -> Tensor:
        """Compute the log-odds (BINS^3,) of each color."""
        total_foreground, total_background = self.foreground.sum() + 1.0, self.background.sum() + 1.0
        # as if both regions had as many cells
        scale = total_foreground / total_background
        odds = (self.foreground + PRIOR).log() - (self.background * scale + PRIOR).log()
        return odds.clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)

    def updated(self, foreground: Tensor, background: Tensor) -> RegionColors:
        """Learn from a frame.

        Args:
            foreground: (A,) int64 colors of the instance, of `color_bins`.
            background: (B,) int64 colors of what is around it.

        Returns:
            The new histograms.
        """
        rate = RATE if self.is_known else 1.0
        old = self.foreground, self.background
        new = [torch.bincount(colors, minlength=BINS**3).float() for colors in (foreground, background)]
        return RegionColors(*(before + rate * (now - before) for before, now in zip(old, new, strict=True)))


def color_bins(rgb: NDArray[np.uint8]) -> Tensor:
    """Find the bins of the colors of an image.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) int16.
    """
    red, green, blue = (part >> (8 - BITS) for part in cv2.split(rgb))
    # of numbers of one byte each, the lower one first
    low = green << BITS | blue
    return torch.from_numpy(cv2.merge([low, red]).view(np.int16)[..., 0])
