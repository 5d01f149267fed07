"""An RGB-D camera in a process of its own: publishes one stored frame, whole or spoilt, as it is told on stdin.

Each line on stdin is a JSON object, each answer on stdout one as well:

{"wait_for_subscribers": 10.0}        -> {"matched": true}
{"wait_until_known": 10.0}            -> {"known": true}, somebody subscribes, be the QoS as it may
{"publish": 3, "rate_hz": 10.0, ...}  -> {"stamps": [[sec, nanosec], ...]}, the stamps of the rgb messages
    "alter": name of an alteration of altered_frames.py, applied to every set of messages
    "without": topics that are left out
    "offset_s": {"depth": 3600.0}: added to the stamps of a topic
    "frozen": true: all messages have one stamp
    "offsets_s": [0.0, -0.2, 0.3]: added to all stamps, one after the other
    "frame_ids": {"depth": "camera_depth_optical_frame"}: of these topics, instead of FRAME_ID
{"play": 10, "rate_hz": 5.0, "from_s": 1000.0, "speed": 2.0} -> stamps: as a bag does, /clock along with the stamps,
    which are from_s and on, rate_hz a second of that time
{"fuzz": 300, "rate_hz": 50.0, "seed": 1}      -> {"stamps": []}: malformed messages, see malformed.py
{"withdraw": ["depth"]}               -> {"withdrawn": true}, these topics have no publisher any more

With --latched-info camera_info is latched; with --depth-camera depth is of the camera beside the color camera, whose
camera_info and place in /tf_static are published as well.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rclpy
from altered_frames import Stored, alterations, camera_info, image
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

sys.path.insert(0, str(Path(__file__).parent))
from malformed import malformed

FRAME_ID, DEPTH_FRAME_ID = "camera_color_optical_frame", "camera_depth_optical_frame"


class DepthCamera:
    """The depth camera beside the color camera: its calibration and place are published as drivers do."""

    def __init__(self, node: Node, stored: Stored) -> None:
        self._depth_mm = np.round(stored.beside_m * 1000).astype(np.uint16)
        height, width = self._depth_mm.shape
        self._info = camera_info(stored.beside_intrinsics, width, height)
        self._info_publisher = node.create_publisher(CameraInfo, "depth_camera_info", 5)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._transforms = node.create_publisher(TFMessage, "/tf_static", latched)
        # both frames hang on the case, as in a driver's tree
        case_to_color = np.eye(4)
        case_to_color[:3, 3] = 0.01, 0.02, 0.03
        case_to_depth = np.linalg.inv(stored.beside_to_color) @ case_to_color
        self._transforms.publish(
            TFMessage(transforms=[child_of_case(FRAME_ID, case_to_color), child_of_case(DEPTH_FRAME_ID, case_to_depth)])
        )

    def depth(self) -> Image:
        self._info_publisher.publish(self._info)
        return image(self._depth_mm, "16UC1")


def child_of_case(frame_id: str, case_to_child: np.ndarray) -> TransformStamped:
    message = TransformStamped(child_frame_id=frame_id)
    message.header.frame_id = "camera_link"
    child_to_case = np.linalg.inv(case_to_child)
    shift, turn = message.transform.translation, message.transform.rotation
    shift.x, shift.y, shift.z = (float(x) for x in child_to_case[:3, 3])
    turn.x, turn.y, turn.z, turn.w = (float(q) for q in Rotation.from_matrix(child_to_case[:3, :3]).as_quat())
    return message


class Camera:
    """Publishers of the three topics, sensor-like: newest only."""

    def __init__(
        self,
        node: Node,
        stored: Stored,
        reliable: bool,
        compressed: bool,
        depth: bool,
        latched_info: bool = False,
        depth_camera: bool = False,
        rgb_topic: str = "rgb",
    ) -> None:
        self._node = node
        self._alterations = alterations(stored)
        self._beside = DepthCamera(node, stored) if depth_camera else None
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=5, reliability=reliability)
        picture = CompressedImage if compressed else Image
        types = {"rgb": picture, "depth": picture, "camera_info": CameraInfo}
        if not depth:
            del types["depth"]
        names = {"rgb": rgb_topic}
        self._publishers = {
            name: node.create_publisher(kind, names.get(name, name), qos) for name, kind in types.items()
        }
        if latched_info:
            node.destroy_publisher(self._publishers["camera_info"])
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self._publishers["camera_info"] = node.create_publisher(CameraInfo, "camera_info", latched)
        self._clock = node.create_publisher(Clock, "/clock", 10)

    def matched(self) -> bool:
        return all(publisher.get_subscription_count() > 0 for publisher in self._publishers.values())

    def known(self) -> bool:
        return all(self._node.count_subscribers(publisher.topic_name) > 0 for publisher in self._publishers.values())

    def withdraw(self, names: list[str]) -> None:
        for name in names:
            self._node.destroy_publisher(self._publishers.pop(name))

    def publish(self, command: dict) -> list[tuple[int, int]]:
        stamps = []
        make = self._alterations[command.get("alter", "nothing")]
        for number in range(command["publish"]):
            if number:
                time.sleep(1.0 / command.get("rate_hz", 10.0))
            messages = make()
            if self._beside is not None:
                messages.depth = self._beside.depth()
            if not (number and command.get("frozen")):
                now = self._node.get_clock().now()
            if "offsets_s" in command:
                offsets_s = command["offsets_s"]
                now = Time(nanoseconds=now.nanoseconds + int(offsets_s[number % len(offsets_s)] * 1e9))
            for name, publisher in self._publishers.items():
                message = getattr(messages, name)
                offset_ns = int(command.get("offset_s", {}).get(name, 0.0) * 1e9)
                message.header.stamp = Time(nanoseconds=now.nanoseconds + offset_ns).to_msg()
                of_topic = DEPTH_FRAME_ID if self._beside is not None and name == "depth" else FRAME_ID
                message.header.frame_id = command.get("frame_ids", {}).get(name, of_topic)
                if name not in command.get("without", ()):
                    publisher.publish(message)
            stamps.append((messages.rgb.header.stamp.sec, messages.rgb.header.stamp.nanosec))
        return stamps

    def play(self, command: dict) -> list[tuple[int, int]]:
        stamps = []
        for number in range(command["play"]):
            if number:
                time.sleep(1.0 / (command["rate_hz"] * command.get("speed", 1.0)))
            now = Time(seconds=command["from_s"] + number / command["rate_hz"]).to_msg()
            self._clock.publish(Clock(clock=now))
            messages = self._alterations[command.get("alter", "nothing")]()
            for name, publisher in self._publishers.items():
                message = getattr(messages, name)
                message.header.stamp, message.header.frame_id = now, FRAME_ID
                if name not in command.get("without", ()):
                    publisher.publish(message)
            stamps.append((now.sec, now.nanosec))
        return stamps

    def fuzz(self, command: dict) -> None:
        random = np.random.default_rng(command["seed"])
        for _ in range(command["fuzz"]):
            for name, message in malformed(random).items():
                self._publishers[name].publish(message)
            time.sleep(1.0 / command["rate_hz"])


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("frame")
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--reliable", action="store_true")
    parser.add_argument("--compressed", action="store_true")
    parser.add_argument("--without-depth", action="store_true")
    parser.add_argument("--latched-info", action="store_true")
    parser.add_argument("--depth-camera", action="store_true")
    parser.add_argument("--name", default="camera", help="of the node")
    parser.add_argument("--rgb", default="rgb", help="topic of the color images")
    arguments = parser.parse_args()
    rclpy.init(args=[])
    node = Node(arguments.name, namespace=arguments.namespace)
    stored, depth = Stored(arguments.frame), not arguments.without_depth
    special = arguments.latched_info, arguments.depth_camera, arguments.rgb
    camera = Camera(node, stored, arguments.reliable, arguments.compressed, depth, *special)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "wait_for_subscribers" in command:
            answer = {"matched": wait_for(camera.matched, command["wait_for_subscribers"])}
        elif "wait_until_known" in command:
            answer = {"known": wait_for(camera.known, command["wait_until_known"])}
        elif "withdraw" in command:
            camera.withdraw(command["withdraw"])
            answer = {"withdrawn": True}
        elif "play" in command:
            answer = {"stamps": camera.play(command)}
        elif "fuzz" in command:
            camera.fuzz(command)
            answer = {"stamps": []}
        else:
            answer = {"stamps": camera.publish(command)}
        print(json.dumps(answer), flush=True)
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
