"""multi_camera.launch.py by the real launch system, where a distribution has it."""

from pathlib import Path

import pytest

# the repository's own folder is called launch, too: ask for a part of the real one
pytest.importorskip("launch.actions", reason="launch comes with a ROS distribution")
pytest.importorskip("launch_ros.actions", reason="launch_ros comes with a ROS distribution")

from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

FILE = Path(__file__).parents[2] / "launch" / "multi_camera.launch.py"


def nodes(entity, context):
    """Nodes that visiting `entity` would start, each with the arguments that it sees."""
    if isinstance(entity, Node):
        entity._perform_substitutions(context)
        return [(entity.node_name, dict(entity.expanded_remapping_rules or ()), dict(context.launch_configurations))]
    found = []
    for child in entity.visit(context) or ():
        found += nodes(child, context)
    return found


def test_each_camera_gets_a_node_in_its_namespace_with_its_topics_and_device():
    description = get_launch_description_from_python_launch_file(str(FILE))
    assert isinstance(description, LaunchDescription)
    context = LaunchContext()
    context.launch_configurations.update(cameras="left,right,top", devices="cuda:0,cuda:1", depth="/{camera}/depth")
    started = nodes(description, context)
    assert [name for name, _, _ in started] == ["/left/ism", "/right/ism", "/top/ism"]
    assert [seen["device"] for _, _, seen in started] == ["cuda:0", "cuda:1", "cuda:0"]
    for camera, (_, topics, _) in zip(("left", "right", "top"), started, strict=True):
        assert topics == {
            "rgb": f"/{camera}/{camera}/color/image_raw",
            "depth": f"/{camera}/depth",
            "camera_info": f"/{camera}/{camera}/color/camera_info",
        }


def test_every_argument_is_described():
    description = get_launch_description_from_python_launch_file(str(FILE))
    arguments = description.get_launch_arguments()
    assert {"cameras", "devices", "rgb", "depth", "camera_info", "objects_file"} <= {a.name for a in arguments}
    assert all(a.description and "no description given" not in a.description for a in arguments)
