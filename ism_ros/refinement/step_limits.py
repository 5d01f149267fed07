"""What counts in each step of pose refinement: from rough, with open gates, to exact."""

from __future__ import annotations

from typing import NamedTuple

GATE_M = 0.03
"""Distance along the ray, metres, beyond which a sample and a reading are no pair at the first step; it shrinks to
LAST_GATE_M."""
LAST_GATE_M = 0.008
OUTLINE_NOISE_PX = 2.0
"""Standard deviation of the outlines of masks, pixels, at the last step; four times as much at the first."""
OUTLINE_WEIGHT = 0.5
"""Weight of a rim's residual relative to one of depth."""
LAST_OUTLINE = 0.1
"""Least factor of OUTLINE_WEIGHT: outlines bring poses near, depth is the more exact."""
MAX_STEP_RAD, MAX_STEP_M = 0.2, 0.03
"""Most that a pose moves in a step."""
DAMPING = 1e-3
"""Damping of the normal equations, relative to the mean of their diagonal."""
AGREEING_DEVIATIONS, NEAR_OUTLINE_PX = 3.0, 4.0
"""Standard deviations of the sensor within which readings agree, and distance to the outline, pixels, at which its
agreement has fallen to 1/e, in the quality of a fit."""
HIDDEN_M, MIN_DEPTH_M = -0.02, 0.05
"""Difference of reading and sample, metres, below which something nearer hides the sample; and least depth of a sample,
so that it can be projected."""


class StepLimits(NamedTuple):
    """What counts in a step.

    Attributes:
        noise_factor: Factor of the noise of depth.
        added_noise_m: Added to that noise.
        gate_m: Difference along the ray below which a sample and a reading are a pair.
        least_distance_px: Distance to the outline above which they are, above 0 inside the mask.
        outline_noise_px: Standard deviation of the outline.
        outline_weight: Weight of a rim's residual relative to one of depth.
    """

    noise_factor: float
    added_noise_m: float
    gate_m: float
    least_distance_px: float
    outline_noise_px: float
    outline_weight: float

    @staticmethod
    def at(openness: float, noise_factor: float = 1.0) -> StepLimits:
        """Compute the limits of a step by how far its gates are open, in [0, 1]."""
        gate_m = GATE_M * openness + LAST_GATE_M
        # where the outline decides, it does so up to the last step
        outline_weight = OUTLINE_WEIGHT * (max(openness, LAST_OUTLINE) if noise_factor == 1.0 else 1.0)
        outline_noise_px = OUTLINE_NOISE_PX * (1 + 3 * openness)
        return StepLimits(
            noise_factor,
            0.3 * openness * gate_m,
            noise_factor * gate_m,
            -2 - 3 * openness,
            outline_noise_px,
            outline_weight,
        )
