"""`~/segment` beside the stream, without a stream, and what it says to requests that it cannot answer."""

import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import numpy as np
import pytest
from ism_ros.srv import AddObject, ListObjects, RemoveObject, Segment
from real_can import CAN, CAN_CAD, CAN_UNITS, assert_is_the_can, needs_real_can
from segment_requests import frame_messages
from sensor_msgs.msg import CameraInfo, Image

from ism_ros.data.rle import decode_rle
from ism_ros.io.frame_files import read_frame

WAITING = 4


@pytest.fixture(scope="module")
def cell(lasting_cell, start_cell, parameters):
    """A node without autostart and without a camera; `lasting_cell` has filled the cache."""
    cell = start_cell({**parameters, "autostart": False}, topics=["detections"])
    try:
        cell.wait_until("unconfigured")
        yield cell
    finally:
        cell.close()


@pytest.fixture(scope="module")
def inactive(cell):
    assert cell.listener.transition("configure")
    return cell


@pytest.fixture(scope="module")
def active(inactive):
    """Active, with a camera that is silent."""
    assert inactive.listener.transition("activate")
    inactive.connect()
    inactive.result()
    return inactive


@pytest.fixture(scope="module")
def frame(workspace):
    """A request with a whole frame."""
    with np.load(workspace / "frame.npz") as stored:
        return frame_messages(stored["rgb"], stored["depth_m"], stored["intrinsics"])


def segment(cell, **fields):
    return cell.listener.call(Segment, "segment", Segment.Request(**fields), 120.0)


def test_an_unconfigured_node_says_so(cell, frame):
    response = segment(cell, **frame)
    assert not response.success
    assert "configure it first" in response.message


def test_an_inactive_node_segments_a_given_frame(inactive, frame):
    response = segment(inactive, **frame, object_ids=["duck"])
    assert response.success, response.message
    assert {d.results[0].hypothesis.class_id for d in response.detections.detections} == {"duck"}


@pytest.mark.slow
@needs_real_can
def test_the_can_of_a_real_camera_comes_first_and_whole(inactive):
    can = read_frame(CAN / "rgb.png", CAN / "depth.png", CAN / "camera.json")
    added = inactive.listener.call(
        AddObject, "add_object", AddObject.Request(id="can", cad=str(CAN_CAD), units=CAN_UNITS), 240.0
    )
    assert added.success, added.message
    response = segment(inactive, **frame_messages(can.rgb, can.depth_m, can.camera.intrinsics), object_ids=["can"])
    inactive.listener.call(RemoveObject, "remove_object", RemoveObject.Request(id="can"), 60.0)
    assert response.success, response.message
    first = response.masks.instances[0]
    mask = decode_rle({"size": [first.height, first.width], "counts": first.rle_counts})
    assert_is_the_can(first.score, mask)


def test_an_inactive_node_without_a_camera_says_what_is_missing_after_the_timeout(inactive):
    began = time.monotonic()
    response = segment(inactive, timeout=1.0)
    assert not response.success
    assert time.monotonic() - began >= 1.0
    assert "nobody publishes" in response.message
    assert "give a frame" in response.message


def test_an_inactive_node_takes_one_frame_of_the_camera_and_listens_no_more(inactive):
    camera = inactive.camera = inactive._start_camera()
    camera.start_publishing(100_000, rate_hz=10.0)
    response = segment(inactive)
    camera.kill()
    assert response.success, response.message
    assert response.detections.detections
    assert response.detections.header.frame_id == "camera_color_optical_frame"
    listener = inactive.listener
    listener.wait_for(lambda: listener.reliability_of_input("rgb") == [], "no subscription")
    assert listener.messages["detections"] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rgb": Image(width=640, height=480, encoding="rgb8", step=1920)}, "0 bytes of data"),
        ({"rgb": Image(data=[1, 2, 3])}, "rgb is 0 x 0"),
        ({"rgb": Image(width=640, encoding="rgb8")}, "640 x 0"),
        ({"rgb": Image(width=1, height=1, encoding="", step=3, data=[1, 2, 3])}, "encoding ''"),
        ({"depth": Image(width=2**31, height=2**31, encoding="16UC1", step=4)}, "4 bytes a row"),
        ({"camera_info": CameraInfo()}, "camera_info"),
        ({"object_ids": ["duck", "unicorn", "yeti"]}, "not known: unicorn, yeti; known: duck, drill"),
        ({"timeout": -1.0}, "timeout is -1"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"timeout": 1e-3}, "longer timeout"),
    ],
)
def test_a_wrong_request_is_refused_with_what_is_wrong(inactive, frame, changes, said):
    response = segment(inactive, **{**frame, **changes})
    assert not response.success
    assert said in response.message
    assert "\n" not in response.message
    assert inactive.node.process.poll() is None


def test_requests_wait_beside_each_other_and_one_too_many_is_refused(active):
    age = "last_frame_age_s"
    active.listener.wait_for(lambda: float(active.listener.values().get(age) or 0) > 1.5, "a camera that is silent")
    assert "no frame for 1 s" in segment(active, timeout=1.0).message
    with ThreadPoolExecutor(WAITING + 1) as beside:
        asked = {beside.submit(segment, active, timeout=60.0) for _ in range(WAITING + 1)}
        refused, waiting = wait(asked, return_when=FIRST_COMPLETED)
        assert ["try again later" in future.result().message for future in refused] == [True]
        active.publish_until(lambda: all(future.done() for future in waiting), "the answers")
        for future in waiting:
            assert future.result().success, future.result().message


@pytest.mark.slow
def test_the_stream_goes_on_under_a_flood_of_requests(active, frame):
    listener = active.listener
    active.camera.start_publishing(100_000, rate_hz=15.0)
    before = len(listener.messages["detections"])
    with ThreadPoolExecutor(WAITING) as beside:
        flood = [beside.submit(segment, active, **frame) for _ in range(16)]
        answers = [listener.call(ListObjects, "list_objects", ListObjects.Request()) for _ in range(3)]
        responses = [future.result() for future in flood]
    assert all(response.success for response in responses)
    assert all(len(answer.objects) == 2 for answer in answers)
    # one frame between two requests
    assert len(listener.messages["detections"]) - before >= len(responses) // 2
    active.camera.kill()
