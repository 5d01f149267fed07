"""Fit of the networks that turn evidence and looks into probabilities (matching.calibration)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, softplus

from ism_ros.matching.calibration import FEATURES, LOOKS, NETWORKS, ScoreCalibration, feature_signs
from training.score_calibration.evidence_store import EvidenceRows

BATCH = 512
"""Poses a batch."""
RATE, WEIGHT_DECAY = 3e-3, 1e-2
"""Highest learning rate, and weight decay, of AdamW."""
FEATURE_NOISE = 0.3
"""Standard deviation of the noise on standardized features: rendered evidence is cleaner than that of real frames."""
MIN_WEIGHT, MIN_DEVIATION = 1e-3, 1e-3
"""Least weight at the start, and least standard deviation of a feature."""
LOOKS_RIDGE, LOOKS_STEPS = 5.0, 50
"""Penalty of squared weights, and Newton steps, of the logistic regression on looks."""
PROPOSAL = 1
"""Column of the labels which says that the proposal is right."""


def fit_calibration(rows: EvidenceRows, epochs: int, seed: int, rate: float = RATE) -> ScoreCalibration:
    """Fit all networks, each to the rows in an order and with a start of its own.

    Args:
        rows: Evidence to fit to.
        epochs: How many times each row is seen.
        seed: Of starts, orders and noise.
        rate: Highest learning rate; little evidence needs a higher one.

    Returns:
        The calibration.
    """
    torch.manual_seed(seed)
    features, labels = torch.from_numpy(rows.features), torch.from_numpy(rows.labels)
    calibration = ScoreCalibration()
    calibration.mean = features.mean(dim=0)
    calibration.deviation = features.std(dim=0) + MIN_DEVIATION
    standardized = calibration.standardized(features)
    free = [nn.Parameter(weight) for weight in free_weights(calibration)]
    optimizer = torch.optim.AdamW([*free, *calibration.biases], rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        orders = torch.stack([torch.randperm(len(rows)) for _ in range(NETWORKS)])
        for chosen in orders.split(BATCH, dim=1):
            noisy = standardized[chosen] + FEATURE_NOISE * torch.randn(*chosen.shape, FEATURES)
            logits = calibration.logits(noisy, monotone_weights(free))
            # the networks share nothing, so that the mean over them is NETWORKS times too small for each
            loss = NETWORKS * binary_cross_entropy_with_logits(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        for weight, fitted in zip(calibration.weights, monotone_weights(free), strict=True):
            weight.copy_(fitted)
    calibration.looks_weights = fit_looks(rows, standardized[:, -len(LOOKS) :], labels[:, PROPOSAL])
    return calibration.eval().requires_grad_(False)


def free_weights(calibration: ScoreCalibration) -> list[Tensor]:
    """Make weights without bounds, of which `monotone_weights` makes those of the networks.

    Args:
        calibration: Networks as they begin, of which only the sizes of weights count.

    Returns:
        (E, outputs, inputs) of each layer.
    """
    first, *others = (weight.detach() for weight in calibration.weights)
    bounded = feature_signs() != 0
    return [torch.where(bounded, _softplus_inverse(first.abs()), first), *(_softplus_inverse(w.abs()) for w in others)]


def monotone_weights(free: Sequence[Tensor]) -> list[Tensor]:
    """Bound weights so that the networks are monotone, as of matching.calibration.

    Args:
        free: Weights without bounds, of each layer.

    Returns:
        The weights of the networks.
    """
    signs = feature_signs()
    first, *others = free
    return [torch.where(signs != 0, signs * softplus(first), first), *map(softplus, others)]


def _softplus_inverse(values: Tensor) -> Tensor:
    return values.clamp(min=MIN_WEIGHT).expm1().log()


def fit_looks(rows: EvidenceRows, looks: Tensor, is_right: Tensor) -> Tensor:
    """Fit the logistic regression on looks alone, by Newton's method.

    Args:
        rows: Evidence; the looks of all poses of a pair of proposal and object are the same, and count once.
        looks: (H, len(LOOKS)), standardized.
        is_right: (H,) 1 where the proposal is right.

    Returns:
        (len(LOOKS) + 1,) weights and the constant.
    """
    pairs = np.unique(np.stack([rows.proposal, rows.object]), axis=1, return_index=True)[1]
    inputs = torch.cat([looks, torch.ones(len(looks), 1)], dim=1)[pairs].double()
    target = is_right[pairs].double()
    weights = torch.zeros(inputs.shape[1], dtype=torch.float64)
    for _ in range(LOOKS_STEPS):
        probability = (inputs @ weights).sigmoid()
        spread = (probability * (1 - probability))[:, None]
        hessian = (inputs * spread).T @ inputs + LOOKS_RIDGE * torch.eye(len(weights), dtype=torch.float64)
        gradient = inputs.T @ (target - probability) - LOOKS_RIDGE * weights
        weights = weights + torch.linalg.solve(hessian, gradient)
    return weights.float()


@torch.no_grad()
def log_loss(calibration: ScoreCalibration, rows: EvidenceRows) -> float:
    """Compute the cross entropy of both probabilities.

    Args:
        calibration: The networks.
        rows: Evidence.

    Returns:
        Mean over rows and probabilities, nats.
    """
    return float(binary_cross_entropy(calibration(torch.from_numpy(rows.features)), torch.from_numpy(rows.labels)))
