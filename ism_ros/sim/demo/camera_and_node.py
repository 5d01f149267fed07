"""A session of the fake camera and the node, each a subprocess, and a subscriber of the node in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy

from ism_ros.sim.benchmark_scenes.known_objects import known_objects, write_objects_file
from ism_ros.sim.demo.subprocesses import ManagedProcess, installed_program
from ism_ros.sim.demo.subscriber_probe import SubscriberProbe

TOPICS = {
    "rgb": "/camera/camera/color/image_raw",
    "depth": "/camera/camera/aligned_depth_to_color/image_raw",
    "camera_info": "/camera/camera/color/camera_info",
}
"""Topics of the fake camera by the node's names for them."""


@dataclass(frozen=True)
class SessionSettings:
    """What is shown to the node.

    Attributes:
        out: Folder of logs, ground truth and CAD files.
        cache: Folder kept from run to run.
        scene: Number of the simulated table.
        object_set: Number of the set of known objects on it.
        rate_hz: Frames a second that the camera publishes.
        folder: Recorded frames to show instead of the simulated table.
        objects_file: Objects to look for instead of the simulated ones.
        camera: More parameters of the camera.
        node: More parameters of the node.
        topics: Topics of the node that are subscribed to.
    """

    out: Path
    cache: Path
    scene: int
    object_set: int
    rate_hz: float
    folder: Path | None = None
    objects_file: Path | None = None
    camera: Mapping[str, Any] = field(default_factory=dict)
    node: Mapping[str, Any] = field(default_factory=dict)
    topics: Sequence[str] = ("detections", "mask_image", "overlay")


@dataclass(frozen=True)
class Session:
    """Camera and node while they run.

    Attributes:
        camera: The camera's process.
        node: The node's process.
        probe: The subscriber.
    """

    camera: ManagedProcess
    node: ManagedProcess
    probe: SubscriberProbe

    def spin(self, duration_s: float) -> None:
        """Receive messages for some time.

        Args:
            duration_s: How long, seconds.

        Raises:
            SubprocessError: Camera or node has ended.
        """
        end = time.monotonic() + duration_s
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self.probe, timeout_sec=min(left, 0.2))
            self.camera.check()
            self.node.check()

    def wait_for_first(self, timeout_s: float, report: Callable[[str], None]) -> None:
        """Wait for the first result.

        Args:
            timeout_s: Longest wait, seconds.
            report: Called with what the node is doing.

        Raises:
            TimeoutError: There is none; the message says what the node did last.
            SubprocessError: Camera or node has ended.
        """
        deadline = time.monotonic() + timeout_s
        while not self.probe.complete_frames:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"no result within {timeout_s:.0f} s; the node's last message: "
                    f"{self.probe.diagnostics.message or 'none'}; the end of {self.node.log}:\n{self.node.tail()}"
                )
            self.spin(0.3)
            report(self._doing())

    def _doing(self) -> str:
        values = self.probe.diagnostics.values
        if values.get("state") != "active":
            return values.get("progress") or "starting the camera and the node"
        rendered = "publishing" in self.camera.tail()
        return "active, waiting for the first result" if rendered else "the camera is rendering its first view"


@contextmanager
def run_session(settings: SessionSettings) -> Iterator[Session]:
    """Start camera, node and subscriber; all of them have ended when the block is left.

    Args:
        settings: What is shown to the node.

    Yields:
        The session.
    """
    objects_file = settings.objects_file or write_objects(settings.out / "cad", settings.object_set)
    with ExitStack() as stack:
        camera = ManagedProcess("the fake camera", _camera_command(settings), settings.out / "camera.log")
        node = ManagedProcess("the node", _node_command(objects_file, settings), settings.out / "node.log")
        stack.enter_context(camera)
        stack.enter_context(node)
        rclpy.init(args=[])
        stack.callback(rclpy.try_shutdown)
        probe = SubscriberProbe(settings.topics)
        stack.callback(probe.destroy_node)
        yield Session(camera, node, probe)


def write_objects(folder: Path, object_set: int) -> Path:
    """Write the CAD files of a set of known objects, and the objects.yaml that lists them.

    Args:
        folder: Where to; created if missing.
        object_set: Number of the set.

    Returns:
        folder/objects.yaml.
    """
    return write_objects_file(known_objects(object_set), folder)


def _camera_command(settings: SessionSettings) -> list[str]:
    parameters = {
        "scene": settings.scene,
        "object_set": settings.object_set,
        "rate": float(settings.rate_hz),
        "truth_dir": f"'{settings.out}'",
        "cache_dir": f"'{settings.cache}'",
        **({} if settings.folder is None else {"folder": f"'{settings.folder}'"}),
        **settings.camera,
    }
    return [
        *installed_program("fake_camera", "ism_ros.sim.camera_node"),
        "--ros-args",
        *_parameter_arguments(parameters),
    ]


def _node_command(objects_file: Path, settings: SessionSettings) -> list[str]:
    remapped = [word for name, topic in TOPICS.items() for word in ("-r", f"{name}:={topic}")]
    parameters = {"objects_file": f"'{objects_file}'", "cache_dir": f"'{settings.cache}'", **settings.node}
    return [
        *installed_program("ism_node", "ism_ros.node.main"),
        "--ros-args",
        *remapped,
        *_parameter_arguments(parameters),
    ]


def _parameter_arguments(parameters: Mapping[str, Any]) -> list[str]:
    return [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
