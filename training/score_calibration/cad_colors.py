"""Colors of CAD models that are not those of the real things: models without colors, other paint, other light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator

KIND_PROBABILITIES = {"as_rendered": 0.45, "plain": 0.25, "repainted": 0.3}
"""Kinds of colors; their order is part of the random streams."""
PLAIN_TONES = 120.0, 220.0
"""Least and largest gray of a model without colors."""
SHADING = 0.25
"""Share of that gray which depends on how light the rendered surface is."""
GAINS, OFFSETS = (0.5, 1.3), (-30.0, 30.0)
"""Least and largest factor of each channel, and what is added to all, of a repainted model."""
SWAP_PROBABILITY = 0.5
"""Probability that the channels of a repainted model change places."""


@dataclass(frozen=True)
class CadColors:
    """What the CAD model makes of the colors of the real thing.

    Attributes:
        order: (3,) channels of the thing that red, green and blue are taken from.
        gain: (3,) factors.
        offset: Added to all channels.
        tone: Gray of a model without colors; None = the model has colors.
    """

    order: NDArray[np.int64]
    gain: NDArray[np.float64]
    offset: float = 0.0
    tone: float | None = None

    def apply(self, rgb: NDArray[np.uint8], masks: NDArray[np.bool_], brightest: float) -> NDArray[np.uint8]:
        """Color rendered views.

        Args:
            rgb: (T, H, W, 3) uint8 of the real thing.
            masks: (T, H, W) bool.
            brightest: Largest mean of the channels of any pixel of the object.

        Returns:
            (T, H, W, 3) uint8, 0 outside of the masks.
        """
        seen = rgb[masks].astype(np.float32)
        if self.tone is None:
            painted = seen[:, self.order] * self.gain + self.offset
        else:
            light = seen.mean(axis=1, keepdims=True) / max(brightest, 1.0)
            painted = np.repeat(self.tone * (1 - SHADING + SHADING * light), 3, axis=1)
        out = np.zeros_like(rgb)
        out[masks] = painted.clip(0, 255).astype(np.uint8)
        return out


def sample_cad_colors(rng: Rng) -> CadColors:
    """Sample the colors of a CAD model.

    Args:
        rng: Source of randomness.

    Returns:
        The colors.
    """
    kind = rng.choice(list(KIND_PROBABILITIES), p=list(KIND_PROBABILITIES.values()))
    order, gain = np.arange(3), np.ones(3)
    if kind == "as_rendered":
        return CadColors(order, gain)
    if kind == "plain":
        return CadColors(order, gain, tone=float(rng.uniform(*PLAIN_TONES)))
    if rng.random() < SWAP_PROBABILITY:
        order = rng.permutation(3)
    return CadColors(order, rng.uniform(*GAINS, 3), float(rng.uniform(*OFFSETS)))
