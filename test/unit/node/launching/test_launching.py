"""Parts of launch files: cameras on devices, and rviz2 for the names in use."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ism_ros.node.launching.camera_placement import assign_devices, camera_topic, split_names
from ism_ros.node.launching.rviz_config import node_path, rviz_config

TEMPLATE = (Path(__file__).parents[4] / "config" / "ism.rviz").read_text()


def topics(config: str) -> set[str]:
    displays = yaml.safe_load(config)["Visualization Manager"]["Displays"]
    return {display["Topic"]["Value"] for display in displays if "Topic" in display}


@pytest.mark.parametrize(
    ("namespace", "name", "path"),
    [("", "ism", "/ism"), ("left", "ism", "/left/ism"), ("/a/b/", "seer", "/a/b/seer")],
)
def test_the_full_name_of_a_node(namespace: str, name: str, path: str) -> None:
    assert node_path(namespace, name) == path


def test_topics_and_fixed_frame_are_those_of_the_node_and_the_camera() -> None:
    config = rviz_config(TEMPLATE, "/left/seer", "/cell/d435", "d435_color_optical_frame")
    assert {"/left/seer/overlay", "/left/seer/mask_image", "/left/seer/markers", "/left/seer/points"} <= topics(config)
    assert "/cell/d435/color/image_raw" in topics(config)
    assert all(topic.startswith(("/left/seer/", "/cell/d435/")) for topic in topics(config))
    options = yaml.safe_load(config)["Visualization Manager"]["Global Options"]
    assert options["Fixed Frame"] == "d435_color_optical_frame"


def test_with_the_usual_names_it_is_the_configuration_as_it_is() -> None:
    config = rviz_config(TEMPLATE, "/ism", "/camera/camera", "camera_color_optical_frame")
    assert yaml.safe_load(config) == yaml.safe_load(TEMPLATE)


# cameras on devices


def spread(cameras, devices):
    return {placement.camera: placement.device for placement in assign_devices(cameras, devices)}


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
        assign_devices(cameras, [])


def test_names_come_separated_by_commas():
    assert split_names(" left, right ,") == ("left", "right")


def test_a_topic_pattern_gets_the_cameras_name():
    assert camera_topic("/{camera}/{camera}/color/image_raw", "left") == "/left/left/color/image_raw"
    with pytest.raises(ValueError, match=r"only \{camera\}"):
        camera_topic("/{name}/color", "left")
