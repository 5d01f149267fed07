"""Camera matrices that cannot belong to an image of the size they are given with, and those that hardly can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.input_warnings import InputWarning

WIDEST, NARROWEST = 0.1, 200.0
"""Focal lengths in sides of the image: beyond, a field of view of more than 157 or less than 0.3 degrees."""
WIDE, NARROW = 0.23, 6.0
"""Beyond these, more than 130 or less than 10 degrees, no RGB-D camera is known."""
MOST_STRETCHED, STRETCHED = 3.0, 1.5
"""fx by fy or fy by fx: pixels that no sensor has, and those of an image that was squeezed."""
NEAR_EDGE = 0.15
"""Of the image's side: a principal point closer to the edge than this is that of a cropped image."""
OTHER_SIZE = 0.3
"""An image whose centre is further than this share from the principal point, alike in both directions, is a picture
of another size than the one that was calibrated."""
SLANTED = 0.05
"""Skew, of the focal length."""
ROUNDING = 1e-3
_PROJECTION_FIELDS = (
    *("cam_model", "camera_model", "projection_model_type", "projection_model", "projection", "distortion_model"),
    "model",
)
_PINHOLE = ("pinhole", "perspective", "plumb_bob", "rational_polynomial", "opencv", "brown", "radtan", "none")


def fault_of_intrinsics(intrinsics: NDArray[np.float64], width: int, height: int) -> str:
    """Tell why a camera matrix cannot be that of an image of this size.

    Args:
        intrinsics: (3, 3) camera matrix in pixels, focal lengths finite and above 0.
        width: of the image in pixels.
        height: of the image in pixels.

    Returns:
        One sentence with a remedy; empty where nothing is certainly wrong.
    """
    (fx, skew, cx), (below, fy, cy), last = intrinsics
    if np.abs(last - (0, 0, 1)).max() > ROUNDING:
        row = " ".join(f"{number:g}" for number in last)
        by_column = "; it is written column by column" if not (cx or cy) and last[0] > 0 and last[1] > 0 else ""
        return f"the last row of the camera matrix is {row} and must be 0 0 1{by_column}: write it row by row"
    if abs(below) > ROUNDING * fx:
        return f"the camera matrix begins its second row with {below:g} and must with 0: write fx s cx 0 fy cy 0 0 1"
    if max(fx, fy) < 10 and max(cx, cy) <= 2 and min(width, height) > 10:
        return (
            f"the camera matrix is normalised by the image's size, fx = {fx:.4g} pixels, cx = {cx:.4g}: multiply its "
            f"first row by the width ({width}) and its second by the height ({height})"
        )
    for name, focal, side in (("fx", fx, width), ("fy", fy, height)):
        if not WIDEST * side <= focal <= NARROWEST * side:
            return (
                f"the camera matrix has {name} = {focal:.4g} pixels, which for {side} pixels is a field of view of "
                f"{_degrees(focal, side)}, as no lens has: give the focal length in pixels of this image"
            )
    for name, centre, side, along in (("cx", cx, width, "wide"), ("cy", cy, height, "high")):
        if not min(1.0, 0.1 * side) < centre < side - min(1.0, 0.1 * side):
            return (
                f"the camera matrix has {name} = {centre:.4g}, which is outside of an image {side} pixels {along}"
                f"{_other_size(cx, cy, width, height)}: give the matrix of this image"
            )
    if max(fx, fy) > MOST_STRETCHED * min(fx, fy):
        return (
            f"the camera matrix has fx = {fx:.4g} and fy = {fy:.4g}, which would be pixels {_ratio(fx, fy)} times as "
            "long as wide: correct the wrong one"
        )
    return ""


def doubts_about_intrinsics(intrinsics: NDArray[np.float64], width: int, height: int) -> tuple[InputWarning, ...]:
    """Tell what is odd about a camera matrix that `fault_of_intrinsics` finds no fault with.

    Args:
        intrinsics: (3, 3) camera matrix in pixels.
        width: of the image in pixels.
        height: of the image in pixels.

    Returns:
        At most one warning, of the reason `camera_matrix`.
    """
    (fx, skew, cx), (_, fy, cy), _ = intrinsics
    text = ""
    other = _other_size(cx, cy, width, height)
    wide_or_narrow = [
        (name, focal, side)
        for name, focal, side in (("fx", fx, width), ("fy", fy, height))
        if not WIDE * side <= focal <= NARROW * side
    ]
    off_centre = [
        (name, centre, side)
        for name, centre, side in (("cx", cx, width), ("cy", cy, height))
        if not NEAR_EDGE * side <= centre <= (1 - NEAR_EDGE) * side
    ]
    if other:
        text = f"the camera matrix has cx = {cx:.4g}, cy = {cy:.4g}, far from the centre of this image{other}"
    elif wide_or_narrow:
        name, focal, side = wide_or_narrow[0]
        text = (
            f"the camera matrix has {name} = {focal:.4g} pixels, which for {side} pixels is an unusual field of view "
            f"of {_degrees(focal, side)}"
        )
    elif off_centre:
        name, centre, side = off_centre[0]
        text = f"the camera matrix has {name} = {centre:.4g}, at the edge of an image of {side} pixels: was it cropped"
    elif max(fx, fy) > STRETCHED * min(fx, fy):
        text = f"the camera matrix has fx = {fx:.4g} and fy = {fy:.4g}: was the image squeezed"
    elif abs(skew) > SLANTED * fx:
        text = f"the camera matrix has a skew of {skew:.4g} pixels"
    if not text:
        return ()
    joint = "? If not," if ": was" in text else ":"
    return (InputWarning("camera_matrix", f"{text}{joint} give the matrix that belongs to this image, row by row"),)


def other_projection(entry: Mapping[str, Any]) -> str:
    """Name the projection of a camera file's entry where it says that it is no pinhole camera's.

    Args:
        entry: with fields such as cam_model (HOT3D), camera_model or projection_model_type.

    Returns:
        Such as FISHEYE624; empty for pinhole cameras, and where nothing is said.
    """
    for field in _PROJECTION_FIELDS:
        told = entry.get(field)
        if isinstance(told, Mapping):
            told = next((told[name] for name in (*_PROJECTION_FIELDS, "name", "type") if name in told), None)
        if isinstance(told, str) and told.strip():
            name = told.rpartition(".")[2].strip()
            if not any(pinhole in name.lower() for pinhole in _PINHOLE):
                return name
    return ""


def _other_size(cx: float, cy: float, width: int, height: int) -> str:
    """That the principal point is the centre of a larger or smaller image of this shape; empty where it is not."""
    across, down = 2 * cx / width, 2 * cy / height
    if min(across, down) <= 0 or not 0.85 < across / down < 1.18 or 1 - OTHER_SIZE < across < 1 + OTHER_SIZE:
        return ""
    return f", as of images of about {2 * cx:.0f} x {2 * cy:.0f} pixels, while this one has {width} x {height}"


def _degrees(focal_px: float, side_px: int) -> str:
    return f"{math.degrees(2 * math.atan(side_px / (2 * focal_px))):.3g} degrees"


def _ratio(first: float, second: float) -> str:
    return f"{max(first, second) / min(first, second):.3g}"
