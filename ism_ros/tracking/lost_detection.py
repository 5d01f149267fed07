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

from ism_ros.refinement.observed_masks import ObservedMasks
from ism_ros.refinement.pose_batch import PoseBatch
from ism_ros.verification.color_agreement import light_of_image
from ism_ros.verification.evidence.gathering import gather_evidence
from ism_ros.verification.evidence.terms import Evidence, ObjectSamples
from ism_ros.verification.observed_image import ObservedImage

MIN_SEEN = 0.12
"""Least share of the silhouette that is visible: the rest is hidden, or has no reading."""
MIN_SCORE = 0.45
"""Score below which an instance is lost."""

CLOSE_WEIGHT, CORRELATION_WEIGHT = 0.2, 0.2
"""Weights of the terms close and color_correlation in the choice of a pose."""
MAX_CONTINUES, MAX_CHROMA = 0.3, 0.1
"""Shares of the surroundings and differences of colors from which on what is followed may be something else."""
USUAL_TERMS = ("chroma", "color_correlation", "continues")
"""Terms by which an instance is compared with itself."""
USUAL_RATE = 0.1
"""Share of a new frame in the usual terms."""
FREE_CHROMA, FREE_CORRELATION, FREE_CONTINUES = 0.03, 0.2, 0.15
CHROMA_SCALE, CORRELATION_SCALE, CONTINUES_SCALE = 0.1, 0.4, 0.4
"""Differences from the usual terms that are not strange, and by how much more each alone tells of something else."""
MAX_STRANGENESS = 1.0
"""Strangeness from which on an instance is lost."""


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
    image = ObservedImage(rgb, None, light_of_image(rgb))
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


def is_seen(terms: Mapping[str, float], usual: Mapping[str, float]) -> bool:
    """Tell whether an instance is where its pose says.

    Args:
        terms: Of `verification.evidence`, by name.
        usual: Those of USUAL_TERMS while it is followed; empty where they are not known yet.

    Returns:
        True where the evidence is for it.
    """
    return presence_score(terms) >= MIN_SCORE and strangeness(terms, usual) < MAX_STRANGENESS


def strangeness(terms: Mapping[str, float], usual: Mapping[str, float]) -> float:
    """Measure how much other than usual an instance looks: colors, texture, and what is around it.

    Of what is mostly hidden, texture says little.

    Args:
        terms: Of `verification.evidence`, by name.
        usual: As of `is_seen`.

    Returns:
        0 where it looks as usual or nothing is known, about 1 and more where it is something else.
    """
    if not usual:
        return 0.0
    chroma, texture, continues = (terms[name] - usual[name] for name in USUAL_TERMS)
    visible = 1 - terms["hidden"]
    return (
        max(0.0, chroma - FREE_CHROMA) / CHROMA_SCALE
        + max(0.0, -texture - FREE_CORRELATION) / CORRELATION_SCALE * visible * visible
        + max(0.0, continues - FREE_CONTINUES) / CONTINUES_SCALE
    )


def updated_usual(usual: Mapping[str, float], terms: Mapping[str, float]) -> Mapping[str, float]:
    """Learn how an instance looks, as long as that is not strange.

    Args:
        usual: As of `is_seen`.
        terms: Of `verification.evidence`, by name.

    Returns:
        The new ones.
    """
    if not usual:
        return {name: terms[name] for name in USUAL_TERMS}
    if strangeness(terms, usual) > MAX_STRANGENESS / 2:
        return usual
    return {name: usual[name] + USUAL_RATE * (terms[name] - usual[name]) for name in USUAL_TERMS}
