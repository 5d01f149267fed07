"""A real frame as it might have been as well: a little brighter, darker, or seen some pixels further to one side.

What a method finds in frames that differ by so little differs by chance: the mean over them tells more than one number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accuracy.real_frames import RealFrame

BRIGHTNESS_STEP = 0.12
"""By how much the bright and the dark variant differ from the frame."""
SHIFT_PX = 3
"""By how many rows and columns the moved variant differs from it."""


def _as_it_is(truth: RealFrame) -> RealFrame:
    return truth


def brightened(truth: RealFrame, factor: float) -> RealFrame:
    """Multiply the levels of a frame.

    Args:
        truth: The frame.
        factor: Above 1 = brighter; levels end at 255.

    Returns:
        The frame.
    """
    rgb = np.clip(truth.frame.rgb.astype(np.float32) * factor, 0, 255).round().astype(np.uint8)
    return replace(truth, frame=replace(truth.frame, rgb=rgb))


def moved(truth: RealFrame, pixels: int) -> RealFrame:
    """Move the picture to the right and down, and the principal point with it, so that poses stay what they are.

    Args:
        truth: The frame.
        pixels: By how many rows and columns; the first ones are repeated.

    Returns:
        The frame with the truth that belongs to it.
    """
    frame, camera = truth.frame, truth.frame.camera
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2, 2] += pixels
    return replace(
        truth,
        frame=replace(
            frame,
            rgb=_moved(frame.rgb, pixels),
            depth_m=None if frame.depth_m is None else _moved(frame.depth_m, pixels),
            camera=replace(camera, intrinsics=intrinsics),
        ),
        instances=tuple(
            replace(
                one,
                mask=None if one.mask is None else _moved(one.mask, pixels),
                box_xyxy=one.box_xyxy + pixels,
            )
            for one in truth.instances
        ),
    )


def _moved(image: NDArray[Any], pixels: int) -> NDArray[Any]:
    borders = [(pixels, 0), (pixels, 0), *[(0, 0)] * (image.ndim - 2)]
    return np.ascontiguousarray(np.pad(image[:-pixels, :-pixels], borders, mode="edge"))


VARIANTS: Mapping[str, Callable[[RealFrame], RealFrame]] = {
    "as it is": _as_it_is,
    "brighter": lambda truth: brightened(truth, 1 + BRIGHTNESS_STEP),
    "darker": lambda truth: brightened(truth, 1 - BRIGHTNESS_STEP),
    "moved": lambda truth: moved(truth, SHIFT_PX),
}
"""The frame itself, and three others of it."""
