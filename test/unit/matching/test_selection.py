"""Which of the scored proposals are published."""

from __future__ import annotations

from typing import Any

import pytest
from some_detections import Rectangle, detections_of

from ism_ros.config.settings import Settings
from ism_ros.matching.selection import select

LEFT: Rectangle = (0, 0, 19, 19)
NEARLY_LEFT: Rectangle = (1, 0, 20, 19)
RIGHT: Rectangle = (40, 0, 59, 19)
BELOW: Rectangle = (0, 30, 19, 49)


def selected(
    rectangles: list[Rectangle], scores: list[float], objects: list[int] | None = None, **settings: Any
) -> list[int]:
    found = detections_of(rectangles, scores, objects or [0] * len(scores))
    return select(found, Settings(**settings)).tolist()


def test_those_from_the_threshold_on_are_left_best_first() -> None:
    assert selected([LEFT, RIGHT, BELOW], [0.5, 0.25, 0.75], score_threshold=0.5) == [2, 0]


def test_nothing_is_left_only_where_no_score_reaches_the_threshold() -> None:
    strict = {"nms_threshold": 0.0, "overlap_threshold": 0.0, "max_detections": 1}
    assert selected([LEFT, LEFT, LEFT], [0.5, 0.6, 0.4], [0, 1, 0], score_threshold=0.6, **strict) == [1]
    assert selected([LEFT, LEFT, LEFT], [0.5, 0.6, 0.4], [0, 1, 0], score_threshold=0.7, **strict) == []
    assert selected([], [], []) == []


def test_one_object_has_the_best_of_boxes_that_overlap() -> None:
    assert selected([LEFT, NEARLY_LEFT, RIGHT], [0.7, 0.8, 0.6], nms_threshold=0.25) == [1, 2]
    assert selected([LEFT, NEARLY_LEFT], [0.7, 0.8], nms_threshold=1.0, overlap_threshold=1.0) == [1, 0]


@pytest.mark.parametrize(("overlap_threshold", "rows"), [(0.5, [1, 2]), (1.0, [1, 0, 2])])
def test_one_region_is_one_object_unless_it_may_be_several(overlap_threshold: float, rows: list[int]) -> None:
    objects = [0, 1, 1]
    assert selected([LEFT, NEARLY_LEFT, RIGHT], [0.7, 0.8, 0.6], objects, overlap_threshold=overlap_threshold) == rows


def test_at_most_so_many_are_left_the_best_ones() -> None:
    assert selected([LEFT, RIGHT, BELOW], [0.6, 0.8, 0.7], max_detections=2) == [1, 2]
