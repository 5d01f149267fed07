"""Whether an instance is still where it is followed, by the evidence of the present frame.

Of the terms of `verification.evidence`, the share of readings that agree with the model tells most: where the object
has been taken away, the camera looks through. What is flat leaves the surface under it at nearly the same depth; then
the colors have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ism_ros.pose.observed_masks import ObservedMasks
from ism_ros.pose.refinement import PoseBatch
from ism_ros.verification.color_agreement import light_of_image
from ism_ros.verification.evidence import Evidence, ObjectSamples, gather_evidence
from ism_ros.verification.image_edges import ImageEdges
from ism_ros.verification.observed_image import ObservedImage

MIN_SEEN = 0.12
"""Least share of the silhouette that is visible: the rest is hidden, or has no reading."""
MIN_SCORE = 0.45
"""Score below which an instance is lost."""

CLOSE_WEIGHT, CORRELATION_WEIGHT = 0.2, 0.2
"""Weights of the terms close and color_correlation in the choice of a pose."""
MAX_CONTINUES, MAX_CHROMA = 0.3, 0.1
"""Shares of the surroundings and differences of colors from which on what is followed may be something else."""
MAX_CHROMA_RISE = 0.1
"""By how much more than usual the colors may differ from the model's (`verification.color_agreement`)."""


def gather_pose_evidence(poses: PoseBatch, objects: ObjectSamples, observed: ObservedMasks, rgb: Tensor) -> Evidence:
    """Compare poses with a frame.

    Args:
        poses: H poses.
        objects: Samples of their objects.
        observed: Depth.
        rgb: (H, W, 3) uint8.

    Returns:
        The evidence; explained, outline_iou, inside, edges and inner_edges say nothing.
    """
    nothing = torch.zeros((1, *rgb.shape[:2]), dtype=torch.bool)
    no_area = torch.zeros(1)
    one = torch.ones(1, dtype=torch.int64)
    no_edges = ImageEdges(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), one, one)
    image = ObservedImage(rgb, no_edges, light_of_image(rgb))
    under_nothing = replace(poses, mask_index=torch.zeros_like(poses.mask_index))
    return gather_evidence(under_nothing, objects, replace(observed, area_px=no_area, read_px=no_area), nothing, image)


def presence_score(terms: Mapping[str, float]) -> float:
    """Score whether an instance is where its pose says.

    Args:
        terms: Of `verification.evidence`, by name.

    Returns:
        In [0, 1].
    """
    seen = (1 - terms["hidden"]) * terms["measured"]
    return terms["agreeing"] * min(1.0, seen / MIN_SEEN)


def pose_score(terms: Mapping[str, float]) -> float:
    """Score a pose, to choose between several of one instance: whether it is there, and how well depth and colors fit.

    Args:
        terms: Of `verification.evidence`, by name.

    Returns:
        About 1 where it is right.
    """
    fit = CLOSE_WEIGHT * terms["close"] + CORRELATION_WEIGHT * terms["color_correlation"] - terms["chroma"]
    return presence_score(terms) + fit


def is_distinct(terms: Mapping[str, float]) -> bool:
    """Tell whether the evidence is of the instance for sure, so that it need not be found by the search again.

    Args:
        terms: Of `verification.evidence`, by name.

    Returns:
        True where neither the same surface goes on around it nor its colors are others than the model's.
    """
    return terms["continues"] < MAX_CONTINUES and terms["chroma"] < MAX_CHROMA


def is_seen(terms: Mapping[str, float], usual_chroma: float) -> bool:
    """Tell whether an instance is where its pose says.

    Args:
        terms: Of `verification.evidence`, by name.
        usual_chroma: Difference of its colors from the model's while it is followed; NaN where it is not known yet.

    Returns:
        True where the evidence is for it.
    """
    has_its_colors = not terms["chroma"] > usual_chroma + MAX_CHROMA_RISE
    return presence_score(terms) >= MIN_SCORE and has_its_colors
