"""Registration of the depth of a frame to its color image, where the two show that it is not registered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.depth_checks import DRIVER_REGISTRATION
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.frame import Frame
from ism_ros.registration.edges import color_edges, depth_edges, edge_scale
from ism_ros.registration.similarity_search import find_similarity

MIN_SIDE_PX = 160
"""Longer side of the smallest image that is checked: half of EDGE_SIDE_PX, below which edges are a blur."""


def with_registered_depth(frame: Frame) -> Frame:
    """Register the depth of a frame where color and depth show clearly that it is not registered.

    The scale and shift are those that bring borders in depth upon edges of color (`similarity_search`). They do not
    depend on the distance, so that the registration is good to some pixels: the driver's own is better.

    Args:
        frame: The frame.

    Returns:
        The frame with registered depth and a warning of the reason `depth_not_registered`; as it is, but checked, where
        its depth fits or where nothing can be told. What is checked already comes back itself.
    """
    if frame.depth_m is None or frame.is_registration_checked:
        return frame
    found = measured_similarity(frame.rgb, frame.depth_m)
    if found is None:
        return replace(frame, is_registration_checked=True)
    scale, shift_px = found
    return replace(
        frame,
        depth_m=resampled_depth(frame.depth_m, scale, shift_px),
        warnings=_with_warning(frame.warnings, scale, shift_px),
        is_registration_checked=True,
    )


def measured_similarity(
    rgb: NDArray[np.uint8], depth_m: NDArray[np.float32]
) -> tuple[float, tuple[float, float]] | None:
    """Measure the scale and shift of depth that is not registered.

    Args:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 metres, 0 = no reading.

    Returns:
        The scale, and the shift of columns and rows, pixels: color = scale * depth + shift, relative to the middle of
        the image. None where depth is registered, or where that cannot be told.
    """
    height, width = depth_m.shape
    if max(height, width) < MIN_SIDE_PX:
        return None
    borders = depth_edges(depth_m)
    found = find_similarity(color_edges(rgb), borders)
    if found is None:
        return None
    to_pixels = 1 / edge_scale(width, height)
    return found.scale, (found.shift_px[0] * to_pixels, found.shift_px[1] * to_pixels)


def resampled_depth(depth_m: NDArray[np.float32], scale: float, shift_px: tuple[float, float]) -> NDArray[np.float32]:
    """Scale and shift a depth image; each pixel takes the reading nearest to where it came from.

    Readings are not averaged: between an object and what is behind it nothing is at a mean distance.

    Args:
        depth_m: (H, W) float32 metres, 0 = no reading.
        scale: Of the result relative to `depth_m`, about the middle of the image.
        shift_px: Columns and rows by which the middle is moved.

    Returns:
        (H, W) float32 metres; 0 also where the result reaches beyond `depth_m`.
    """
    height, width = depth_m.shape
    columns, has_column = _sources(width, scale, shift_px[0])
    rows, has_row = _sources(height, scale, shift_px[1])
    resampled = depth_m[rows[:, None], columns[None, :]]
    return np.where(has_row[:, None] & has_column[None, :], resampled, np.float32(0))


def _sources(length: int, scale: float, shift_px: float) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return which column or row each one of the result comes from, and whether there is one."""
    middle = (length - 1) / 2
    sources = np.rint((np.arange(length) - middle - shift_px) / scale + middle).astype(np.intp)
    return np.clip(sources, 0, length - 1), (sources >= 0) & (sources < length)


def depth_not_registered_warning(scale: float, shift_px: tuple[float, float]) -> InputWarning:
    """Make the warning about depth that was registered here.

    Args:
        scale: Times that things were larger in color than in depth.
        shift_px: Columns and rows by which they were shifted.

    Returns:
        The warning.
    """
    return InputWarning(
        "depth_not_registered",
        f"depth is not registered to rgb: its edges fit those of rgb {scale:.2f} times as large and shifted by "
        f"{shift_px[0]:.0f}, {shift_px[1]:.0f} pixels, by which it was registered, to some pixels: "
        f"{DRIVER_REGISTRATION}, which is exact, or set depth_registration to as_given if depth is right as it is",
    )


def _with_warning(
    warnings: tuple[InputWarning, ...], scale: float, shift_px: tuple[float, float]
) -> tuple[InputWarning, ...]:
    """Add the warning; where there is one of its reason, by the names of the optical frames, the two become one."""
    done = (
        f"it was registered by the edges of both, {scale:.2f} times as large and shifted by {shift_px[0]:.0f}, "
        f"{shift_px[1]:.0f} pixels"
    )
    others = tuple(warning for warning in warnings if warning.reason != "depth_not_registered")
    known = [warning for warning in warnings if warning.reason == "depth_not_registered"]
    if known:
        return (*others, InputWarning("depth_not_registered", f"{known[0].text}; until then {done}"))
    return (*others, depth_not_registered_warning(scale, shift_px))
