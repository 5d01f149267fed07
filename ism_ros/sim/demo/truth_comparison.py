"""Detections of a frame against its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.sim.truth_files import TrueInstance

RIGHT_IOU = 0.5
LEAST_VISIBLE = 0.1


@dataclass(frozen=True)
class Match:
    """One detection and the true instance of its object that it covers best. instance: index, -1 = none."""

    name: str
    score: float
    instance: int
    iou: float


@dataclass(frozen=True)
class ObjectSummary:
    """One object over all frames. score, iou: in the frame that is shown, None = not found there.

    found: instances found at RIGHT_IOU or better, of `visible` that could have been; false: detections of this
    object that were something else.
    """

    name: str
    score: float | None
    iou: float | None
    mean_iou: float | None
    found: int
    visible: int
    false: int


def iou_of(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks (H, W); 0 where both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 0.0


def compare(detections: Any, labels: NDArray[np.uint16], truth: Sequence[TrueInstance]) -> list[Match]:
    """Each detection (vision_msgs/Detection2DArray, masks in `labels`), best first, with a true instance of its own.

    An instance goes to the best scored detection that covers it best; later ones must take another or none.
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
        if iou >= RIGHT_IOU:
            taken.add(index)
        matches.append(Match(hypothesis.class_id, float(hypothesis.score), index if iou > 0 else -1, iou))
    return matches


def summarise(
    matches: Mapping[int, Sequence[Match]], truth: Mapping[int, Sequence[TrueInstance]], shown: int
) -> list[ObjectSummary]:
    """A row for each known object, by name; keys are the frames' stamps."""
    names = sorted(
        {t.name for view in truth.values() for t in view if t.known} | {m.name for row in matches.values() for m in row}
    )
    return [_summary(name, matches, truth, shown) for name in names]


def _summary(
    name: str, matches: Mapping[int, Sequence[Match]], truth: Mapping[int, Sequence[TrueInstance]], shown: int
) -> ObjectSummary:
    mine = [m for row in matches.values() for m in row if m.name == name]
    right = [m for m in mine if m.iou >= RIGHT_IOU]
    here = max((m for m in matches.get(shown, ()) if m.name == name), key=lambda m: m.iou, default=None)
    visible = sum(
        t.name == name and t.visible_share >= LEAST_VISIBLE for stamp in matches for t in truth.get(stamp, ())
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
