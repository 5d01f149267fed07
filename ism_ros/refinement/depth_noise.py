"""Noise of a depth camera, as large as its own image shows it to be.

The error of a triangulating camera is the same everywhere in inverse depth, so that in depth it grows with the square
of the distance (Khoshelham and Elberink, Sensors 2012).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

CONSTANT_M = 0.002
"""Standard deviation that does not depend on the distance, metres: of the model, its calibration and the registration
of depth to color."""
MIN_INVERSE_NOISE, MAX_INVERSE_NOISE = 0.0025, 0.0075
"""Least and largest standard deviation of inverse depth, 1/m. The least is that of the errors that a perfect camera
leaves; the largest keeps images without flat surfaces from passing for noise."""
BLOCKS_PER_ROW = 20
"""Blocks along a row of the image in each of which a plane is fitted."""
FLAT_SHARE = 0.25
"""Share of the blocks that are supposed to be flat: the noise is that of the worst of them."""
SLOW_ERRORS = 2.0
"""Factor for errors that change so slowly that a plane follows them, as the waves of stereo matching."""


def depth_noise_m(depth_m: Tensor, inverse_noise: float = MIN_INVERSE_NOISE) -> Tensor:
    """Compute the standard deviation of readings: CONSTANT_M + inverse_noise * z^2.

    Args:
        depth_m: Distance z, metres, of any shape.
        inverse_noise: Standard deviation of inverse depth, 1/m.

    Returns:
        Metres, of the same shape.
    """
    return CONSTANT_M + inverse_noise * depth_m.square()


def estimate_inverse_noise(depth_m: NDArray[np.float32]) -> float:
    """Estimate the standard deviation of inverse depth from the flattest parts of an image.

    A plane of the scene is one in inverse depth too: 1 / z = a u + b v + c. One is fitted to each block that has
    readings everywhere, and the noise is SLOW_ERRORS times the FLAT_SHARE quantile of what is left in the blocks.

    Args:
        depth_m: (H, W) float32, metres, 0 = no reading.

    Returns:
        1/m, from MIN_INVERSE_NOISE to MAX_INVERSE_NOISE; the least where no block has all its readings.
    """
    height, width = depth_m.shape
    side = max(width // BLOCKS_PER_ROW, 4)
    rows, columns = height // side, width // side
    blocks = depth_m[: rows * side, : columns * side].reshape(rows, side, columns, side).transpose(0, 2, 1, 3)
    blocks = blocks.reshape(-1, side * side)
    blocks = blocks[(blocks > 0).all(axis=1)]
    if not len(blocks):
        return MIN_INVERSE_NOISE
    at = np.arange(side) - (side - 1) / 2
    plane = np.stack([np.tile(at, side), np.repeat(at, side), np.ones(side * side)], axis=1)
    basis = np.linalg.qr(plane)[0].astype(np.float32)
    inverse = 1 / blocks
    residual = inverse - inverse @ basis @ basis.T
    noise = SLOW_ERRORS * float(np.quantile(np.sqrt(np.square(residual).mean(axis=1)), FLAT_SHARE))
    return min(max(noise, MIN_INVERSE_NOISE), MAX_INVERSE_NOISE)
