"""What an active node publishes, over DDS, for frames of a best-effort camera in another process."""

import json

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from ism_ros.data.rle import decode_rle
from ism_ros.matching.calibration import EVIDENCE_NAMES

FRAME_ID = "camera_color_optical_frame"
RESULT_TOPICS = ("detections", "mask_image", "masks", "overlay")


@pytest.fixture(scope="module")
def truth(workspace):
    """The rendered scene: rgb, and the mask of each known object by its id."""
    with np.load(workspace / "frame.npz") as stored:
        masks = dict(zip(stored["truth_ids"].tolist(), stored["truth_masks"], strict=True))
        return stored["rgb"], masks


@pytest.fixture(scope="module")
def results(lasting_cell):
    """All result messages of one frame."""
    detections = lasting_cell.result("detections")
    stamp = detections.header.stamp.sec, detections.header.stamp.nanosec
    listener = lasting_cell.listener
    return {
        topic: listener.wait_for(lambda topic=topic: listener.with_stamp(topic, stamp), topic)
        for topic in RESULT_TOPICS
    }


def labels_of(message):
    return np.frombuffer(message.data, "<u2").reshape(message.height, message.width)


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def test_every_result_carries_the_stamp_and_frame_of_its_rgb_image(results):
    # the fixture found them by the stamp that the camera gave the rgb image
    assert {message.header.frame_id for message in results.values()} == {FRAME_ID}
    assert all(d.header == results["detections"].header for d in results["detections"].detections)


def test_each_known_object_is_found_where_it_is(results, truth):
    labels = labels_of(results["mask_image"])
    found = {}
    for detection in results["detections"].detections:
        hypothesis = detection.results[0].hypothesis
        found.setdefault(hypothesis.class_id, labels == int(detection.id))
    for object_id, mask in truth[1].items():
        assert iou(found[object_id], mask) >= 0.5


def test_detections_come_best_first_with_scores_between_0_and_1(results):
    scores = [d.results[0].hypothesis.score for d in results["detections"].detections]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 < score <= 1.0 for score in scores)


def test_ids_in_the_mask_image_are_those_of_the_detections(results):
    message = results["mask_image"]
    assert (message.encoding, message.height, message.width, message.step) == ("mono16", 480, 640, 1280)
    ids = {int(detection.id) for detection in results["detections"].detections}
    assert ids == set(range(1, len(ids) + 1))
    assert set(np.unique(labels_of(message)).tolist()) <= ids | {0}


def test_instance_masks_agree_with_detections_and_mask_image(results):
    labels = labels_of(results["mask_image"])
    masks, detections = results["masks"].instances, results["detections"].detections
    assert len(masks) == len(detections) > 0
    for instance, detection in zip(masks, detections, strict=True):
        whole = decode_rle({"size": [instance.height, instance.width], "counts": instance.rle_counts})
        assert str(instance.id) == detection.id
        assert instance.class_id == detection.results[0].hypothesis.class_id
        assert instance.score == pytest.approx(detection.results[0].hypothesis.score, abs=1e-6)
        assert instance.bbox == detection.bbox
        assert instance.pose == detection.results[0].pose.pose
        assert whole[labels == instance.id].all(), "the mask image shows a part of the whole mask"


def test_each_instance_has_what_speaks_for_and_against_it(results):
    for instance in results["masks"].instances:
        assert tuple(instance.evidence_names) == EVIDENCE_NAMES
        assert len(instance.evidence_values) == len(instance.evidence_contributions) == len(EVIDENCE_NAMES)
        assert np.isfinite([*instance.evidence_values, *instance.evidence_contributions]).all()
        assert max(instance.evidence_contributions) > 0


def test_boxes_are_tight_around_the_masks(results):
    for instance in results["masks"].instances:
        mask = decode_rle({"size": [instance.height, instance.width], "counts": instance.rle_counts})
        rows, columns = np.nonzero(mask)
        assert instance.bbox.center.position.x == (columns.min() + columns.max()) / 2
        assert instance.bbox.center.position.y == (rows.min() + rows.max()) / 2
        assert instance.bbox.size_x == columns.max() - columns.min() + 1
        assert instance.bbox.size_y == rows.max() - rows.min() + 1


def test_the_coarse_pose_lies_behind_the_surface_under_the_mask(results, workspace):
    with np.load(workspace / "frame.npz") as stored:
        depth_m = stored["depth_m"]
    for instance in results["masks"].instances:
        mask = decode_rle({"size": [instance.height, instance.width], "counts": instance.rle_counts})
        under = depth_m[mask & (depth_m > 0)]
        assert 0.0 < instance.pose.position.z - under.min() < 0.15


def test_the_overlay_is_the_rgb_image_with_something_drawn_on_it(results, truth):
    message = results["overlay"]
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    assert message.encoding == "rgb8"
    changed = (pixels != truth[0]).any(axis=2)
    masks = labels_of(results["mask_image"]) > 0
    assert changed[masks].mean() > 0.9
    nearby = cv2.dilate(masks.astype(np.uint8), np.ones((81, 321))).astype(bool)
    assert not changed[~nearby].any()


def test_vision_info_reaches_a_late_subscriber(shared_cell, workspace):
    shared_cell.listener.unsubscribe("vision_info")
    shared_cell.listener.messages["vision_info"].clear()
    shared_cell.listener.subscribe("vision_info")
    message = shared_cell.listener.wait_for(
        lambda: shared_cell.listener.messages["vision_info"] and shared_cell.listener.messages["vision_info"][-1],
        "vision_info",
    )
    database = json.loads(message.database_location)
    assert database["objects_file"] == str(workspace / "objects.yaml")
    # the node is shared: objects may have been added and removed before
    assert sorted(entry["id"] for entry in database["objects"]) == ["drill", "duck"]
    assert message.database_version >= 2


def test_diagnostics_tell_rate_latency_counts_and_objects(shared_cell):
    shared_cell.result()
    listener = shared_cell.listener
    listener.wait_for(lambda: listener.count("frames_processed") > 0, "a processed frame in /diagnostics")
    values = listener.values()
    assert values["objects"] == "2"
    assert values["device"] == "cpu"
    assert float(values["memory_mb.process"]) > 10
    for stage in ("synchronisation", "conversion", "proposals", "inference", "publishing", "stamp_to_publish"):
        assert 0.0 <= float(values[f"latency_ms.{stage}.median"]) <= float(values[f"latency_ms.{stage}.percentile_95"])
    shared_cell.publish_until(lambda: listener.status.level == DiagnosticStatus.OK, "level OK")


def test_bgr_frames_give_the_same_detections_as_rgb_frames(shared_cell, results):
    detections = shared_cell.result(alter="bgr")
    assert [d.results[0].hypothesis for d in detections.detections] == [
        d.results[0].hypothesis for d in results["detections"].detections
    ]


def test_a_frame_with_no_object_gives_an_empty_answer(shared_cell):
    assert shared_cell.result(alter="plane").detections == []
    assert shared_cell.listener.wait_for(
        lambda: shared_cell.listener.count("noticed.nothing_found"), "nothing_found in /diagnostics"
    )


def test_overlay_and_masks_are_made_only_while_someone_listens(shared_cell):
    listener = shared_cell.listener
    for topic in ("overlay", "masks"):
        listener.unsubscribe(topic)
    before = {topic: len(listener.messages[topic]) for topic in ("overlay", "masks")}
    shared_cell.result()
    assert {topic: len(listener.messages[topic]) for topic in ("overlay", "masks")} == before
    for topic in ("overlay", "masks"):
        listener.subscribe(topic)
    shared_cell.publish_until(
        lambda: all(len(listener.messages[topic]) > before[topic] for topic in ("overlay", "masks")),
        "overlay and masks",
    )


def test_frames_that_come_faster_than_the_model_are_dropped_and_the_newest_is_answered(shared_cell):
    listener = shared_cell.listener
    dropped = listener.count("frames_dropped")
    answered_before = len(listener.messages["detections"])
    stamps = shared_cell.camera.start_publishing(60, rate_hz=30.0)()
    last = listener.wait_for(
        lambda: next((s for s in stamps[-3:] if listener.with_stamp("detections", s)), None),
        "an answer to the newest frames",
    )
    answered = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in listener.messages["detections"][answered_before:]]
    assert last in stamps
    assert answered == sorted(answered), "no frame is answered after a newer one"
    assert len(answered) < len(stamps)
    listener.wait_for(lambda: listener.count("frames_dropped") > dropped, "dropped frames in /diagnostics")


def test_frames_published_after_a_burst_are_answered(shared_cell):
    listener = shared_cell.listener
    before = len(listener.messages["detections"])
    shared_cell.camera.start_publishing(60, rate_hz=60.0)()
    first = shared_cell.camera.publish()[0]
    # on an overloaded machine the transport may lose one frame, but not several that nothing else competes with
    stamps = [first, *(shared_cell.camera.publish()[0] for _ in range(2))]
    listener.wait_for(
        lambda: any(listener.with_stamp("detections", stamp) for stamp in stamps),
        "the answer to one of the last frames",
    )
    since = listener.messages["detections"][before:]
    newer = [m for m in since if (m.header.stamp.sec, m.header.stamp.nanosec) > stamps[-1]]
    assert not newer
