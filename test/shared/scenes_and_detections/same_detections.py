"""Whether two ways to the same frame found the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ism_ros.data.detections import Detections
from ism_ros.data.rle import decode_rle

NOT_TRIVIAL = (0.0002, 0.98)
"""Of masks that cover nothing or everything, two ways would agree too easily: share of the image."""


@dataclass(frozen=True)
class Instance:
    """One detection. mask: (H, W) bool. box_xyxy: inclusive, pixels."""

    category_id: int
    score: float
    mask: NDArray[np.bool_]
    box_xyxy: tuple[int, ...]


def instances_of(detections: Detections) -> list[Instance]:
    return [
        Instance(
            detections.category_id(row),
            float(detections.score[row]),
            detections.masks[row].cpu().numpy(),
            tuple(detections.boxes_xyxy[row].tolist()),
        )
        for row in range(len(detections))
    ]


def instances_of_records(records: Sequence[dict[str, Any]], bop_boxes: bool) -> list[Instance]:
    """Of detection_ism.json, whose boxes are last minus first, or of BOP predictions, whose boxes count pixels."""
    rows = []
    for record in records:
        x, y, width, height = (int(side) for side in record["bbox"])
        last = (x + width - bop_boxes, y + height - bop_boxes)
        rows.append(
            Instance(record["category_id"], record["score"], decode_rle(record["segmentation"]), (x, y, *last))
        )
    return rows


def boxed_by_masks(instances: Sequence[Instance]) -> list[Instance]:
    """With the boxes of their masks, as BOP predictions have them: those of FastSAM are its network's."""
    rows = []
    for one in instances:
        v, u = np.nonzero(one.mask)
        rows.append(replace(one, box_xyxy=(int(u.min()), int(v.min()), int(u.max()), int(v.max()))))
    return rows


def assert_same(found: Sequence[Instance], expected: Sequence[Instance]) -> None:
    """The same objects in the same order at the same pixels; scores may differ by what sums in another order do."""
    assert any(NOT_TRIVIAL[0] < one.mask.mean() < NOT_TRIVIAL[1] for one in expected)
    assert [one.category_id for one in found] == [one.category_id for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.box_xyxy == other.box_xyxy
