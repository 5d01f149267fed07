"""Decoder of RVL, lossless compression of depth by run lengths and variable-length differences (Wilson, 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_NUMBER_NIBBLES = 11
"""Length of the longest number: 11 nibbles of three bits are 33 bits, the encoder writes numbers of 32 bits."""


class RvlError(ValueError):
    """Raised for data that no encoder can have written."""


def decode_rvl(data: bytes, pixels: int) -> NDArray[np.uint16]:
    """Decode the pixels of an RVL stream.

    Args:
        data: 32-bit words, little-endian, without a header.
        pixels: Number of pixels of the image.

    Returns:
        (pixels,) uint16, row by row; 0 = no reading.

    Raises:
        RvlError: The stream ends too early or holds more pixels.
    """
    numbers = _numbers(data)
    # run lengths of zeros and of readings come in turn, after each pair the readings' differences
    zeros, readings, heads = [], [], []
    position, filled, count = 0, 0, len(numbers)
    listed = numbers.tolist()
    while filled < pixels:
        if position + 2 > count:
            raise RvlError(f"it ends after {filled} of {pixels} pixels")
        heads.append(position)
        zeros.append(listed[position])
        readings.append(listed[position + 1])
        filled += listed[position] + listed[position + 1]
        position += 2 + listed[position + 1]
    if filled > pixels or position > count:
        raise RvlError(f"its runs do not fit {pixels} pixels")
    is_head = np.zeros(position, dtype=bool)
    is_head[heads] = is_head[np.array(heads, dtype=np.int64) + 1] = True
    folded = numbers[:position][~is_head]
    differences = (folded >> 1) ^ -(folded & 1)
    lengths = np.stack([zeros, readings], axis=1).ravel()
    is_reading = np.repeat(np.tile([False, True], len(zeros)), lengths)
    decoded = np.zeros(pixels, dtype=np.uint16)
    decoded[is_reading] = np.cumsum(differences).astype(np.uint16)
    return decoded


def _numbers(data: bytes) -> NDArray[np.int64]:
    """Return all variable-length numbers: three bits a nibble, lowest first; the fourth says that more follow."""
    words = np.frombuffer(data, dtype="<u4", count=len(data) // 4)
    nibbles = (words[:, None] >> np.arange(28, -1, -4, dtype=np.uint32) & np.uint32(15)).astype(np.uint8).ravel()
    ends = np.flatnonzero(nibbles < 8)
    if not ends.size:
        return np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > MAX_NUMBER_NIBBLES:
        raise RvlError("it holds a number of more than 32 bits")
    nibbles = nibbles[: ends[-1] + 1]
    within = np.arange(nibbles.size) - np.repeat(starts, lengths)
    return np.add.reduceat((nibbles & 7).astype(np.int64) << 3 * within, starts)
