"""The files and images that detections become."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.detection_evidence import DetectionEvidence
from ism_ros.data.detections import Detections
from ism_ros.data.rle import decode_rle
from ism_ros.io.result_files import label_image, to_records, write_results


@pytest.fixture
def detections() -> Detections:
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 2:10, 3:12] = True
    masks[1, 6:15, 8:20] = True
    scores = torch.tensor([0.6, 0.9])
    return Detections(
        masks=masks,
        boxes_xyxy=boxes_from_masks(masks),
        object_index=torch.tensor([1, 0]),
        template_index=torch.tensor([3, 4]),
        score=scores,
        semantic_score=scores,
        appearance_score=scores,
        geometric_score=scores,
        visible_ratio=scores,
        rotation=torch.eye(3).expand(2, 3, 3),
        translation_m=torch.ones(2, 3),
        object_ids=("mug", "duck"),
        category_ids=(7, 5),
        stage_s={"proposals": 0.25, "scores": 0.5},
    )


def test_the_higher_score_is_on_top_in_the_label_image(detections: Detections) -> None:
    labels = label_image(detections)
    assert labels.dtype == np.uint16
    assert labels[3, 4] == 1
    assert labels[8, 10] == 2
    assert labels[0, 0] == 0


def test_records_are_what_a_pose_estimator_reads(detections: Detections) -> None:
    records = to_records(detections, scene_id=4, image_id=9)
    first = records[0]
    assert {key: first[key] for key in ("scene_id", "image_id", "category_id", "bbox", "time")} == {
        "scene_id": 4,
        "image_id": 9,
        "category_id": 5,
        "bbox": [3, 2, 8, 7],
        "time": 0.75,
    }
    assert first["score"] == pytest.approx(0.6)
    assert np.array_equal(decode_rle(first["segmentation"]), detections.masks[0].numpy())


def test_three_files_are_written(detections: Detections, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    write_results(folder, detections, np.full((20, 30, 3), (255, 0, 0), np.uint8))
    assert json.loads((folder / "detection_ism.json").read_text()) == to_records(detections)
    with np.load(folder / "detection_ism.npz") as archive:
        assert archive["category_id"].tolist() == [5, 7]
        assert archive["bbox"].shape == (2, 4)
    assert cv2.imread(str(folder / "vis_ism.png"))[0, 0].tolist() == [0, 0, 255]


def test_evidence_is_in_both_files_where_a_detection_was_verified(detections: Detections, tmp_path: Path) -> None:
    numbers = torch.tensor([[0.5, 2.0], [torch.nan, torch.nan]])
    verified = replace(detections, evidence=DetectionEvidence(("outline_iou", "hidden"), numbers, -numbers))
    write_results(tmp_path, verified, np.zeros((20, 30, 3), np.uint8))
    first, second = json.loads((tmp_path / "detection_ism.json").read_text())
    assert first["evidence"] == {
        "outline_iou": {"value": 0.5, "contribution": -0.5},
        "hidden": {"value": 2.0, "contribution": -2.0},
    }
    assert "evidence" not in second
    with np.load(tmp_path / "detection_ism.npz") as archive:
        assert archive["evidence_names"].tolist() == ["outline_iou", "hidden"]
        np.testing.assert_array_equal(archive["evidence_values"], numbers)
        np.testing.assert_array_equal(archive["evidence_contributions"], -numbers)


def test_no_detections_are_empty_files(tmp_path: Path) -> None:
    write_results(tmp_path, Detections.empty(20, 30), np.zeros((20, 30, 3), np.uint8))
    assert json.loads((tmp_path / "detection_ism.json").read_text()) == []
    with np.load(tmp_path / "detection_ism.npz") as archive:
        assert archive["bbox"].shape == (0, 4)


def test_rows_are_picked_together(detections: Detections) -> None:
    picked = detections[torch.tensor([1])]
    assert (len(picked), picked.class_id(0), picked.category_id(0)) == (1, "mug", 7)
    assert picked.boxes_xyxy.tolist() == [detections.boxes_xyxy[1].tolist()]


def test_a_picture_that_does_not_fit_on_the_disk_is_an_error(detections: Detections, tmp_path: Path) -> None:
    # a device that is always full stands for the disk
    (tmp_path / "vis_ism.png").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_results(tmp_path, detections, np.zeros((4, 6, 3), dtype=np.uint8))
