"""What speaks for and against a detection, in a few words."""

from __future__ import annotations

from ism_ros.cli.evidence_text import evidence_items
from ism_ros.data.detection_evidence import EvidenceRecord


def evidence(**numbers: tuple[float, float]) -> EvidenceRecord:
    """Values and contributions by the names of features."""
    return {name: {"value": value, "contribution": contribution} for name, (value, contribution) in numbers.items()}


def test_the_two_that_speak_most_for_come_before_the_one_that_speaks_most_against() -> None:
    given = evidence(
        hidden=(0.1, -0.3),
        color_correlation=(0.41, -0.9),
        agreeing=(0.98, 0.8),
        inside=(0.9, 0.3),
        outline_iou=(0.93, 2.0),
    )
    assert evidence_items(given) == ["+ outline 0.93", "+ surface 0.98", "- color 0.41"]


def test_what_changes_next_to_nothing_is_not_told() -> None:
    assert evidence_items(evidence(outline_iou=(0.6, 0.1), hidden=(0.1, -0.1))) == []


def test_a_feature_without_a_text_has_its_name() -> None:
    assert evidence_items(evidence(some_new_term=(0.5, 1.0))) == ["+ some new term 0.50"]


def test_an_area_is_told_in_pixels() -> None:
    assert evidence_items(evidence(visible_pixels=(3.4, 1.0))) == ["+ 10^3.4 pixels"]


def test_of_a_detection_that_was_not_verified_nothing_is_told() -> None:
    assert evidence_items(None) == []
