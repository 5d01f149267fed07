"""A fake Intel RealSense as a ROS 2 node: same topics, encodings and QoS, frames from `frame_sources`.

Publishes /camera/camera/color/image_raw (rgb8), /camera/camera/aligned_depth_to_color/image_raw (16UC1,
millimetres) and /camera/camera/color/camera_info, all three with one stamp. Its parameters are listed in
PARAMETERS_HELP.
"""

from __future__ import annotations

import argparse
import array
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image

from ism_ros.config.sources import load_settings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.sim import truth_files
from ism_ros.sim.benchmark_scenes.known_objects import DEMO_OBJECT_SET
from ism_ros.sim.benchmark_scenes.table_scene import DEMO_SCENE
from ism_ros.sim.frame_sources import folder_views, scene_views
from ism_ros.sim.synthesis.ground_truth import GroundTruth

FRAME_ID = "camera_color_optical_frame"
"""Name of the optical frame in all headers."""
DESCRIPTION = """A fake Intel RealSense over a simulated table: publishes /camera/camera/color/image_raw,
/camera/camera/aligned_depth_to_color/image_raw and /camera/camera/color/camera_info."""
"""Description in the program's --help."""
PARAMETERS_HELP = """ROS parameters, as in --ros-args -p rate:=30.0 -p folder:=recorded:

  rate         frames a second, Hz (default 10.0)
  folder       folder of real frames to publish; empty = a simulated table (the default)
  scene        number of the simulated table
  object_set   number of the set of known objects on it
  views        views of the table before they repeat (default 8)
  sweep_deg    how far the camera swings, degrees (default 16.0)
  shrink       only every N-th row and column is published (default 1)
  cache_dir    folder that keeps simulated views; empty = the user's cache folder
  truth_dir    folder to write the truth to; empty = do not
  reliability  QoS of the three topics: reliable (default) or best_effort
"""
"""Description of the parameters in the program's --help."""


@dataclass(frozen=True)
class RgbdMessages:
    """The messages of one view, made once; only the stamp changes from publication to publication.

    Attributes:
        rgb: rgb8 image.
        depth: 16UC1 image, millimetres.
        info: Camera matrix.
    """

    rgb: Image
    depth: Image
    info: CameraInfo


def to_messages(frame: Frame) -> RgbdMessages:
    """Convert a frame to the messages that a RealSense sends.

    Args:
        frame: The frame; without depth, no pixel has a reading.

    Returns:
        Image, depth image and camera info, without a stamp.
    """
    depth_m = frame.depth_m if frame.depth_m is not None else np.zeros(frame.rgb.shape[:2], np.float32)
    millimetres = np.clip(np.rint(depth_m * 1000), 0, 65535).astype("<u2")
    return RgbdMessages(
        rgb=_image(frame.rgb, "rgb8", 3 * frame.width),
        depth=_image(millimetres, "16UC1", 2 * frame.width),
        info=_camera_info(frame.camera),
    )


def subsample(frame: Frame, step: int) -> Frame:
    """Keep every N-th row and column: a camera with larger pixels.

    Args:
        frame: The frame.
        step: N.

    Returns:
        The smaller frame with its camera.
    """
    rgb = np.ascontiguousarray(frame.rgb[::step, ::step])
    depth_m = None if frame.depth_m is None else np.ascontiguousarray(frame.depth_m[::step, ::step])
    scale = np.diag([1.0 / step, 1.0 / step, 1.0])
    camera = Camera(scale @ frame.camera.intrinsics, rgb.shape[1], rgb.shape[0])
    return Frame(rgb, depth_m, camera, frame.stamp_ns, frame.frame_id)


def _image(pixels: np.ndarray, encoding: str, step: int) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=step, is_bigendian=0)
    # An array is taken over as it is; any other sequence would be checked number by number.
    message.data = array.array("B", pixels.tobytes())
    message.header.frame_id = FRAME_ID
    return message


def _camera_info(camera: Camera) -> CameraInfo:
    k = camera.intrinsics
    info = CameraInfo(height=camera.height, width=camera.width, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = k.ravel().tolist()
    info.r = np.eye(3).ravel().tolist()
    info.p = np.hstack([k, np.zeros((3, 1))]).ravel().tolist()
    info.header.frame_id = FRAME_ID
    return info


class FakeCamera(Node):
    """Publishes its views in turn at `rate`. Views are added by another thread while the first are already sent."""

    def __init__(self) -> None:
        """Declare the parameters and create the publishers.

        Raises:
            ValueError: `reliability` is neither reliable nor best_effort.
            rclpy.exceptions.ParameterException: A parameter is of the wrong type or out of range.
        """
        super().__init__("camera", namespace="camera")
        self.rate = self._number("rate", 10.0, 0.1, 500.0, "frames a second, Hz")
        self.folder = self._text("folder", "", "folder of real frames to publish; empty = a simulated table")
        self.scene = self._count("scene", DEMO_SCENE, 0, 1 << 30, "number of the simulated table")
        self.object_set = self._count(
            "object_set", DEMO_OBJECT_SET, 0, 1 << 30, "number of the set of known objects on it"
        )
        self.views = self._count("views", 8, 1, 1000, "views of the table before they repeat")
        self.sweep_deg = self._number("sweep_deg", 16.0, 0.0, 360.0, "how far the camera swings, degrees")
        self.shrink = self._count("shrink", 1, 1, 16, "only every N-th row and column is published")
        self.cache = self._text("cache_dir", "", "folder that keeps simulated views; empty = the user's cache folder")
        self.truth_dir = self._text("truth_dir", "", "folder to write the truth to; empty = do not")
        reliability = self._text("reliability", "reliable", "QoS of the three topics: reliable or best_effort")
        if reliability not in ("reliable", "best_effort"):
            raise ValueError(f"reliability is '{reliability}': set it to reliable or best_effort")
        qos = QoSProfile(
            depth=5,
            reliability=ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT,
        )
        self._rgb = self.create_publisher(Image, "~/color/image_raw", qos)
        self._depth = self.create_publisher(Image, "~/aligned_depth_to_color/image_raw", qos)
        self._info = self.create_publisher(CameraInfo, "~/color/camera_info", qos)
        self._messages: list[RgbdMessages] = []
        self._published = 0
        self._stamps = None
        if self.truth_dir:
            truth_files.clear(Path(self.truth_dir))
            self._stamps = (Path(self.truth_dir) / truth_files.STAMPS).open("w", buffering=1)
        self.create_timer(1.0 / self.rate, self._publish)

    def add(self, frame: Frame, truth: GroundTruth | None) -> None:
        """Add one view; may be called from any thread.

        Args:
            frame: The frame.
            truth: Its ground truth, or None where it is unknown.
        """
        view = len(self._messages)
        frame = subsample(frame, self.shrink)
        if self.truth_dir and truth is not None:
            truth_files.write_view(Path(self.truth_dir), view, truth)
        self._messages.append(to_messages(frame))
        if view == 0:
            topic = self._rgb.topic_name
            self.get_logger().info(f"publishing {frame.width} x {frame.height} at {self.rate:g} Hz on {topic}")

    def frames(self) -> Iterator[tuple[Frame, GroundTruth | None]]:
        """Read or render the views to publish.

        Yields:
            Each frame with its ground truth, None for recorded ones.

        Raises:
            OSError: A file cannot be read.
            ValueError: A frame cannot be used.
        """
        if self.folder:
            yield from ((frame, None) for frame in folder_views(Path(self.folder).expanduser()))
        else:
            cache = load_settings(overrides={"cache_dir": self.cache} if self.cache else None).resolved_cache_dir()
            yield from scene_views(self.scene, self.object_set, self.views, self.sweep_deg, cache)

    def _publish(self) -> None:
        count = len(self._messages)
        if not count:
            return
        view = self._published % count
        self._published += 1
        now = self.get_clock().now()
        messages = self._messages[view]
        stamp = Time(nanoseconds=now.nanoseconds).to_msg()
        if self._stamps is not None:
            self._stamps.write(f"{now.nanoseconds},{view}\n")
        for publisher, message in (
            (self._info, messages.info),
            (self._depth, messages.depth),
            (self._rgb, messages.rgb),
        ):
            message.header.stamp = stamp
            publisher.publish(message)

    def _number(self, name: str, default: float, low: float, high: float, meaning: str) -> float:
        limits = [FloatingPointRange(from_value=low, to_value=high)]
        about = ParameterDescriptor(description=meaning, floating_point_range=limits, read_only=True)
        return float(self.declare_parameter(name, default, about).value)

    def _count(self, name: str, default: int, low: int, high: int, meaning: str) -> int:
        limits = [IntegerRange(from_value=low, to_value=high, step=1)]
        about = ParameterDescriptor(description=meaning, integer_range=limits, read_only=True)
        return int(self.declare_parameter(name, default, about).value)

    def _text(self, name: str, default: str, meaning: str) -> str:
        about = ParameterDescriptor(description=meaning, read_only=True)
        return str(self.declare_parameter(name, default, about).value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until Ctrl-C.

    Args:
        arguments: Those after the program's name; None = those of the process.

    Returns:
        0, or 1 where there are no frames, after one line that says why.

    Raises:
        SystemExit: After --help or a wrong argument.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="fake_camera",
        description=DESCRIPTION,
        epilog=PARAMETERS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(remove_ros_args(given))
    rclpy.init(args=given)
    camera: FakeCamera | None = None
    failure: list[str] = []
    try:
        camera = FakeCamera()
        loader = threading.Thread(target=_load, args=(camera, failure), daemon=True)
        loader.start()
        while rclpy.ok() and not failure:
            rclpy.spin_once(camera, timeout_sec=0.5)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, rclpy.exceptions.ParameterException) as error:
        failure.append(str(error))
    finally:
        if camera is not None:
            camera.destroy_node()
        rclpy.try_shutdown()
    for text in failure:
        print(f"fake_camera: {text}", file=sys.stderr)
    return 1 if failure else 0


def _load(camera: FakeCamera, failure: list[str]) -> None:
    """Load the views one after another; an error is passed to the main thread."""
    try:
        for frame, truth in camera.frames():
            if not rclpy.ok():
                return
            camera.add(frame, truth)
    except (OSError, ValueError) as error:
        failure.append(str(error))


if __name__ == "__main__":
    sys.exit(main())
