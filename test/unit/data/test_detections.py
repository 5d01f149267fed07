"""Detections as a container: rows by number, slice, list and mask, one by one, and their ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ism_ros.data.detection_evidence import DetectionEvidence
from ism_ros.data.detections import Detections


@pytest.fixture
def found() -> Detections:
    """Three detections in an image of 4 x 6 pixels."""
    nothing = Detections.empty(4, 6)
    fields = {
        name: torch.zeros((3, *value.shape[1:]), dtype=value.dtype)
        for name, value in vars(nothing).items()
        if isinstance(value, torch.Tensor)
    }
    fields["score"] = torch.tensor([0.9, 0.8, 0.6])
    fields["object_index"] = torch.tensor([1, 0, 1])
    numbers = torch.tensor([[0.25, 1.0], [torch.nan, torch.nan], [0.75, 3.0]])
    evidence = DetectionEvidence(("outline_iou", "hidden"), numbers, numbers - 1)
    return replace(nothing, **fields, object_ids=("mug", "drill"), category_ids=(1, 2), evidence=evidence)


@pytest.mark.parametrize(
    ("index", "scores"),
    [
        (0, [0.9]),
        (-1, [0.6]),
        (slice(0, 2), [0.9, 0.8]),
        ([2, 0], [0.6, 0.9]),
        (torch.tensor([True, False, True]), [0.9, 0.6]),
        (torch.tensor([1]), [0.8]),
    ],
)
def test_rows_are_chosen_by_number_slice_list_and_mask(found: Detections, index: Any, scores: list[float]) -> None:
    chosen = found[index]
    assert chosen.score.tolist() == pytest.approx(scores)
    assert chosen.masks.shape == (len(scores), 4, 6)


def test_a_row_that_is_not_there_is_an_index_error(found: Detections) -> None:
    with pytest.raises(IndexError):
        found[3]


def test_detections_come_one_by_one_best_first(found: Detections) -> None:
    assert [one.class_id(0) for one in found] == ["drill", "mug", "drill"]
    assert all(len(one) == 1 for one in found)


def test_class_ids_are_those_of_the_rows(found: Detections) -> None:
    assert found.class_ids() == ["drill", "mug", "drill"]


def test_rows_keep_their_evidence(found: Detections) -> None:
    chosen = replace(found[found.score < 0.85].to("cpu"), stage_s={"scores": 0.1})
    assert chosen.evidence_of(0) is None
    assert chosen.evidence_of(1) == {
        "outline_iou": {"value": 0.75, "contribution": -0.25},
        "hidden": {"value": 3.0, "contribution": 2.0},
    }
    assert [one.evidence_of(0) is None for one in found] == [False, True, False]


def test_detections_of_matchers_that_verify_no_poses_have_no_evidence(found: Detections) -> None:
    assert replace(found, evidence=None)[[0, 2]].evidence_of(0) is None
