"""Exact ground truth of one rendered view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GroundTruth:
    """The instances of which at least one pixel is visible, one row an instance.

    Attributes:
        masks: (N, H, W) bool, visible pixels; disjoint.
        names: N object names.
        known: (N,) bool, whether it is one of the objects that are to be found.
        object_to_camera: (N, 4, 4) float64 poses, metres.
        visible_share: (N,) float64 in [0, 1], visible pixels out of all that the object alone would cover, parts
            outside the picture included.
    """

    masks: NDArray[np.bool_]
    names: tuple[str, ...]
    known: NDArray[np.bool_]
    object_to_camera: NDArray[np.float64]
    visible_share: NDArray[np.float64]
