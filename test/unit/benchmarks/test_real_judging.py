"""Judging of real frames: what is found, best, false, and how far poses are off."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

from accuracy.frame_variants import brightened, moved
from accuracy.real_frames import Instance, RealFrame
from accuracy.real_judging import (
    add_s_mm,
    average_precision,
    detection_ious,
    instance_ious,
    judge_instances,
    score_reliability,
    verdicts_of,
)

from ism_ros.data.camera import Camera
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.objects.spec import ObjectSpec

SIZE = 60
OBJECTS = ("can", "mug")


def square(left: int, top: int, side: int = 20) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def instance(name: str, left: int, top: int, visible_share: float = 1.0, with_mask: bool = True) -> Instance:
    box = np.array([left, top, left + 19, top + 19])
    return Instance(name, square(left, top) if with_mask else None, box, visible_share)


def real_frame(*instances: Instance, is_complete: bool = True) -> RealFrame:
    camera = Camera(np.array([[60.0, 0, 30], [0, 60, 30], [0, 0, 1]]), SIZE, SIZE)
    frame = Frame(np.zeros((SIZE, SIZE, 3), np.uint8), None, camera)
    return RealFrame("frame", frame, tuple(ObjectSpec(name) for name in OBJECTS), instances, is_complete)


def proposals(*masks: np.ndarray) -> Proposals:
    stack = np.array(masks, bool).reshape(-1, SIZE, SIZE)
    return Proposals(torch.from_numpy(stack), torch.ones(len(masks)))


def detections(*rows: tuple[str, np.ndarray, float]) -> Detections:
    n = len(rows)
    seen = proposals(*(mask for _, mask, _ in rows))
    return Detections(
        masks=seen.masks,
        boxes_xyxy=seen.boxes_xyxy,
        object_index=torch.tensor([OBJECTS.index(name) for name, _, _ in rows], dtype=torch.int64),
        template_index=torch.zeros(n, dtype=torch.int64),
        score=torch.tensor([score for _, _, score in rows]),
        semantic_score=torch.zeros(n),
        appearance_score=torch.zeros(n),
        geometric_score=torch.zeros(n),
        visible_ratio=torch.zeros(n),
        rotation=torch.full((n, 3, 3), torch.nan),
        translation_m=torch.full((n, 3), torch.nan),
        object_ids=OBJECTS,
        category_ids=(1, 2),
    )


def test_an_instance_is_found_by_a_detection_of_its_object_above_the_threshold() -> None:
    truth = real_frame(instance("can", 0, 0), instance("mug", 30, 30))
    found = detections(("can", square(2, 0), 0.7), ("mug", square(30, 30), 0.3))
    can, mug = judge_instances(truth, found, proposals(square(2, 0), square(30, 30)), 0.4)
    assert (can.is_found, can.best_is_right, can.cause) == (True, True, "")
    assert can.iou == pytest.approx(18 / 22)
    assert (mug.is_found, mug.best_is_right, mug.cause) == (False, True, "not certain enough: 0.30")


def test_the_cause_of_a_miss_is_told() -> None:
    truth = real_frame(instance("can", 0, 0))
    cases = {
        "no proposal": (detections(), proposals(square(15, 15))),
        "taken for mug": (detections(("mug", square(0, 0), 0.9)), proposals(square(0, 0))),
        "its proposal is no detection of it": (detections(), proposals(square(0, 0))),
    }
    for cause, (found, proposed) in cases.items():
        assert judge_instances(truth, found, proposed, 0.4)[0].cause == cause


def test_a_better_detection_elsewhere_is_told_by_its_score() -> None:
    truth = real_frame(instance("can", 0, 0))
    found = detections(("can", square(40, 40), 0.8), ("can", square(0, 0), 0.6))
    (can,) = judge_instances(truth, found, proposals(square(0, 0)), 0.4)
    assert can.is_found
    assert not can.best_is_right
    assert can.wrong_score == pytest.approx(0.8)


def test_one_of_several_is_best_where_any_of_them_is() -> None:
    truth = real_frame(instance("can", 0, 0), instance("can", 30, 30))
    found = detections(("can", square(30, 30), 0.8))
    first, second = judge_instances(truth, found, proposals(), 0.4)
    assert (first.is_found, first.best_is_right, first.wrong_score) == (False, True, 0.0)
    assert second.is_found


def test_hardly_visible_instances_are_not_asked_for_and_their_detections_not_false() -> None:
    truth = real_frame(instance("can", 0, 0, visible_share=0.2))
    found = detections(("can", square(0, 0), 0.9), ("mug", square(0, 0), 0.8))
    assert judge_instances(truth, found, proposals(), 0.4) == ()
    assert verdicts_of(truth, found, detection_ious(truth.instances, found)) == ("right", "false")


def test_nothing_is_false_where_not_all_instances_are_listed() -> None:
    truth = real_frame(instance("can", 0, 0), is_complete=False)
    found = detections(("can", square(40, 40), 0.9))
    assert verdicts_of(truth, found, detection_ious(truth.instances, found)) == ("unjudged",)


def test_boxes_are_compared_where_there_is_no_mask() -> None:
    shifted = square(10, 0)
    seen = proposals(shifted, square(40, 40))
    ious = instance_ious(instance("can", 0, 0, with_mask=False), seen.masks.numpy(), seen.boxes_xyxy.numpy())
    assert ious == pytest.approx([1 / 3, 0.0])


def test_average_precision_is_one_where_all_is_found_and_counts_no_frame_without_masks() -> None:
    truth = real_frame(instance("can", 0, 0), instance("mug", 30, 30))
    found = detections(("can", square(0, 0), 0.9), ("mug", square(30, 30), 0.1))
    boxed = real_frame(instance("can", 0, 0, with_mask=False))
    numbers = average_precision([(truth, found), (boxed, detections())])
    assert numbers == pytest.approx({"AP": 1.0, "AP50": 1.0, "AP_frames": 1})
    assert np.isnan(average_precision([(boxed, detections())])["AP"])


def test_symmetries_are_no_error_of_a_pose_and_shifts_are() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ring = np.stack([0.05 * np.cos(angle), 0.05 * np.sin(angle), np.zeros(400)], axis=1)
    turned, lifted = np.eye(4), np.eye(4)
    turned[:2, :2] = [[0, -1], [1, 0]]
    lifted[2, 3] = 0.01
    assert add_s_mm(ring, np.eye(4), turned) == pytest.approx(0.0, abs=1e-6)
    assert add_s_mm(ring, np.eye(4), lifted) == pytest.approx(10.0)


def test_scores_are_held_against_how_often_they_are_right() -> None:
    truth = real_frame(instance("can", 0, 0))
    found = detections(("can", square(0, 0), 0.9), ("can", square(30, 30), 0.8), ("mug", square(0, 0), 0.1))
    partly = real_frame(instance("can", 0, 0), is_complete=False)
    assert score_reliability([(truth, found), (partly, found)], (0.0, 0.5, 0.7, 1.0)) == [
        (0.0, 0.5, 0.0, 1),
        (0.7, 1.0, 0.5, 2),
    ]


def test_a_moved_frame_shows_the_same_with_its_truth() -> None:
    truth = real_frame(instance("can", 10, 20))
    truth.frame.rgb[20:40, 10:30] = 200
    other = moved(truth, 3)
    (one,) = other.instances
    assert one.mask is not None
    assert (other.frame.rgb[one.mask] == 200).all()
    assert one.box_xyxy.tolist() == [13, 23, 32, 42]
    u, v, depth_m = np.array([12.0]), np.array([25.0]), np.array([0.5])
    there = other.frame.camera.back_project(u + 3, v + 3, depth_m)
    np.testing.assert_allclose(there, truth.frame.camera.back_project(u, v, depth_m))


def test_a_brightened_frame_ends_at_white() -> None:
    truth = real_frame()
    truth.frame.rgb[0, 0], truth.frame.rgb[0, 1] = 100, 250
    bright = brightened(truth, 1.12).frame.rgb
    assert bright[0, :2, 0].tolist() == [112, 255]
