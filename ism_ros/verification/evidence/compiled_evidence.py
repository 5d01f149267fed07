"""Evidence by compiled loops, several times faster on a CPU than operations of PyTorch (torch_evidence).

Poses have no need of each other, so that several threads may each gather some of them: loops hold no lock of Python.

H poses.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ism_ros.refinement.compiled_icp import pose_arrays
from ism_ros.refinement.depth_noise import CONSTANT_M
from ism_ros.refinement.observed_masks import ObservedMasks
from ism_ros.refinement.pose_batch import PoseBatch
from ism_ros.verification.evidence.compiled_appearance import compare_appearance
from ism_ros.verification.evidence.compiled_comparison import Cells, Sensor, compare
from ism_ros.verification.evidence.compiled_layout import (
    CELLS,
    PADDING,
    STRIDE,
    Comparison,
    Edges,
    Image,
    Surfaces,
    Windows,
)
from ism_ros.verification.evidence.compiled_windows import fill_windows
from ism_ros.verification.evidence.terms import TERMS, Evidence, ObjectSamples
from ism_ros.verification.observed_image import ObservedImage

FIRST_OF_APPEARANCE = TERMS.index("color_correlation")
"""Where the terms of colors and edges stand among the others."""

ONE_PIXEL = np.ones(1, np.int64)
NO_EDGES = Edges(np.zeros((1, 2), np.float32), 0 * ONE_PIXEL, ONE_PIXEL, ONE_PIXEL)
"""Of an image whose edges do not count: one pixel without any."""


def gather_evidence(
    poses: PoseBatch, objects: ObjectSamples, observed: ObservedMasks, masks: Tensor, image: ObservedImage
) -> Evidence:
    """Render poses and compare them with the image.

    Args:
        poses: H poses on the CPU.
        objects: Samples of the object of each pose.
        observed: Depth and masks.
        masks: (N, H, W) bool.
        image: The color image.

    Returns:
        The evidence.
    """
    surfaces = Surfaces(*(of.contiguous().numpy() for of in (objects.points_m, objects.normals, objects.colors)))
    pixels = Image(*(of.contiguous().numpy() for of in (observed.depth_m, masks, image.rgb, image.light)))
    intrinsics = np.array(observed.intrinsics, np.float32)
    windows, comparison = Windows.empty(len(poses)), Comparison.empty(len(poses))
    fill_windows(pose_arrays(poses), surfaces, pixels, intrinsics, windows)

    mask_px, read_px = (of[poses.mask_index].numpy() for of in (observed.area_px, observed.read_px))
    sensor = Sensor(intrinsics[0], np.float32(CONSTANT_M), np.float32(observed.inverse_noise))
    compare(windows, mask_px, read_px, sensor, Cells.empty(), comparison)

    appearance = np.empty((len(poses), 6), np.float32)
    compare_appearance(windows, comparison, surfaces, pixels, _edges(image), appearance)

    before, after = np.split(comparison.terms, [FIRST_OF_APPEARANCE], axis=1)
    terms = np.concatenate([before, appearance, after], axis=1)
    inside = slice(PADDING, PADDING + CELLS)
    visible = comparison.visible.reshape(-1, STRIDE, STRIDE)[:, inside, inside] > 0
    return Evidence(*(torch.from_numpy(of) for of in (terms, visible, windows.origin, windows.cell_px)))


def _edges(image: ObservedImage) -> Edges:
    edges = image.edges
    if edges is None:
        return NO_EDGES
    return Edges(*(of.contiguous().numpy() for of in (edges.levels, edges.first, edges.height, edges.width)))
