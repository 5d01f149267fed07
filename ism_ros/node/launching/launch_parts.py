"""Parts of launch files: optional ones, which may be missing or fail without ending the rest, and rviz2."""

from __future__ import annotations

import os
import shutil
import tempfile
from asyncio import Future
from collections.abc import Sequence
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from launch.logging import get_logger
from launch_ros.actions import Node

from ism_ros.node.launching.rviz_config import rviz_config
from launch import LaunchContext, LaunchDescriptionEntity

Entities = list[LaunchDescriptionEntity] | None


def end_with_launch() -> str:
    """Return a command prefix for processes that must not outlive `ros2 launch`.

    launch ends what it has started, but not when it fails itself, or is killed. Empty where this system has no setpriv.
    """
    return "setpriv --pdeathsig TERM" if shutil.which("setpriv") else ""


def is_missing(package: str, file: str, what: str, argument: str) -> bool:
    """Return whether an optional part is missing, and log it in one sentence.

    Args:
        package: Name of the ROS package that has it.
        file: File of the package that is needed, relative to its prefix.
        what: What is left out without it.
        argument: The launch argument that leaves it out silently.
    """
    try:
        if (Path(get_package_prefix(package)) / file).exists():
            return False
    except PackageNotFoundError:
        pass
    debian = f"ros-{os.environ.get('ROS_DISTRO', 'DISTRIBUTION')}-{package.replace('_', '-')}"
    _warn(f"{what}, as package {package} is not installed: apt install {debian}, or leave it out with {argument}")
    return True


class OptionalPart(LaunchDescriptionEntity):
    """A part, with all that it consists of, whose failure is logged and ends nothing else."""

    def __init__(self, part: LaunchDescriptionEntity, what: str, argument: str) -> None:
        """Wrap a part.

        Args:
            part: The entity.
            what: What is left out where it fails.
            argument: The launch argument that leaves it out.
        """
        self._part = part
        self._what = what
        self._argument = argument

    def visit(self, context: LaunchContext) -> Entities:
        """Visit the part; return its entities, wrapped as well, or None where it fails."""
        try:
            parts = self._part.visit(context)
        except Exception as error:  # whatever another launch file does
            _warn(f"{self._what}: {' '.join(str(error).split())}; leave it out with {self._argument}")
            return None
        return None if parts is None else [OptionalPart(part, self._what, self._argument) for part in parts]

    def get_asyncio_future(self) -> Future[None] | None:
        """Return the part's own future."""
        future: Future[None] | None = self._part.get_asyncio_future()
        return future


def rviz(node: str, camera: str, fixed_frame: str) -> Sequence[LaunchDescriptionEntity]:
    """Return what starts rviz2 on the topics of a node and of a camera; empty, and logged, where there is no rviz2.

    Args:
        node: Full name of the node.
        camera: Full name of the camera driver.
        fixed_frame: Frame of the camera's color image.
    """
    what, argument = "rviz2 is not started", "rviz:=false"
    if is_missing("rviz2", "lib/rviz2/rviz2", what, argument):
        return []
    template = Path(get_package_share_directory("ism_ros")) / "config" / "ism.rviz"
    handle, file = tempfile.mkstemp(prefix="ism_", suffix=".rviz")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(rviz_config(template.read_text(encoding="utf-8"), node, camera, fixed_frame))
    process = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", file],
        prefix=end_with_launch(),
        exec_name="rviz2",
        output="log",
    )
    return [OptionalPart(process, what, argument)]


def _warn(text: str) -> None:
    get_logger("ism_ros").warning(text)
