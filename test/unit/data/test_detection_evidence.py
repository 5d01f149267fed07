"""Evidence for and against detections, as JSON has it and back."""

from __future__ import annotations

import torch

from ism_ros.data.detection_evidence import DetectionEvidence, EvidenceRecord

BOX: EvidenceRecord = {
    "outline_iou": {"value": 0.9, "contribution": 2.5},
    "hidden": {"value": 0.0, "contribution": -0.5},
}


def test_records_are_read_as_they_were_made() -> None:
    values = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    evidence = DetectionEvidence(("outline_iou", "hidden"), values, -values)
    read = DetectionEvidence.from_records([evidence.record(row) for row in range(3)])
    assert read is not None
    assert read.names == evidence.names
    assert torch.equal(read.values, evidence.values)
    assert torch.equal(read.contributions, evidence.contributions)


def test_a_detection_that_was_not_verified_has_no_record_among_others_that_have_one() -> None:
    read = DetectionEvidence.from_records([None, BOX])
    assert read is not None
    assert read.is_verified().tolist() == [False, True]
    assert read.record(0) is None
    assert read.record(1) is not None


def test_where_no_detection_was_verified_there_is_no_evidence() -> None:
    assert DetectionEvidence.from_records([None, None]) is None
    assert DetectionEvidence.from_records([]) is None
