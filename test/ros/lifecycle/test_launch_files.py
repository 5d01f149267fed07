"""The launch files by the real launch system, where a distribution has it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

# the repository's own folder is called launch, too: ask for a part of the real one
pytest.importorskip("launch.actions", reason="launch comes with a ROS distribution")
pytest.importorskip("launch_ros.actions", reason="launch_ros comes with a ROS distribution")

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

FOLDER = Path(__file__).parents[3] / "launch"
FILE = FOLDER / "multi_camera.launch.py"
# what `ros2 launch FILE ARGUMENT...` does
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
file, *arguments = sys.argv[1:]
service = LaunchService(argv=arguments, noninteractive=True)
pairs = [tuple(argument.split(":=", 1)) for argument in arguments]
part = IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=pairs)
service.include_launch_description(LaunchDescription([part]))
sys.exit(service.run())
"""


def has_package(name: str) -> bool:
    try:
        return bool(get_package_prefix(name))
    except PackageNotFoundError:
        return False


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


class Launched:
    """A launch file in a process of its own, with the ROS packages of `prefix` in front of all others."""

    def __init__(self, file: str, arguments: Sequence[str], prefix: Path, tmp_path: Path) -> None:
        environment = {**os.environ, "ROS_LOG_DIR": str(tmp_path / "log"), "ISM_CACHE_DIR": str(tmp_path / "cache")}
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join([str(prefix), environment["AMENT_PREFIX_PATH"]])
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(FOLDER / file), *arguments],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read_until(self, pattern: str) -> re.Match[str]:
        """The first match in what is said; fails where the launch ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"ended without {pattern!r}: {self.said}")

    def end(self, number: int) -> list[psutil.Process]:
        """Those that it started and that go on after it."""
        started = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return psutil.wait_procs(started, timeout=20)[1]


@pytest.fixture
def empty_prefix(tmp_path: Path) -> Path:
    prefix = tmp_path / "prefix"
    (prefix / "share" / "ament_index" / "resource_index" / "packages").mkdir(parents=True)
    return prefix


def install(prefix: Path, package: str, file: str, text: str) -> None:
    """A ROS package of one file."""
    (prefix / "share" / "ament_index" / "resource_index" / "packages" / package).touch()
    (prefix / "share" / package).mkdir(exist_ok=True)
    path = prefix / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


FAILING_DRIVER = """
from launch import LaunchDescription
from launch.actions import OpaqueFunction
def fail(context):
    raise RuntimeError("no such profile")
def generate_launch_description():
    return LaunchDescription([OpaqueFunction(function=fail)])
"""
IS_ACTIVE = r"ism_node-\d+\].*active: looking for"
NODE = ("namespace:=left", "name:=seer")


@pytest.mark.skipif(has_package("rviz2"), reason="rviz2 is installed")
def test_without_rviz2_it_is_said_and_the_rest_runs_and_ends(tmp_path, empty_prefix):
    launched = Launched("realsense.launch.py", ["camera:=false", *NODE], empty_prefix, tmp_path)
    launched.read_until(r"rviz2 is not installed.* rviz:=false")
    launched.read_until(IS_ACTIVE)
    assert launched.end(signal.SIGINT) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_launch_ends_what_it_started(tmp_path, empty_prefix, number):
    launched = Launched("realsense.launch.py", ["camera:=false", "rviz:=false", *NODE], empty_prefix, tmp_path)
    launched.read_until(IS_ACTIVE)
    assert launched.end(number) == []


def test_a_camera_driver_that_cannot_be_started_is_said_and_the_rest_runs(tmp_path, empty_prefix):
    install(empty_prefix, "realsense2_camera", "share/realsense2_camera/launch/rs_launch.py", FAILING_DRIVER)
    launched = Launched("realsense.launch.py", ["rviz:=false", *NODE], empty_prefix, tmp_path)
    launched.read_until(r"no such profile.* camera:=false")
    launched.read_until(IS_ACTIVE)
    assert launched.end(signal.SIGINT) == []


def test_rviz2_gets_the_names_in_use_and_its_end_ends_nothing_else(tmp_path, empty_prefix):
    shown = tmp_path / "shown.rviz"
    install(empty_prefix, "rviz2", "lib/rviz2/rviz2", f'#!/bin/sh\ncp "$2" {shown}\nexit 3\n')
    arguments = ["camera:=false", "camera_name:=d435", *NODE]
    launched = Launched("realsense.launch.py", arguments, empty_prefix, tmp_path)
    launched.read_until(IS_ACTIVE)
    assert launched.end(signal.SIGINT) == []
    text = shown.read_text()
    assert "/left/seer/overlay" in text
    assert "Fixed Frame: d435_color_optical_frame" in text
