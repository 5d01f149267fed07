"""rviz2 shows the node and the camera that there are, whatever their names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ism_ros.node.launching.rviz_config import node_path, rviz_config

TEMPLATE = (Path(__file__).parents[3] / "config" / "ism.rviz").read_text()


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
