"""Depth of rendered views in their own pixels, so that it says nothing of the size of the object in metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAREST_PX = 1.0
"""Depth of the nearest point of each view, pixels: 0 means that there is none."""


def view_depth_px(
    xyz_m: NDArray[np.floating], masks: NDArray[np.bool_], rotations: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Compute how far the surface in each pixel of a view lies behind its nearest point.

    A metre is as many pixels as the standard deviation of the points across the optical axis is in the picture, so that
    neither the camera matrix nor the distance is needed.

    Args:
        xyz_m: (T, H, W, 3) points of the surface in the object frame, metres.
        masks: (T, H, W) bool.
        rotations: (T, 3, 3) object-to-camera.

    Returns:
        (T, H, W) float32 pixels, NEAREST_PX at the nearest point, 0 outside the mask.
    """
    out = np.zeros(masks.shape, np.float32)
    for view, (points, mask, rotation) in enumerate(zip(xyz_m, masks, rotations, strict=True)):
        pixels = np.stack(np.nonzero(mask), axis=1)
        if not len(pixels):
            continue
        x, y, depth_m = (points[mask].astype(np.float64) @ np.asarray(rotation, np.float64).T).T
        spread_m = np.sqrt(x.var() + y.var())
        px_per_m = np.sqrt(pixels.var(axis=0).sum()) / spread_m if spread_m > 0 else 0.0
        out[view][mask] = (depth_m - depth_m.min()) * px_per_m + NEAREST_PX
    return out
