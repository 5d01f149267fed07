"""A frame of a real camera with a watering can, beside the repository where it is developed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ism_ros.config.settings import Settings

CAN = Path(__file__).resolve().parents[4] / "shared" / "data" / "lm_can"
"""Folder with rgb.png, depth.png, camera.json and reference_mask.png."""
CAN_CAD, CAN_UNITS = CAN / "obj_000005.ply", "mm"
MIN_IOU = 0.85
needs_real_can = pytest.mark.skipif(not CAN.is_dir(), reason="the frames of real cameras are not beside the repository")


def assert_is_the_can(score: float, mask: NDArray[np.bool_]) -> None:
    """The first detection is above the default threshold, and covers the can and nothing else."""
    reference = cv2.imread(str(CAN / "reference_mask.png"), cv2.IMREAD_GRAYSCALE) > 0
    iou = (mask & reference).sum() / (mask | reference).sum()
    print(f"the can: score {score:.3f}, IoU {iou:.3f}")
    assert score >= Settings().score_threshold
    assert iou >= MIN_IOU
