"""Probabilities that an object is there, from the evidence for its pose and from looks.

A few small networks, whose probabilities are averaged, see the terms of the evidence and the looks. They are fitted to
rendered scenes with the noise of depth cameras (training.score_calibration), so that of detections with 0.8 about 80 %
are right. There are two probabilities: that the visible silhouette of the pose is the object's mask, and that the
proposal is; where a pose is wrong, or shape and depth say little, the proposal may be right all the same.

The networks are monotone: more of what speaks for an object, such as surface that agrees, never lowers its probability,
and more of what speaks against it never raises it, whatever else is seen. Rendered scenes hold few of the odd
combinations that real ones do.

H poses, F features, E networks.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn

from ism_ros.checkpoints.shipped import load_weights
from ism_ros.verification.evidence.terms import TERMS

LOOKS = ("semantic", "margin", "confidence")
"""Features beside the terms of the evidence: semantic score, its distance to the best other object's or that of a
supposed one, and the segmentor's confidence."""
FEATURE_NAMES = (*TERMS, *LOOKS)
FEATURES = len(FEATURE_NAMES)
EVIDENCE_NAMES = (*FEATURE_NAMES, "single_instance")
"""All that makes a score: the features, and what other instances in the frame do to the probability."""
RISING = (
    "agreeing", "close", "explained", "outline_iou", "inside", "normals", "color_correlation", "edges", *LOOKS,
)  # fmt: skip
"""Features with which the probabilities never fall."""
FALLING = ("continues", "chroma", "balanced_chroma")
"""Features with which the probabilities never rise."""
NETWORKS, WIDTHS = 8, (24, 12)
"""Number of networks, E, and the widths of their hidden layers."""
CONVEX_SHARE = 0.75
"""Share of the units of a hidden layer whose activation is convex."""
WITH_DEPTH, WITHOUT_DEPTH = "scores", "scores_without_depth"
"""Names of the shipped weights."""
LOOKS_SLACK, LOOKS_RATE = 0.15, 5.0
"""How much less an instance may look like its object than the most probable one of the frame at no cost, cosine, and
what each further unit costs in log-odds."""
SINGLE_RATE = 1.5
"""What it costs an instance in log-odds that another one is certain to be the only one of the object."""
LIMIT = 4.0
"""Most standard deviations that a feature counts as away from its mean."""


class ScoreCalibration(nn.Module):
    """The fitted networks.

    Attributes:
        mean, deviation: (F,) of the features.
        weights, biases: Of the layers of all networks, (E, outputs, inputs) and (E, outputs). Weights are not negative,
            but for those of features in the first layer that are not RISING: of FALLING ones they are not positive.
        looks_weights: (len(LOOKS) + 1,) logistic regression on standardized looks alone, and its constant.
    """

    mean: Tensor
    deviation: Tensor
    looks_weights: Tensor

    def __init__(self) -> None:
        """Make networks that know nothing."""
        super().__init__()
        sizes = (FEATURES, *WIDTHS, 2)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))
        self.register_buffer("looks_weights", torch.zeros(len(LOOKS) + 1))
        self.weights = nn.ParameterList(
            torch.randn(NETWORKS, outputs, inputs) / inputs**0.5 for inputs, outputs in pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(NETWORKS, outputs) for outputs in sizes[1:])

    def forward(self, features: Tensor) -> Tensor:
        """Compute both probabilities.

        Args:
            features: (H, F), terms and looks.

        Returns:
            (H, 2) in [0, 1].
        """
        return self.logits(self.standardized(features)).sigmoid().mean(dim=0)

    def logits(self, standardized: Tensor, weights: Iterable[Tensor] | None = None) -> Tensor:
        """Compute the logits of each network.

        Args:
            standardized: (H, F) features, or (E, H, F) of each network.
            weights: Weights of the layers instead of its own.

        Returns:
            (E, H, 2).
        """
        values = standardized
        for layer, (weight, bias) in enumerate(zip(weights or self.weights, self.biases, strict=True)):
            values = values @ weight.mT + bias[:, None]
            if layer < len(WIDTHS):
                values = activation(values)
        return values

    def contributions(self, features: Tensor, is_silhouette: Tensor) -> Tensor:
        """Compute what each feature contributes to a probability: how its log-odds change without that feature.

        contribution[f] = logit(features) - logit(features with features[f] = mean[f]), where logit is the mean over the
        networks of the logit of the one probability, and mean[f] is over the scenes of the fit. Positive speaks for the
        detection, negative against it. The networks are not linear: contributions do not add up to the logit.

        Args:
            features: (H, F), terms and looks.
            is_silhouette: (H,) bool, whether it is the probability of the silhouette, not that of the proposal.

        Returns:
            (H, F).
        """
        standardized = self.standardized(features)[:, None]
        count = features.shape[1]
        # standardized, the mean is 0
        without = standardized * (1 - torch.eye(count, device=features.device))
        both = self.logits(torch.cat([standardized, without], dim=1).flatten(0, 1)).mean(dim=0)
        of_silhouette, of_proposal = both.view(-1, count + 1, 2).unbind(dim=2)
        logit = torch.where(is_silhouette[:, None], of_silhouette, of_proposal)
        return logit[:, :1] - logit[:, 1:]

    def looks(self, looks: Tensor) -> Tensor:
        """Compute the probability that a proposal is an object by looks alone.

        Args:
            looks: (..., len(LOOKS)).

        Returns:
            (...) in [0, 1].
        """
        standardized = self.standardized(looks, len(TERMS))
        return (standardized @ self.looks_weights[:-1] + self.looks_weights[-1]).sigmoid()

    def standardized(self, values: Tensor, first: int = 0) -> Tensor:
        """Standardize features.

        Args:
            values: (..., n) features.
            first: Number of the first of them.

        Returns:
            (..., n), in standard deviations from the mean, at most LIMIT.
        """
        chosen = slice(first, first + values.shape[-1])
        return ((values - self.mean[chosen]) / self.deviation[chosen]).clamp(-LIMIT, LIMIT)


def feature_signs() -> Tensor:
    """Return 1 for each RISING feature, -1 for FALLING ones, 0 for the others: (F,) float32."""
    return torch.tensor([float(name in RISING) - float(name in FALLING) for name in FEATURE_NAMES])


def activation(values: Tensor) -> Tensor:
    """Apply ELU(x) to the first CONVEX_SHARE of units and -ELU(-x) to the others.

    Both rise, so that networks without negative weights rise too; together they make curves of any bend (Runje and
    Shankaranarayana, Constrained Monotonic Neural Networks, 2023).

    Args:
        values: (..., units).

    Returns:
        The same shape.
    """
    convex, concave = values.tensor_split([int(CONVEX_SHARE * values.shape[-1])], dim=-1)
    return torch.cat([nn.functional.elu(convex), -nn.functional.elu(-concave)], dim=-1)


@lru_cache
def shipped_calibration(device: torch.device, with_depth: bool = True) -> ScoreCalibration:
    """Load a calibration that ships with this package.

    Args:
        device: Where it is used.
        with_depth: Whether it is that of frames with depth, or of pictures without.

    Returns:
        The calibration, shared by all who ask.

    Raises:
        CheckpointError: Its file is missing or changed.
    """
    calibration = ScoreCalibration()
    load_weights(calibration, WITH_DEPTH if with_depth else WITHOUT_DEPTH)
    return calibration.requires_grad_(False).to(device)


def pose_probabilities(
    terms: Tensor, semantic: Tensor, margin: Tensor, confidence: Tensor, with_depth: bool = True
) -> Tensor:
    """Compute how probable it is that objects are there in their poses.

    Args:
        terms: (H, E) evidence.
        semantic: (H,) semantic score of the object.
        margin: (H,) its distance to the best of the other objects'.
        confidence: (H,) of the segmentor.
        with_depth: Whether the frame has depth.

    Returns:
        (H, 2) in [0, 1]: that the visible silhouette is right, and that the proposal is.
    """
    calibration = shipped_calibration(terms.device, with_depth)
    probabilities: Tensor = calibration(pose_features(terms, semantic, margin, confidence))
    return probabilities


def pose_features(terms: Tensor, semantic: Tensor, margin: Tensor, confidence: Tensor) -> Tensor:
    """Put together what the networks see.

    Args:
        terms: (H, E) evidence.
        semantic: (H,), as of `pose_probabilities`.
        margin: (H,), likewise.
        confidence: (H,), likewise.

    Returns:
        (H, F), terms and then looks.
    """
    return torch.cat([terms, torch.stack([semantic, margin, confidence], dim=1)], dim=1)


def score_contributions(features: Tensor, is_silhouette: Tensor, with_depth: bool = True) -> Tensor:
    """Compute what each feature contributes to the scores of detections, as `ScoreCalibration.contributions`.

    Args:
        features: (H, F), of `pose_features`.
        is_silhouette: (H,) bool, whether the score is the probability of the silhouette, not that of the proposal.
        with_depth: Whether the frame has depth.

    Returns:
        (H, F), log-odds.
    """
    return shipped_calibration(features.device, with_depth).contributions(features, is_silhouette)


def looks_probability(semantic: Tensor, margin: Tensor, confidence: Tensor, with_depth: bool = True) -> Tensor:
    """Compute how probable it is that proposals are objects, by looks alone.

    Args:
        semantic: Semantic scores, of any shape.
        margin: Their distances to the best of the other objects', of that shape.
        confidence: Of the segmentor, of that shape.
        with_depth: Whether the frame has depth.

    Returns:
        In [0, 1], of that shape.
    """
    looks = torch.stack([semantic, margin, confidence.expand_as(semantic)], dim=-1)
    return shipped_calibration(semantic.device, with_depth).looks(looks)


def unlike_leaders(probability: Tensor, semantic: Tensor) -> Tensor:
    """Compute what speaks against instances that look much less like an object than its most probable one in the frame.

    Whether the colors of a CAD model are right, and what camera and light make of them, is the same for all
    instances in a frame. With l the most probable instance (the leader) of an object, and s the semantic scores,

        log-odds(n) -= LOOKS_RATE * probability(l) * max(0, s(l) - s(n) - LOOKS_SLACK)

    Args:
        probability: (N, O) of N proposals and O objects.
        semantic: (N, O) semantic scores.

    Returns:
        (N, O) log-odds, 0 or less; 0 of leaders.
    """
    highest, leader = probability.max(dim=0)
    missing = (semantic.gather(0, leader[None]) - semantic - LOOKS_SLACK).clamp(min=0)
    return -LOOKS_RATE * highest * missing


def single_instance(probability: Tensor, object_index: Tensor) -> Tensor:
    """Compute how probable it is that another instance of the object is the only one in the frame.

    Most scenes hold one of an object, so that a second, doubtful one is something else; of several likely ones, as in a
    full bin, none is less probable for the others. With l the most probable instance (the leader) of n's object, and
    products over its instances m,

        single(n) = probability(l) * product over m but n and l of (1 - probability(m)),  0 of leaders
        log-odds(n) -= SINGLE_RATE * single(n)

    Args:
        probability: (M,) of instances that share no pixels.
        object_index: (M,) int64.

    Returns:
        (M,) in [0, 1].
    """
    if not len(probability):
        return probability
    is_same = object_index[:, None] == object_index
    of_object = probability.expand_as(is_same).where(is_same, 0.0)
    highest, leader = of_object.max(dim=1)
    itself = torch.arange(len(probability), device=probability.device)
    absent = (1 - of_object).index_put((itself, leader), probability.new_ones(()))
    absent = absent.index_put((itself, itself), probability.new_ones(()))
    return (highest * absent.prod(dim=1)).masked_fill(leader == itself, 0.0)


def with_log_odds(probability: Tensor, added: Tensor) -> Tensor:
    """Add log-odds to probabilities.

    Args:
        probability: Of any shape.
        added: Log-odds, of the same shape.

    Returns:
        Probabilities, of the same shape; those to which nothing is added, and those that are 0, stay as they are.
    """
    changed = (probability.logit(eps=1e-6) + added).sigmoid()
    return torch.where((added != 0) & (probability > 0), changed, probability)
