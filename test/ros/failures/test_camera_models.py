"""Cameras as they are: lenses, rectified images, calibrations that come once, depth of another camera, gray images."""

import time
from contextlib import closing

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from ism_ros.data.rle import decode_rle
from ism_ros.node.event_log import RECENT_S

WARN, ERROR, OK = DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.OK


def poses(masks):
    """Position (m) and mask of each class that was found, the best of each."""
    found = {}
    for instance in masks.instances:
        mask = decode_rle({"size": [instance.height, instance.width], "counts": instance.rle_counts})
        position = instance.pose.position
        found.setdefault(instance.class_id, (np.array([position.x, position.y, position.z]), mask))
    return found


@pytest.fixture(scope="module")
def plain(lasting_cell):
    """Poses and masks of the frame as it is, without a lens."""
    found = poses(lasting_cell.result("masks"))
    assert set(found) == {"duck", "drill"}
    return found


@pytest.fixture
def cell_with(start_cell, parameters):
    """Starts a cell of its own and closes it in the end."""
    cells = []

    def start(options=(), topics=("detections", "masks"), more=(), **changed):
        cell = start_cell({**parameters, **changed}, list(topics), more=list(more))
        cells.append(cell)
        cell.wait_until("active", timeout_s=180.0)
        cell.connect(*options)
        return cell

    yield start
    for cell in cells:
        cell.close()


def assert_same_places(found, plain, within_m=0.004):
    for class_id, (position_m, _) in plain.items():
        assert class_id in found
        assert np.linalg.norm(found[class_id][0] - position_m) < within_m, class_id


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


# lenses


def moved_by_lens(mask, intrinsics, distortion):
    """Where the pixels of a pinhole picture's mask are behind the lens."""
    rows, columns = np.nonzero(mask)
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=1) @ np.linalg.inv(intrinsics).T
    pixels = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), intrinsics, np.array(distortion))[0].reshape(-1, 2)
    columns, rows = np.rint(pixels).astype(int).T
    inside = (columns >= 0) & (rows >= 0) & (columns < mask.shape[1]) & (rows < mask.shape[0])
    moved = np.zeros(mask.shape, np.uint8)
    moved[rows[inside], columns[inside]] = 1
    return cv2.morphologyEx(moved, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)).astype(bool)


def test_masks_are_in_the_pixels_of_the_raw_image_and_poses_without_its_lens(shared_cell, plain, workspace):
    found = poses(shared_cell.result("masks", alter="with_lens"))
    assert_same_places(found, plain, within_m=0.007)
    with np.load(workspace / "frame.npz") as stored:
        intrinsics = stored["intrinsics"]
    for class_id, (_, mask) in plain.items():
        behind_lens = moved_by_lens(mask, intrinsics, (-0.30, 0.10, 0.001, -0.001, 0.0))
        assert iou(found[class_id][1], behind_lens) > 0.75
        assert iou(found[class_id][1], behind_lens) > iou(found[class_id][1], mask)


def test_boxes_mask_image_and_overlay_are_those_of_the_raw_image(shared_cell):
    masks = shared_cell.result("masks", alter="with_lens")
    stamp = masks.header.stamp.sec, masks.header.stamp.nanosec
    listener = shared_cell.listener
    labels = listener.wait_for(lambda: listener.with_stamp("mask_image", stamp), "mask_image")
    assert (labels.width, labels.height) == (640, 480)
    overlay = listener.wait_for(lambda: listener.with_stamp("overlay", stamp), "overlay")
    assert (overlay.width, overlay.height) == (640, 480)
    for instance in masks.instances:
        mask = decode_rle({"size": [instance.height, instance.width], "counts": instance.rle_counts})
        rows, columns = np.nonzero(mask)
        assert instance.bbox.center.position.x == (columns.min() + columns.max()) / 2
        assert instance.bbox.size_y == rows.max() - rows.min() + 1


@pytest.mark.faults
def test_of_rectified_images_p_is_the_matrix(cell_with, plain):
    cell = cell_with(rectified="rectified")
    assert_same_places(poses(cell.result("masks", alter="rectified")), plain, within_m=1e-6)


def test_the_name_of_the_topic_tells_that_images_are_rectified(cell_with, plain):
    cell = cell_with(["--rgb", "image_rect_color"], more=["-r", "rgb:=image_rect_color"])
    assert_same_places(poses(cell.result("masks", alter="rectified")), plain, within_m=1e-6)


def test_a_fisheye_is_refused_in_a_sentence_that_names_it_and_image_proc(shared_cell):
    # rejected frames are an error where none could be used of late, and a warning before
    def is_idle():
        age_s = shared_cell.listener.values().get("last_result_age_s")
        return age_s == "" or (age_s is not None and float(age_s) > RECENT_S)

    shared_cell.listener.wait_for(is_idle, "no result of late")
    began_s = time.monotonic()
    finish = shared_cell.camera.start_publishing(20, rate_hz=10.0, alter="fisheye")
    shared_cell.listener.assert_told("camera", ERROR, "'equidistant'", "image_proc", since_s=began_s)
    finish()
    assert shared_cell.result().detections


@pytest.mark.parametrize("alter", ["binned", "region"])
def test_binning_and_a_region_of_interest_are_applied_to_the_matrix(shared_cell, plain, alter):
    found = poses(shared_cell.result("masks", alter=alter))
    assert set(found) == set(plain)
    # the drill, far away and half hidden, may be posed another way where fewer pixels show it
    assert_same_places(found, {"duck": plain["duck"]}, within_m=0.015)


# calibrations that come once, or now and then


def test_a_camera_info_latched_before_the_node_came_is_used_and_said(cell_with):
    cell = cell_with(["--latched-info"])
    cell.camera.publish(without=["rgb", "depth"])
    cell.publish_until(
        lambda: cell.listener.messages["detections"], "a result", count=20, rate_hz=10.0, without=["camera_info"]
    )
    cell.listener.wait_for(lambda: cell.listener.count("noticed.camera_info_held"), "the notice")
    assert "the last camera_info is used" in cell.node.output
    # no later silence of that topic is a fault
    cell.publish_until(
        lambda: cell.listener.level("camera") == OK, "OK", count=40, rate_hz=10.0, without=["camera_info"]
    )


@pytest.mark.faults
def test_a_camera_info_slower_than_the_images_answers_them_all(cell_with):
    cell = cell_with()
    cell.result()
    listener = cell.listener
    for _ in range(3):
        cell.camera.publish()
        cell.camera.publish(10, rate_hz=10.0, without=["camera_info"])
    # what gives way to newer ones counts as dropped
    listener.wait_for(lambda: listener.count("frames_processed") + listener.count("frames_dropped") >= 34, "all frames")
    listener.wait_for(lambda: listener.count("noticed.camera_info_held"), "the notice")


# depth of another camera


def test_depth_of_another_frame_is_said_with_the_drivers_parameter(shared_cell):
    said = "align_depth.enable:=true", "depth_registration:=true", "depth_camera_info", "/tf_static"
    began_s = time.monotonic()
    finish = shared_cell.camera.start_publishing(40, rate_hz=10.0, frame_ids={"depth": "depth_optical_frame"})
    shared_cell.listener.assert_told("camera", WARN, *said, since_s=began_s)
    assert shared_cell.listener.count("noticed.depth_not_registered")
    finish()


def test_depth_of_a_camera_beside_is_registered_where_its_place_is_known(cell_with, plain, workspace):
    cell = cell_with(["--depth-camera"])
    cell.result("masks")  # the first frame may come before the transform, and is then registered by its edges
    found = poses(cell.result("masks"))
    # plain has the noise and the shadows of a stereo camera, this depth has none: a coarse pose may be of another view
    near = [np.linalg.norm(found[name][0] - plain[name][0]) < 0.015 for name in found]
    assert any(near)
    with np.load(workspace / "frame.npz") as stored:
        truth = dict(zip(stored["truth_ids"].tolist(), stored["truth_masks"], strict=True))
    # with depth that is not registered neither object is found at all
    ious = {class_id: iou(found[class_id][1], mask) for class_id, mask in truth.items()}
    assert min(ious.values()) > 0.5
    # of a drill its body alone may be a proposal
    assert any(ious[class_id] > iou(plain[class_id][1], mask) - 0.1 for class_id, mask in truth.items())
    assert cell.listener.count("noticed.depth_not_registered") <= 1


# two cameras on one topic


def test_two_cameras_on_one_topic_are_named_with_their_nodes(cell_with):
    cell = cell_with()
    with closing(cell.start_camera("--name", "second")) as second:
        second.wait_for_subscribers()
        began_s = time.monotonic()
        finishes = [camera.start_publishing(80, rate_hz=10.0) for camera in (cell.camera, second)]
        namespace = cell.listener.node.get_namespace()
        said = "has 2 publishers", f"{namespace}/camera", f"{namespace}/second", "stop all but one"
        cell.listener.wait_for(
            lambda: all(words in cell.listener.text("camera") for words in said), "both cameras named"
        )
        assert cell.listener.level("camera") == WARN
        print(f"{time.monotonic() - began_s:.1f} s")
        for finish in finishes:
            finish()
    assert not cell.listener.count("noticed.frames_lost")


# pictures


@pytest.mark.faults
def test_a_gray_picture_is_said_once(cell_with):
    cell = cell_with()
    for _ in range(3):
        cell.result(alter="mono")
    cell.listener.wait_for(lambda: cell.listener.count("noticed.grey_image"), "the notice")
    assert cell.listener.count("noticed.grey_image") == 1
    assert "the rgb image has no colors" in cell.node.output


@pytest.mark.faults
def test_an_empty_frame_id_is_said_once(cell_with):
    cell = cell_with()
    for _ in range(3):
        cell.result(frame_ids={"rgb": ""})
    cell.listener.wait_for(lambda: cell.listener.count("noticed.empty_frame_id"), "the notice")
    assert cell.listener.count("noticed.empty_frame_id") == 1
    assert "rgb has no frame_id" in cell.node.output


# slow cameras


@pytest.mark.faults
def test_of_a_camera_with_3_hz_it_is_said_that_half_of_its_depth_is_missing(cell_with):
    cell = cell_with()
    cell.result()
    stop_s = time.monotonic() + 40.0
    while time.monotonic() < stop_s and not cell.listener.count("noticed.frames_incomplete"):
        cell.camera.publish()
        time.sleep(1 / 3)
        cell.camera.publish(without=["depth"])
        time.sleep(1 / 3)
    assert "came only" in cell.node.output


@pytest.mark.faults
def test_the_silence_is_told_and_not_the_patience(cell_with):
    cell = cell_with()
    cell.result()
    cell.listener.wait_for(lambda: "no frame for 12 s" in cell.listener.text("camera"), "the seconds", 20.0)
