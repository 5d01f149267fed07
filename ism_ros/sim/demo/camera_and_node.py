"""The fake camera and the node running together, each a process of its own, and a listener to both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
import yaml

from ism_ros.sim.demo.subprocesses import Child, installed_program
from ism_ros.sim.demo.subscriber_probe import Listener
from ism_ros.sim.benchmark_scenes.table_scene import known_objects
from ism_ros.sim.benchmark_scenes.objects.object_catalog import export_cad

TOPICS = {
    "rgb": "/camera/camera/color/image_raw",
    "depth": "/camera/camera/aligned_depth_to_color/image_raw",
    "camera_info": "/camera/camera/color/camera_info",
}
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """What is shown to the node. out: folder of logs, truth and CAD files. cache: folder kept from run to run.

    folder: of real frames to show instead of a simulated scene. objects_file: what to look for instead of the simulated
    objects. camera, node: more parameters of each. topics: of the node that are listened to.
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
    """Both programs running."""

    camera: Child
    node: Child
    listener: Listener

    def listen(self, seconds: float) -> None:
        """Takes in what comes for `seconds`. ChildError where a program has ended."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self.listener, timeout_sec=min(left, 0.2))
            self.camera.check()
            self.node.check()

    def wait_for_first(self, timeout_s: float, tell: Tell) -> None:
        """Until the node has answered a first frame; `tell` hears what it is doing. TimeoutError says what last."""
        deadline = time.monotonic() + timeout_s
        while not self.listener.complete_frames:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"no result within {timeout_s:.0f} s; the node's last word: "
                    f"{self.listener.report.message or 'none'}; the end of {self.node.log}:\n{self.node.tail()}"
                )
            self.listen(0.3)
            tell(self._doing())

    def _doing(self) -> str:
        values = self.listener.report.values
        if values.get("state") != "active":
            return values.get("progress") or "starting the camera and the node"
        rendered = "publishing" in self.camera.tail()
        return "active, waiting for the first result" if rendered else "the camera is rendering its first view"


@contextmanager
def running(setting: Setting) -> Iterator[Session]:
    """Starts both programs and a listener; all of it has ended when the block is left."""
    objects_file = setting.objects_file or write_objects(setting.out / "cad", setting.object_set)
    with ExitStack() as stack:
        camera = Child("the fake camera", _camera_command(setting), setting.out / "camera.log")
        node = Child("the node", _node_command(objects_file, setting), setting.out / "node.log")
        stack.enter_context(camera)
        stack.enter_context(node)
        rclpy.init(args=[])
        stack.callback(rclpy.try_shutdown)
        listener = Listener(setting.topics)
        stack.callback(listener.destroy_node)
        yield Session(camera, node, listener)


def write_objects(folder: Path, object_set: int) -> Path:
    """The CAD files of the known objects and the objects.yaml that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.glb"), *folder.glob("*.ply")]:
        old.unlink()
    entries = [
        {"id": mesh.metadata["name"], "cad": export_cad(mesh, folder).name, "units": "m"}
        for mesh in known_objects(object_set)
    ]
    objects_file = folder / "objects.yaml"
    objects_file.write_text(yaml.safe_dump({"objects": entries}, sort_keys=False))
    return objects_file


def _camera_command(setting: Setting) -> list[str]:
    parameters = {
        "scene": setting.scene,
        "object_set": setting.object_set,
        "rate": float(setting.rate_hz),
        "truth_dir": f"'{setting.out}'",
        "cache_dir": f"'{setting.cache}'",
        **({} if setting.folder is None else {"folder": f"'{setting.folder}'"}),
        **setting.camera,
    }
    return [*installed_program("fake_camera", "ism_ros.sim.camera_node"), "--ros-args", *_assigned(parameters)]


def _node_command(objects_file: Path, setting: Setting) -> list[str]:
    renamed = [word for name, topic in TOPICS.items() for word in ("-r", f"{name}:={topic}")]
    parameters = {"objects_file": f"'{objects_file}'", "cache_dir": f"'{setting.cache}'", **setting.node}
    return [*installed_program("ism_node", "ism_ros.node.main"), "--ros-args", *renamed, *_assigned(parameters)]


def _assigned(parameters: Mapping[str, Any]) -> list[str]:
    return [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
