"""Ground truth on disk, its comparison with detections, and frames from folders: the base of demo and fake camera."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ism_ros.io.frame_files import FrameFileError
from ism_ros.sim import truth_files
from ism_ros.sim.demo.truth_comparison import compare, summarise
from ism_ros.sim.frame_sources import folder_views
from ism_ros.sim.synthesis.ground_truth import GroundTruth
from ism_ros.sim.truth_files import TrueInstance


def square(left: int, top: int, side: int = 10) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def detections(*found: tuple[str, float, np.ndarray]):
    """What the node publishes: a Detection2DArray, reduced to what is compared, and its mask image."""
    labels = np.zeros((40, 60), np.uint16)
    rows = []
    for number, (name, score, mask) in enumerate(found, start=1):
        labels[mask] = number
        rows.append(
            SimpleNamespace(results=[SimpleNamespace(hypothesis=SimpleNamespace(class_id=name, score=score))])
        )
    return SimpleNamespace(detections=rows), labels


def test_truth_is_read_back_as_it_was_written(tmp_path):
    truth = GroundTruth(
        masks=np.stack([square(0, 0), square(30, 20)]),
        names=("mug", "duck"),
        known=np.array([True, False]),
        object_to_camera=np.stack([np.eye(4)] * 2),
        visible_share=np.array([1.0, 0.25]),
    )
    truth_files.clear(tmp_path)
    truth_files.write_view(tmp_path, 0, truth)
    truth_files.write_view(tmp_path, 3, truth)
    views = truth_files.read_views(tmp_path)
    assert sorted(views) == [0, 3]
    assert [(t.name, t.known, t.visible_share) for t in views[3]] == [
        ("mug", True, 1.0),
        ("duck", False, 0.25),
    ]
    np.testing.assert_array_equal(views[3][1].mask, truth.masks[1])


def test_a_line_of_stamps_that_is_still_being_written_is_left_out(tmp_path):
    (tmp_path / truth_files.STAMPS).write_text("100,0\n200,1\n30")
    assert truth_files.read_stamps(tmp_path) == {100: 0, 200: 1}


def test_clearing_removes_an_earlier_runs_truth(tmp_path):
    (tmp_path / truth_files.STAMPS).write_text("100,0\n")
    (tmp_path / truth_files.TRUTH).write_text(json.dumps({"views": {}}))
    truth_files.clear(tmp_path)
    assert truth_files.read_stamps(tmp_path) == {}
    assert truth_files.read_views(tmp_path) == {}


def test_a_true_instance_is_given_to_one_detection_only():
    truth = [TrueInstance("mug", True, 1.0, square(0, 0)), TrueInstance("mug", True, 1.0, square(30, 20))]
    found = detections(("mug", 0.9, square(0, 0)), ("mug", 0.8, square(1, 10)), ("mug", 0.7, square(30, 20)))
    matches = compare(*found, truth)
    assert [(m.instance, round(m.iou, 2)) for m in matches] == [(0, 1.0), (-1, 0.0), (1, 1.0)]


def test_a_detection_of_the_wrong_object_matches_nothing():
    truth = [TrueInstance("mug", True, 1.0, square(0, 0))]
    (match,) = compare(*detections(("duck", 0.9, square(0, 0))), truth)
    assert match.iou == 0.0


def test_the_summary_counts_found_missed_hidden_and_false():
    view = [
        TrueInstance("mug", True, 1.0, square(0, 0)),
        TrueInstance("can", True, 0.8, square(20, 0)),
        TrueInstance("car", True, 0.05, square(40, 0)),
        TrueInstance("stranger", False, 1.0, square(0, 20)),
    ]
    first = compare(*detections(("mug", 0.9, square(0, 0)), ("duck", 0.5, square(0, 20))), view)
    second = compare(*detections(("mug", 0.8, square(1, 0))), view)
    rows = {r.name: r for r in summarise({1: first, 2: second}, {1: view, 2: view}, shown=2)}
    assert set(rows) == {"mug", "can", "car", "duck"}
    assert (rows["mug"].found, rows["mug"].visible, rows["mug"].false) == (2, 2, 0)
    assert rows["mug"].score == 0.8
    assert rows["mug"].iou == pytest.approx(90 / 110)
    assert (rows["can"].found, rows["can"].visible, rows["can"].score) == (0, 2, None)
    assert rows["car"].visible == 0
    assert (rows["duck"].found, rows["duck"].false) == (0, 1)


def write_frame(folder, prefix=""):
    cv2.imwrite(str(folder / f"{prefix}rgb.png"), np.full((12, 16, 3), (10, 20, 30), np.uint8))
    cv2.imwrite(str(folder / f"{prefix}depth.png"), np.full((12, 16), 1500, np.uint16))
    camera = {"cam_K": [20, 0, 8, 0, 20, 6, 0, 0, 1], "depth_scale": 1.0}
    (folder / "camera.json").write_text(json.dumps(camera))


def test_folders_give_their_frames_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 0):
        write_frame(tmp_path, f"{number}_")
    cv2.imwrite(str(tmp_path / "2_rgb.png"), np.full((12, 16, 3), 99, np.uint8))
    frames = list(folder_views(tmp_path))
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [30, 99, 30]
    assert frames[0].depth_m[0, 0] == pytest.approx(1.5)


def test_folders_without_frames_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"rgb\.png"):
        next(folder_views(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        next(folder_views(tmp_path / "nowhere"))
    write_frame(tmp_path)
    (tmp_path / "depth.png").unlink()
    with pytest.raises(FrameFileError, match=r"depth\.png"):
        next(folder_views(tmp_path))
