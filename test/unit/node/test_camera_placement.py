"""Several cameras on several devices: who gets which, and two nodes side by side over DDS."""

import pytest

from ism_ros.node.launching.camera_placement import names, place, topic_of


def spread(cameras, devices):
    return {placement.camera: placement.device for placement in place(cameras, devices)}


def test_devices_are_dealt_out_in_turn():
    assert spread(["a", "b", "c"], ["cuda:0", "cuda:1"]) == {"a": "cuda:0", "b": "cuda:1", "c": "cuda:0"}


def test_no_gpu_leaves_more_than_one_camera_idle_and_none_of_the_cameras_without_a_device():
    assert spread(["a", "b"], ["cuda:0", "cuda:1", "cuda:2"]) == {"a": "cuda:0", "b": "cuda:1"}


def test_without_a_gpu_all_run_on_the_cpu():
    assert spread(["a", "b"], []) == {"a": "cpu", "b": "cpu"}


@pytest.mark.parametrize(
    ("cameras", "said"),
    [([], "no cameras"), (["left", "left"], "twice"), (["front-left"], "'front-left'"), (["1st"], "a letter first")],
)
def test_camera_names_that_cannot_be_namespaces_are_refused(cameras, said):
    with pytest.raises(ValueError, match=said):
        place(cameras, [])


def test_names_come_separated_by_commas():
    assert names(" left, right ,") == ("left", "right")


def test_a_topic_pattern_gets_the_cameras_name():
    assert topic_of("/{camera}/{camera}/color/image_raw", "left") == "/left/left/color/image_raw"
    with pytest.raises(ValueError, match=r"only \{camera\}"):
        topic_of("/{name}/color", "left")


def test_two_nodes_in_namespaces_each_answer_their_own_camera(start_cell, parameters):
    cells = [start_cell(parameters, topics=["detections"]) for _ in range(2)]
    try:
        for cell in cells:
            cell.wait_until("active")
            cell.connect()
        answered = [cell.result() for cell in cells]
        assert all(message.detections for message in answered)
        # what one camera showed, the other's node has not answered
        for cell, others in zip(cells, reversed(answered), strict=True):
            stamp = others.header.stamp.sec, others.header.stamp.nanosec
            assert cell.listener.with_stamp("detections", stamp) is None
    finally:
        for cell in cells:
            cell.close()
