"""Detections compared with the ground truth: matched by IoU, summarised by object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.sim.truth_files import TrueInstance

MIN_IOU = 0.5
"""Least IoU of a detection with the instance that it is matched with."""
MIN_VISIBLE_SHARE = 0.1
"""Least visible share of an instance that should be found."""


@dataclass(frozen=True)
class Match:
    """One detection and the true instance of its class that it covers best.

    Attributes:
        name: Its class.
        score: Its score.
        instance: Index of the instance, -1 = none.
        iou: IoU with it.
    """

    name: str
    score: float
    instance: int
    iou: float


@dataclass(frozen=True)
class ObjectSummary:
    """One object over all frames.

    Attributes:
        name: Its class.
        score: Best score in the frame that is shown, None = not found there.
        iou: IoU of that detection, None = not found there.
        mean_iou: Mean IoU of the detections that are right, None = none is.
        found: Instances found at MIN_IOU or better.
        visible: Instances that could have been found.
        false: Detections of this class that are something else.
    """

    name: str
    score: float | None
    iou: float | None
    mean_iou: float | None
    found: int
    visible: int
    false: int


def iou_of(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Compute the intersection over union of two masks.

    Args:
        first: (H, W) bool.
        second: (H, W) bool.

    Returns:
        IoU in [0, 1]; 0 where both are empty.
    """
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 0.0


def compare(detections: Any, labels: NDArray[np.uint16], truth: Sequence[TrueInstance]) -> list[Match]:
    """Match detections with true instances of their class, greedily in the order of the detections.

    Args:
        detections: vision_msgs/Detection2DArray, best score first.
        labels: (H, W) masks, k = detections[k - 1].
        truth: The instances in view.

    Returns:
        A match for each detection; an instance is matched at most once.
    """
    taken: set[int] = set()
    matches = []
    for number, detection in enumerate(detections.detections, start=1):
        hypothesis = detection.results[0].hypothesis
        mask = labels == number
        ious = [
            (iou_of(mask, instance.mask), index)
            for index, instance in enumerate(truth)
            if instance.name == hypothesis.class_id and index not in taken
        ]
        iou, index = max(ious, default=(0.0, -1))
        if iou >= MIN_IOU:
            taken.add(index)
        matches.append(Match(hypothesis.class_id, float(hypothesis.score), index if iou > 0 else -1, iou))
    return matches


def summarise(
    matches: Mapping[int, Sequence[Match]], truth: Mapping[int, Sequence[TrueInstance]], shown: int
) -> list[ObjectSummary]:
    """Summarise the matches of all frames by object.

    Args:
        matches: Matches by stamp of the frame.
        truth: True instances by stamp.
        shown: Stamp of the frame that is shown.

    Returns:
        A row for each known or detected object, sorted by name.
    """
    names = sorted(
        {t.name for view in truth.values() for t in view if t.known} | {m.name for row in matches.values() for m in row}
    )
    return [_summary(name, matches, truth, shown) for name in names]


def _summary(
    name: str, matches: Mapping[int, Sequence[Match]], truth: Mapping[int, Sequence[TrueInstance]], shown: int
) -> ObjectSummary:
    mine = [m for row in matches.values() for m in row if m.name == name]
    right = [m for m in mine if m.iou >= MIN_IOU]
    here = max((m for m in matches.get(shown, ()) if m.name == name), key=lambda m: m.iou, default=None)
    visible = sum(
        t.name == name and t.visible_share >= MIN_VISIBLE_SHARE for stamp in matches for t in truth.get(stamp, ())
    )
    return ObjectSummary(
        name=name,
        score=here.score if here else None,
        iou=here.iou if here else None,
        mean_iou=float(np.mean([m.iou for m in right])) if right else None,
        found=len(right),
        visible=visible,
        false=len(mine) - len(right),
    )
