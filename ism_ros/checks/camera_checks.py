"""Checks of camera matrices: those that cannot belong to an image of a size, and those that hardly can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.input_warnings import InputWarning

MIN_FOCAL, MAX_FOCAL = 0.1, 200.0
"""Focal lengths, in sides of the image, beyond which the field of view is more than 157 or less than 0.3 degrees."""
MIN_USUAL_FOCAL, MAX_USUAL_FOCAL = 0.23, 6.0
"""Focal lengths, in sides of the image, beyond which (130 and 10 degrees) no RGB-D camera is known."""
MAX_ASPECT_RATIO, MAX_USUAL_ASPECT_RATIO = 3.0, 1.5
"""Ratios of fx and fy beyond which no sensor has such pixels, and beyond which an image was squeezed."""
EDGE_FRACTION = 0.15
"""Fraction of the image's side: a principal point closer to the edge than this is that of a cropped image."""
OTHER_SIZE_FRACTION = 0.3
"""Fraction of the half side: a principal point further from the centre than this, alike in both directions, is that of
an image of another size than the one that was calibrated."""
MAX_SKEW_RATIO = 0.05
"""Largest usual skew, as a ratio to the focal length."""
ROUNDING = 1e-3
"""Difference that is put down to rounding."""
MIN_SIDE_PX = 16
"""Side of the smallest image from whose size something is concluded."""
_PROJECTION_FIELDS = (
    *("cam_model", "camera_model", "projection_model_type", "projection_model", "projection", "distortion_model"),
    "model",
)
_PINHOLE = ("pinhole", "perspective", "plumb_bob", "rational_polynomial", "opencv", "brown", "radtan", "none")


def intrinsics_error(intrinsics: NDArray[np.float64], width: int, height: int, is_cropped: bool = False) -> str:
    """Check whether a camera matrix can be that of an image of a size.

    Args:
        intrinsics: (3, 3) camera matrix in pixels, focal lengths finite and above 0.
        width: Columns of the image.
        height: Rows of the image.
        is_cropped: Whether the image is a region of interest, which need not hold the principal point.

    Returns:
        One sentence with a remedy; empty where nothing is certainly wrong.
    """
    what = _error(intrinsics, width, height, is_cropped)
    return f"the camera matrix cannot be that of an image of {width} x {height} pixels: {what}" if what else ""


def intrinsics_warnings(intrinsics: NDArray[np.float64], width: int, height: int) -> tuple[InputWarning, ...]:
    """Check for what is odd about a camera matrix that `intrinsics_error` accepts.

    Args:
        intrinsics: (3, 3) camera matrix in pixels.
        width: Columns of the image.
        height: Rows of the image.

    Returns:
        At most one warning, of the reason `camera_matrix`.
    """
    what = _oddity(intrinsics, width, height)
    if not what:
        return ()
    text = f"the camera matrix is odd for an image of {width} x {height} pixels: {what}; give the one of this image"
    return (InputWarning("camera_matrix", text),)


def non_pinhole_model(entry: Mapping[str, Any]) -> str:
    """Find the projection model of a camera file's entry where it is not that of a pinhole camera.

    Args:
        entry: With fields such as cam_model (HOT3D), camera_model or projection_model_type.

    Returns:
        Such as FISHEYE624; empty for pinhole cameras, and where nothing is said.
    """
    for field in _PROJECTION_FIELDS:
        model = entry.get(field)
        if isinstance(model, Mapping):
            model = next((model[name] for name in (*_PROJECTION_FIELDS, "name", "type") if name in model), None)
        if isinstance(model, str) and model.strip():
            name = model.rpartition(".")[2].strip()
            if not any(pinhole in name.lower() for pinhole in _PINHOLE):
                return name
    return ""


def _error(intrinsics: NDArray[np.float64], width: int, height: int, is_cropped: bool) -> str:
    (fx, _, cx), (below, fy, cy), last = intrinsics
    if np.abs(last - (0, 0, 1)).max() > ROUNDING:
        row = " ".join(f"{number:g}" for number in last)
        by_column = ", it is written column by column" if not (cx or cy) and last[0] > 0 and last[1] > 0 else ""
        return f"its last row is {row} and must be 0 0 1{by_column}; give it row by row"
    if abs(below) > ROUNDING * fx:
        return f"its second row begins with {below:g} and must with 0; give fx s cx 0 fy cy 0 0 1"
    if min(width, height) < MIN_SIDE_PX:
        return ""
    if max(fx, fy) < 10 and max(cx, cy) <= 2:
        return (
            f"it is normalised, with fx = {fx:.4g} pixels and cx = {cx:.4g}; give pixels, its first row times the "
            "width and its second times the height"
        )
    for name, focal, side in (("fx", fx, width), ("fy", fy, height)):
        if not MIN_FOCAL * side <= focal <= MAX_FOCAL * side:
            return (
                f"{name} = {focal:.4g} pixels is a field of view of {_degrees(focal, side)}, as no lens has; give the "
                "focal length in pixels"
            )
    for name, centre, side, along in (("cx", cx, width, "wide"), ("cy", cy, height, "high")):
        if not is_cropped and not 1 < centre < side - 1:
            other = _other_size(cx, cy, width, height)
            outside = f"{name} = {centre:.4g} is outside of an image {side} pixels {along}"
            return f"{outside}{other}; give the one of this image"
    if max(fx, fy) > MAX_ASPECT_RATIO * min(fx, fy):
        return (
            f"fx = {fx:.4g} and fy = {fy:.4g} would be of pixels {max(fx, fy) / min(fx, fy):.3g} times as long as "
            "wide; give the right focal lengths"
        )
    return ""


def _oddity(intrinsics: NDArray[np.float64], width: int, height: int) -> str:
    (fx, skew, cx), (_, fy, cy), _ = intrinsics
    if min(width, height) < MIN_SIDE_PX:
        return ""
    if other := _other_size(cx, cy, width, height):
        return f"cx = {cx:.4g}, cy = {cy:.4g} is far from its centre{other}"
    for name, focal, side in (("fx", fx, width), ("fy", fy, height)):
        if not MIN_USUAL_FOCAL * side <= focal <= MAX_USUAL_FOCAL * side:
            return f"{name} = {focal:.4g} pixels is an unusual field of view of {_degrees(focal, side)}"
    for name, centre, side in (("cx", cx, width), ("cy", cy, height)):
        if not EDGE_FRACTION * side <= centre <= (1 - EDGE_FRACTION) * side:
            return f"{name} = {centre:.4g} is at its edge, as of an image that was cropped afterwards"
    if max(fx, fy) > MAX_USUAL_ASPECT_RATIO * min(fx, fy):
        return f"fx = {fx:.4g} and fy = {fy:.4g}, as of an image that was squeezed afterwards"
    return f"it has a skew of {skew:.4g} pixels" if abs(skew) > MAX_SKEW_RATIO * fx else ""


def _other_size(cx: float, cy: float, width: int, height: int) -> str:
    """Say that the principal point is the centre of a larger or smaller image of this shape; empty where it is not."""
    across, down = 2 * cx / width, 2 * cy / height
    if (
        min(across, down) <= 0
        or not 0.85 < across / down < 1.18
        or 1 - OTHER_SIZE_FRACTION < across < 1 + OTHER_SIZE_FRACTION
    ):
        return ""
    return f", as of an image of about {2 * cx:.0f} x {2 * cy:.0f} pixels"


def _degrees(focal_px: float, side_px: int) -> str:
    angle = round(math.degrees(2 * math.atan(side_px / 2 / focal_px)), 2)
    return f"{angle:.3g} degrees"
