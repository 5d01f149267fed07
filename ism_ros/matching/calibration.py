"""Probabilities that an object is there, from the evidence for its pose and from looks.

A logistic regression on the terms of the evidence, the looks, and their products in pairs, fitted to rendered scenes
with the noise of depth cameras (training.calibrate_scores), so that of detections with 0.8 about 80 % are right. There
are two probabilities: that the visible silhouette of the pose is the object's mask, and that the proposal is; where a
pose is wrong, or shape and depth say little, the proposal may be right all the same.

H poses, F features.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from ism_ros.checkpoints.shipped import load_weights
from ism_ros.pose.evidence import TERMS

LOOKS = ("semantic", "margin", "confidence")
"""Features beside the terms of the evidence: semantic score, its distance to the best other object's, and the
segmentor's confidence."""
FEATURES = len(TERMS) + len(LOOKS)
LIMIT = 4.0
"""Most standard deviations that a feature counts as away from its mean."""


class ScoreCalibration(nn.Module):
    """The fitted regressions.

    Attributes:
        mean, deviation: (F,) of the features.
        weights: (2, F + F (F + 1) / 2 + 1): of standardised features, of their products, and the constant.
        looks_weights: (len(LOOKS) + 1,), of standardised looks alone, and the constant.
    """

    mean: Tensor
    deviation: Tensor
    weights: Tensor
    looks_weights: Tensor

    def __init__(self) -> None:
        """Make one that knows nothing."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))
        self.register_buffer("weights", torch.zeros(2, FEATURES + FEATURES * (FEATURES + 1) // 2 + 1))
        self.register_buffer("looks_weights", torch.zeros(len(LOOKS) + 1))

    def forward(self, features: Tensor) -> Tensor:
        """Compute both probabilities.

        Args:
            features: (H, F), terms and looks.

        Returns:
            (H, 2) in [0, 1].
        """
        return (expanded(self.standardised(features, 0)) @ self.weights.T).sigmoid()

    def looks(self, looks: Tensor) -> Tensor:
        """Compute the probability that a proposal is an object by looks alone.

        Args:
            looks: (..., len(LOOKS)).

        Returns:
            (...) in [0, 1].
        """
        standardised = self.standardised(looks, len(TERMS))
        return (standardised @ self.looks_weights[:-1] + self.looks_weights[-1]).sigmoid()

    def standardised(self, values: Tensor, first: int) -> Tensor:
        """Standardise features (..., n), of which the first is number `first`."""
        chosen = slice(first, first + values.shape[-1])
        return ((values - self.mean[chosen]) / self.deviation[chosen]).clamp(-LIMIT, LIMIT)


def expanded(standardised: Tensor) -> Tensor:
    """Append the products of all pairs, and 1.

    Args:
        standardised: (H, F).

    Returns:
        (H, F + F (F + 1) / 2 + 1).
    """
    first, second = torch.triu_indices(standardised.shape[1], standardised.shape[1], device=standardised.device)
    products = standardised[:, first] * standardised[:, second]
    return torch.cat([standardised, products, torch.ones_like(standardised[:, :1])], dim=1)


@lru_cache
def shipped_calibration(device: torch.device) -> ScoreCalibration:
    """Load the calibration that ships with this package.

    Args:
        device: Where it is used.

    Returns:
        The calibration, shared by all who ask.

    Raises:
        CheckpointError: Its file is missing or changed.
    """
    calibration = ScoreCalibration()
    load_weights(calibration, "scores")
    return calibration.to(device)


def pose_probabilities(terms: Tensor, semantic: Tensor, margin: Tensor, confidence: Tensor) -> Tensor:
    """Compute how probable it is that objects are there in their poses.

    Args:
        terms: (H, E) evidence.
        semantic: (H,) semantic score of the object.
        margin: (H,) its distance to the best of the other objects'.
        confidence: (H,) of the segmentor.

    Returns:
        (H, 2) in [0, 1]: that the visible silhouette is right, and that the proposal is.
    """
    looks = torch.stack([semantic, margin, confidence], dim=1)
    probabilities: Tensor = shipped_calibration(terms.device)(torch.cat([terms, looks], dim=1))
    return probabilities


def looks_probability(semantic: Tensor, margin: Tensor, confidence: Tensor) -> Tensor:
    """Compute how probable it is that proposals are objects, by looks alone.

    Args:
        semantic: Semantic scores, of any shape.
        margin: Their distances to the best of the other objects', of that shape.
        confidence: Of the segmentor, of that shape.

    Returns:
        In [0, 1], of that shape.
    """
    looks = torch.stack([semantic, margin, confidence.expand_as(semantic)], dim=-1)
    return shipped_calibration(semantic.device).looks(looks)
