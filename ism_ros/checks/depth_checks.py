"""Conversion of depth images to metres without what stands for 'no reading', and checks of their unit.

No file and no message says the unit of its depth; it is inferred from the distances that result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.input_warnings import InputWarning

MIN_MEDIAN_M, MAX_MEDIAN_M = 0.1, 30.0
"""Range of the median reading of a whole image from an RGB-D camera."""
USUAL_M = (0.2, 10.0)
"""Range into which a guessed unit must bring the median reading."""
STRIDE_PX = 8
"""Step between the rows and columns whose readings are taken for the median."""
MIN_READINGS = 16
"""Number of readings below which nothing is concluded."""
UNITS_M = {
    "metres": 1.0,
    "metres x 10": 0.1,
    "centimetres": 0.01,
    "millimetres": 0.001,
    "tenths of a millimetre": 0.0001,
}
"""Units that depth is found in, in metres."""
UNIT_OF_ENCODING = {"32FC1": "metres"}
"""Units of encodings (REP 118); all others are whole millimetres."""
MAX_DEPTH_M = 1e5
"""Metres from which on no unit makes a reading one of a camera: the type's largest, 1e9, ..."""
DRIVER_REGISTRATION = (
    "switch registration on in the driver (RealSense: align_depth.enable:=true; Orbbec, OpenNI, Kinect: "
    "depth_registration:=true)"
)
"""What to do about depth that is not registered to color, for messages."""
LARGEST_INTEGERS = (65535.0, 65504.0, 32768.0, 32767.0)
"""Largest numbers of 16-bit types (and half floats), which stay in a depth image that was made float afterwards."""


def depth_format_error(image: NDArray[Any], dtypes: Sequence[type[np.generic]] = (np.uint16,)) -> str:
    """Tell what a decoded picture is where it cannot be a depth image.

    Args:
        image: (H, W) or (H, W, C), of the type that was stored.
        dtypes: Types of the numbers that a depth image may have.

    Returns:
        Its channels and type, such as "3 channel(s) of uint8"; empty where it has one channel of one of `dtypes`.
    """
    channels = 1 if image.ndim == 2 else image.shape[2]
    return "" if image.ndim == 2 and image.dtype in dtypes else f"{channels} channel(s) of {image.dtype}"


def depth_in_metres(stored: NDArray[Any], metres_per_step: float) -> NDArray[np.float32]:
    """Convert the numbers of a depth image to metres; whatever its maker writes for 'no reading' becomes 0.

    No readings are: the largest number of a 16-bit type; numbers from 32768 on, where they would be 30 m away or more
    and stand apart from the rest (signed numbers read as unsigned, flags); the largest float, 1e9 and the like; and
    65535 and 32768 in float, also divided by powers of ten.

    Args:
        stored: (H, W) uint16 or floating point, as decoded.
        metres_per_step: Metres for a stored number of 1.

    Returns:
        (H, W) float32 metres. NaN, infinite and negative numbers stay as they are.
    """
    if metres_per_step == 1.0:
        depth_m = stored.astype(np.float32, copy=False)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            depth_m = np.multiply(stored, metres_per_step, dtype=np.float64).astype(np.float32)
    integers = stored.dtype.kind == "u"
    missing = _missing_integers(stored, metres_per_step) if integers else no_reading_values(depth_m)
    return depth_m if missing is None else np.where(missing, np.float32(0), depth_m)


def no_reading_values(depth_m: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Find the finite numbers above 30 m in float depth that stand for 'no reading'.

    Args:
        depth_m: (H, W) float32 metres.

    Returns:
        (H, W) bool, or None where there are none.
    """
    with np.errstate(invalid="ignore"):
        far = depth_m > MAX_MEDIAN_M
        if not far.any():
            return None
        missing = np.zeros(depth_m.shape, dtype=bool)
        numbers = depth_m[far]
        known = (numbers >= MAX_DEPTH_M) & np.isfinite(numbers)
        for largest in LARGEST_INTEGERS:
            for power in range(4):
                known |= np.isclose(numbers, largest / 10**power, rtol=1e-6, atol=0.0)
    missing[far] = known
    return missing if known.any() else None


def _missing_integers(stored: NDArray[Any], metres_per_step: float) -> NDArray[np.bool_] | None:
    largest = int(np.iinfo(stored.dtype).max)
    half = (largest + 1) // 2
    if int(stored.max(initial=0)) < half:
        return None
    if half * metres_per_step >= MAX_MEDIAN_M:
        beyond = stored >= half
        if _stand_apart(stored[beyond], stored[~beyond], half):
            return beyond
    missing = stored == largest
    return missing if missing.any() else None


def _stand_apart(beyond: NDArray[Any], below: NDArray[Any], half: int) -> bool:
    """Tell whether the numbers from `half` on are no continuation of those below, as readings in a finer unit would be.

    They are of one value, or all near the type's largest, and nothing comes right before them.
    """
    if not below.any() or np.count_nonzero(below >= half // 2) > 0.1 * beyond.size:
        return False
    of_one_value = np.count_nonzero(beyond == np.sort(beyond)[beyond.size // 2]) >= 0.5 * beyond.size
    return bool(of_one_value or np.percentile(beyond, 5) >= 1.8 * half)


def depth_encoding_warnings(depth_m: NDArray[np.float32], encoding: str) -> tuple[InputWarning, ...]:
    """Check the unit of a depth message by its readings.

    Args:
        depth_m: (H, W) metres, as read by the rules of `encoding`; only what is finite and above 0 counts.
        encoding: Of sensor_msgs/Image, such as 16UC1.

    Returns:
        At most one warning, of the reason `depth_unit`, where the median reading is none of an RGB-D camera.
    """
    median_m = _doubtful_median_m(depth_m)
    if median_m is None:
        return ()
    agreed = UNIT_OF_ENCODING.get(encoding, "millimetres")
    number = median_m / UNITS_M[agreed]
    distances_m = {unit: number * size_m for unit, size_m in UNITS_M.items() if unit != agreed}
    guesses = [f"{unit} ({distance_m:.2g} m)" for unit, distance_m in _usual(distances_m)]
    looks_like = f"they look like {' or '.join(guesses)}" if guesses else "no usual unit makes sense of them"
    text = (
        f"depth is in the wrong unit: the median of its readings is {number:.4g}, which in {agreed}, the unit of "
        f"{encoding}, is {median_m:.4g} m; {looks_like}: publish 16UC1 in millimetres or 32FC1 in metres"
    )
    return (InputWarning("depth_unit", text),)


def depth_scale_warnings(depth_m: NDArray[np.float32], depth_scale: float, where: str) -> tuple[InputWarning, ...]:
    """Check the depth_scale of a depth file by its readings.

    Args:
        depth_m: (H, W) metres; only what is finite and above 0 counts.
        depth_scale: Millimetres for a stored number of 1.
        where: File or field that holds depth_scale, for the message.

    Returns:
        At most one warning, of the reason `depth_unit`, where the median reading is none of an RGB-D camera.
    """
    median_m = _doubtful_median_m(depth_m)
    if median_m is None:
        return ()
    number = median_m / depth_scale
    scales = {1000 * size_m for size_m in UNITS_M.values()} | {1000 * depth_scale, depth_scale / 1000}
    guesses = _usual({f"{scale:.4g}": number * scale for scale in scales if not math.isclose(scale, depth_scale)})
    likely = " or ".join(f"{scale} ({distance_m:.2g} m)" for scale, distance_m in guesses[:2])
    text = (
        f"median depth is {float(f'{median_m:.2g}'):g} m with depth_scale {depth_scale:g}, which no camera sees: give "
        f"depth_scale {likely or 'of another unit'} in {where}, as metres = stored number * depth_scale / 1000"
    )
    return (InputWarning("depth_unit", text),)


def _doubtful_median_m(depth_m: NDArray[np.float32]) -> float | None:
    """Compute the median reading where it is none of an RGB-D camera; None where it is, or readings are few."""
    stride = STRIDE_PX if depth_m.size > MIN_READINGS * STRIDE_PX**2 else 1
    sample = depth_m[::stride, ::stride]
    readings = sample[np.isfinite(sample) & (sample > 0)]
    if readings.size < MIN_READINGS:
        return None
    median_m = float(np.median(readings))
    return None if MIN_MEDIAN_M <= median_m <= MAX_MEDIAN_M else median_m


def _usual(distances_m: dict[str, float]) -> list[tuple[str, float]]:
    """Select the units in which the median is a usual distance, the likeliest (nearest to 1 m) first."""
    usual = [(name, distance_m) for name, distance_m in distances_m.items() if USUAL_M[0] <= distance_m <= USUAL_M[1]]
    return sorted(usual, key=lambda item: abs(math.log(item[1])))
