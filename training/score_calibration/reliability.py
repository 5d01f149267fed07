"""Reliability of the probabilities: what share of the detections of each probability is right.

A detection is the most probable object of a proposal, by the larger of both probabilities; it is right where the mask
that this probability is of has an IoU of at least 0.5 with an instance of the object. D detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.matching.calibration import ScoreCalibration
from ism_ros.runtime.atomic_files import open_atomically
from training.score_calibration.evidence_store import EvidenceRows

BINS = 10
"""Bins of probability."""


@dataclass(frozen=True)
class ScoredDetections:
    """Detections and their truth.

    Attributes:
        probability: (D,) in [0, 1].
        is_right: (D,) bool.
        instance: (D,) int64, the instance that the mask is best for; -1 = none.
        to_be_found: (I,) int64, instances of known objects that are well visible.
    """

    probability: NDArray[np.float32]
    is_right: NDArray[np.bool_]
    instance: NDArray[np.int64]
    to_be_found: NDArray[np.int64]

    def precision(self, threshold: float) -> float:
        """Compute the share of the detections above a threshold that is right; 1 where there are none."""
        above = self.probability >= threshold
        return float(self.is_right[above].mean()) if above.any() else 1.0

    def recall(self, threshold: float) -> float:
        """Compute the share of the instances to be found that right detections above a threshold are of."""
        found = self.instance[(self.probability >= threshold) & self.is_right]
        return float(np.isin(self.to_be_found, found).mean()) if len(self.to_be_found) else 1.0


@dataclass(frozen=True)
class ReliabilityBin:
    """Detections whose probability lies within a bin.

    Attributes:
        low, high: Bounds of the bin.
        count: Number of detections.
        predicted: Mean probability; NaN without detections.
        right: Share that is right; NaN without detections.
    """

    low: float
    high: float
    count: int
    predicted: float
    right: float


@torch.no_grad()
def detections_of(calibration: ScoreCalibration, rows: EvidenceRows) -> ScoredDetections:
    """Take the most probable object of each proposal.

    Args:
        calibration: The networks.
        rows: Evidence.

    Returns:
        One detection for each proposal that has verified poses.
    """
    both = calibration(torch.from_numpy(rows.features)).numpy()
    mask = both.argmax(axis=1)
    each = both.max(axis=1)
    order = np.argsort(-each, kind="stable")
    best = order[np.unique(rows.proposal[order], return_index=True)[1]]
    return ScoredDetections(
        each[best],
        rows.labels[best, mask[best]] > 0,
        rows.instance[best, mask[best]],
        rows.to_be_found,
    )


def reliability_bins(detections: ScoredDetections, bins: int = BINS) -> list[ReliabilityBin]:
    """Bin detections by their probability.

    Args:
        detections: The detections.
        bins: Number of bins of equal width.

    Returns:
        The bins, in order.
    """
    index = (detections.probability * bins).astype(int).clip(0, bins - 1)
    out = []
    for number in range(bins):
        chosen = index == number
        count = int(chosen.sum())
        predicted = float(detections.probability[chosen].mean()) if count else np.nan
        right = float(detections.is_right[chosen].mean()) if count else np.nan
        out.append(ReliabilityBin(number / bins, (number + 1) / bins, count, predicted, right))
    return out


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Compute the expected calibration error (Naeini et al. 2015).

    Args:
        bins: Of `reliability_bins`, or some of them.

    Returns:
        Mean distance of predicted probability and share that is right, weighted by counts.
    """
    filled = [one for one in bins if one.count]
    total = sum(one.count for one in filled)
    return sum(one.count * abs(one.predicted - one.right) for one in filled) / max(total, 1)


def draw_reliability(bins: Sequence[ReliabilityBin], path: Path) -> None:
    """Draw predicted probability against the share that is right, with counts.

    Args:
        bins: Of `reliability_bins`.
        path: The .png file.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    filled = [one for one in bins if one.count]
    right = np.array([one.right for one in filled])
    # Wilson's interval: never beyond 0 and 1
    counts = np.array([one.count for one in filled])
    middle = (right + 2 / counts) / (1 + 4 / counts)
    reach = 2 * np.sqrt(right * (1 - right) / counts + 1 / counts**2) / (1 + 4 / counts)
    predicted = np.array([one.predicted for one in filled])
    figure, axis = plt.subplots(figsize=(5.2, 4.8))
    axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axis.vlines(predicted, middle - reach, middle + reach, color="tab:blue", alpha=0.5)
    axis.plot(predicted, right, "o-", color="tab:blue", linewidth=1)
    for one in filled:
        axis.annotate(f"{one.count:,}", (one.predicted, one.right), (5, -11), textcoords="offset points", fontsize=8)
    axis.set(xlabel="predicted probability", ylabel="share that is right", xlim=(0, 1.06), ylim=(-0.04, 1.04))
    axis.set_title("Detections of held-out scenes, with their numbers", fontsize=10)
    figure.tight_layout()
    with open_atomically(path, "wb") as stream:
        figure.savefig(stream, dpi=100, format="png")
    plt.close(figure)
