"""Depth in another unit than its encoding stands for: told from the median reading, since no message says the unit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

NEAREST_M, FARTHEST_M = 0.1, 30.0
"""The median reading of a whole image from an RGB-D camera lies between these."""
USUAL_M = (0.2, 10.0)
"""A guessed unit must bring the median reading into this range."""
STRIDE_PX = 8
FEWEST_READINGS = 16
"""Of fewer readings nothing is concluded."""
UNITS_M = {
    "metres": 1.0,
    "metres x 10": 0.1,
    "centimetres": 0.01,
    "millimetres": 0.001,
    "tenths of a millimetre": 0.0001,
}
AGREED = {"32FC1": "metres"}
"""What an encoding stands for (REP 118); all others are whole millimetres."""


def doubt_about_unit(depth_m: NDArray[np.float32], encoding: str) -> str:
    """One sentence where the readings cannot be in the unit of their encoding, else empty.

    depth_m: (H, W) metres, as read by the rules of `encoding`; readings that are not above 0 and finite do not count.
    """
    median_m = _median_m(depth_m)
    if median_m is None or NEAREST_M <= median_m <= FARTHEST_M:
        return ""
    agreed = AGREED.get(encoding, "millimetres")
    number = median_m / UNITS_M[agreed]
    guesses = _guesses(number, agreed)
    looks_like = f"they look like {' or '.join(guesses)}" if guesses else "no usual unit makes sense of them"
    return (
        f"depth is in the wrong unit: the median of its readings is {number:.4g}, which in {agreed}, the unit of "
        f"{encoding}, is {median_m:.4g} m; {looks_like}: publish 16UC1 in millimetres or 32FC1 in metres"
    )


def _median_m(depth_m: NDArray[np.float32]) -> float | None:
    stride = STRIDE_PX if depth_m.size > FEWEST_READINGS * STRIDE_PX**2 else 1
    sample = depth_m[::stride, ::stride]
    readings = sample[np.isfinite(sample) & (sample > 0)]
    return float(np.median(readings)) if readings.size >= FEWEST_READINGS else None


def _guesses(number: float, agreed: str) -> list[str]:
    """Units in which `number` is a usual distance, the likeliest (nearest to 1 m) first."""
    distances_m = {unit: number * size_m for unit, size_m in UNITS_M.items() if unit != agreed}
    usual = [unit for unit, distance_m in distances_m.items() if USUAL_M[0] <= distance_m <= USUAL_M[1]]
    usual.sort(key=lambda unit: abs(math.log(distances_m[unit])))
    return [f"{unit} ({distances_m[unit]:.2g} m)" for unit in usual]
