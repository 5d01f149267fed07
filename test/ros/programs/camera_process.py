"""An RGB-D camera in a process of its own: publishes one stored frame, whole or spoilt, as it is told on stdin.

Each line on stdin is a JSON object, each answer on stdout one as well:

{"wait_for_subscribers": 10.0}        -> {"matched": true}
{"wait_until_known": 10.0}            -> {"known": true}, somebody subscribes, be the QoS as it may
{"publish": 3, "rate_hz": 10.0, ...}  -> {"stamps": [[sec, nanosec], ...]}, the stamps of the rgb messages
    "alter": name of a function below, applied to every set of messages
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
import array
import itertools
import json
import math
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from tf2_msgs.msg import TFMessage

sys.path.insert(0, str(Path(__file__).parent))
from malformed import malformed

FRAME_ID, DEPTH_FRAME_ID = "camera_color_optical_frame", "camera_depth_optical_frame"
TURNING_DEG, TURNING_FRAMES = 8.0, 90
"""Largest angle of the camera that turns about its axis, degrees, and frames of a period."""
BARREL = (-0.30, 0.10, 0.001, -0.001, 0.0)
"""D of a lens that moves the corners by some forty pixels."""


@dataclass
class Messages:
    """What is published at one moment."""

    rgb: Image | CompressedImage
    depth: Image | CompressedImage
    camera_info: CameraInfo


def image(pixels: np.ndarray, encoding: str) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels.nbytes // pixels.shape[0]
    message.data = array.array("B", np.ascontiguousarray(pixels).tobytes())
    return message


def camera_info(intrinsics: np.ndarray, width: int, height: int) -> CameraInfo:
    return CameraInfo(width=width, height=height, k=[float(k) for k in intrinsics.ravel()])


def projection(intrinsics: np.ndarray) -> list[float]:
    return [float(p) for p in np.hstack([intrinsics, np.zeros((3, 1))]).ravel()]


class Stored:
    """The frame on disk: rgb (H, W, 3) uint8, depth_m (H, W) float32 metres, intrinsics (3, 3).

    first_mask: where the first known object is (H, W).
    beside_m, beside_intrinsics, beside_to_color: the depth that a camera beside it sees, and where that is.
    """

    def __init__(self, path: str) -> None:
        with np.load(path) as stored:
            self.rgb, self.depth_m, self.intrinsics = stored["rgb"], stored["depth_m"], stored["intrinsics"]
            self.beside_m, self.beside_intrinsics = stored["beside_m"], stored["beside_intrinsics"]
            self.beside_to_color = stored["beside_to_color"]
            self.first_mask = stored["truth_masks"][0]
        self.depth_mm = np.round(self.depth_m * 1000).astype(np.uint16)

    def messages(self) -> Messages:
        height, width = self.rgb.shape[:2]
        return Messages(
            image(self.rgb, "rgb8"), image(self.depth_mm, "16UC1"), camera_info(self.intrinsics, width, height)
        )


def alterations(stored: Stored) -> dict[str, Callable[[], Messages]]:
    """Ways to spoil a frame, by name."""
    height, width = stored.rgb.shape[:2]

    def changed(topic: str, **fields: object) -> Callable[[], Messages]:
        def make() -> Messages:
            messages = stored.messages()
            for name, value in fields.items():
                setattr(getattr(messages, topic), name, value)
            return messages

        return make

    def with_depth(depth: np.ndarray, encoding: str) -> Callable[[], Messages]:
        def make() -> Messages:
            messages = stored.messages()
            messages.depth = image(depth, encoding)
            return messages

        return make

    def with_holes_of_every_kind() -> Messages:
        depth = stored.depth_m.copy()
        depth[depth == 0] = np.nan
        depth[:4], depth[4:8] = np.inf, -0.5
        return with_depth(depth, "32FC1")()

    def swapped() -> Messages:
        messages = stored.messages()
        messages.rgb, messages.depth = messages.depth, messages.rgb
        return messages

    def plane() -> Messages:
        """A tilted, evenly gray table and nothing on it."""
        inverse_depth = np.linspace(1 / 1.2, 1 / 0.7, height, dtype=np.float32)
        messages = with_depth(np.tile(1 / inverse_depth[:, None], (1, width)), "32FC1")()
        messages.rgb = image(np.full((height, width, 3), 128, np.uint8), "rgb8")
        return messages

    def bgr() -> Messages:
        messages = stored.messages()
        messages.rgb = image(stored.rgb[..., ::-1], "bgr8")
        return messages

    def scaled(scale: float) -> tuple[np.ndarray, np.ndarray, CameraInfo]:
        size = round(width * scale), round(height * scale)
        intrinsics = stored.intrinsics * np.array([[scale, 1, scale], [1, scale, scale], [1, 1, 1]])
        rgb, depth_mm = (cv2.resize(a, size, interpolation=cv2.INTER_NEAREST) for a in (stored.rgb, stored.depth_mm))
        return rgb, depth_mm, camera_info(intrinsics, *size)

    def resized(scale: float) -> Callable[[], Messages]:
        def make() -> Messages:
            rgb, depth_mm, info = scaled(scale)
            return Messages(image(rgb, "rgb8"), image(depth_mm, "16UC1"), info)

        return make

    random = np.random.default_rng(0)

    def noisy() -> Messages:
        """No two of them are the same."""
        rgb, depth_mm, info = scaled(1.0)
        rgb = np.clip(rgb + random.normal(0.0, 3.0, rgb.shape), 0, 255).astype(np.uint8)
        depth_mm = np.round(depth_mm * random.normal(1.0, 0.002, depth_mm.shape)).astype(np.uint16)
        depth_mm[random.random(depth_mm.shape) < 0.005] = 0
        return Messages(image(rgb, "rgb8"), image(depth_mm, "16UC1"), info)

    turned = itertools.count()

    def turning() -> Messages:
        """Frame n, from 0 on, of a camera that turns about its axis to TURNING_DEG * sin(2 pi n / TURNING_FRAMES)."""
        angle_deg = TURNING_DEG * math.sin(2 * math.pi * next(turned) / TURNING_FRAMES)
        middle = float(stored.intrinsics[0, 2]), float(stored.intrinsics[1, 2])
        turn = cv2.getRotationMatrix2D(middle, -angle_deg, 1.0)  # OpenCV counts angles counter-clockwise
        rgb = cv2.warpAffine(stored.rgb, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
        depth_mm = cv2.warpAffine(stored.depth_mm, turn, (width, height), flags=cv2.INTER_NEAREST)
        return Messages(image(rgb, "rgb8"), image(depth_mm, "16UC1"), camera_info(stored.intrinsics, width, height))

    def first_covered() -> Messages:
        """A board before the first known object."""
        rows, columns = np.nonzero(stored.first_mask)
        board = np.s_[max(rows.min() - 20, 0) : rows.max() + 20, max(columns.min() - 20, 0) : columns.max() + 20]
        rgb, depth_mm = stored.rgb.copy(), stored.depth_mm.copy()
        rgb[board], depth_mm[board] = (90, 120, 160), 300
        return Messages(image(rgb, "rgb8"), image(depth_mm, "16UC1"), camera_info(stored.intrinsics, width, height))

    def one_pixel() -> Messages:
        return Messages(
            image(stored.rgb[:1, :1], "rgb8"),
            image(stored.depth_mm[:1, :1], "16UC1"),
            camera_info(stored.intrinsics, 1, 1),
        )

    def compressed() -> Messages:
        messages = stored.messages()
        jpeg = cv2.imencode(".jpg", stored.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
        png = cv2.imencode(".png", stored.depth_mm)[1].tobytes()
        messages.rgb = CompressedImage(format="rgb8; jpeg compressed bgr8", data=array.array("B", jpeg))
        header = struct.pack("<iff", 0, 0.0, 0.0)
        messages.depth = CompressedImage(format="16UC1; compressedDepth png", data=array.array("B", header + png))
        return messages

    def with_lens() -> Messages:
        """As the sensor behind a lens sees it: K is that of the pinhole camera, P of the rectified image another."""
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        flat = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
        for _ in range(4):  # each call undoes what is left
            source = cv2.undistortPoints(flat, stored.intrinsics, np.array(BARREL), None, None, stored.intrinsics)
        x, y = (source.reshape(height, width, 2)[..., axis].astype(np.float32) for axis in (0, 1))
        messages = stored.messages()
        messages.rgb = image(cv2.remap(stored.rgb, x, y, cv2.INTER_LINEAR), "rgb8")
        messages.depth = image(cv2.remap(stored.depth_mm, x, y, cv2.INTER_NEAREST), "16UC1")
        messages.camera_info.distortion_model, messages.camera_info.d = "plumb_bob", list(BARREL)
        messages.camera_info.p = projection(stored.intrinsics * np.array([[0.8, 1, 1], [1, 0.8, 1], [1, 1, 1]]))
        return messages

    def rectified() -> Messages:
        """A rectified image: P is its matrix, K and D are those of the raw one."""
        messages = stored.messages()
        info = messages.camera_info
        info.distortion_model, info.d, info.p = "plumb_bob", list(BARREL), projection(stored.intrinsics)
        raw = stored.intrinsics + np.array([[90.0, 0, 25], [0, 90.0, -20], [0, 0, 0]])
        info.k = [float(k) for k in raw.ravel()]
        return messages

    def fisheye() -> Messages:
        messages = stored.messages()
        messages.camera_info.distortion_model, messages.camera_info.d = "equidistant", [0.1, 0.0, 0.0, 0.0]
        return messages

    def binned() -> Messages:
        """Every other pixel in both directions, with the camera_info of the whole sensor."""
        messages = Messages(
            image(stored.rgb[::2, ::2], "rgb8"),
            image(stored.depth_mm[::2, ::2], "16UC1"),
            stored.messages().camera_info,
        )
        messages.camera_info.binning_x = messages.camera_info.binning_y = 2
        return messages

    def region() -> Messages:
        """A part of the sensor, with the camera_info of the whole."""
        top, left = height // 8, width // 8
        messages = Messages(
            image(stored.rgb[top:, left:], "rgb8"),
            image(stored.depth_mm[top:, left:], "16UC1"),
            stored.messages().camera_info,
        )
        messages.camera_info.roi = RegionOfInterest(
            x_offset=left, y_offset=top, width=width - left, height=height - top, do_rectify=True
        )
        return messages

    def mono() -> Messages:
        messages = stored.messages()
        messages.rgb = image(cv2.cvtColor(stored.rgb, cv2.COLOR_RGB2GRAY), "mono8")
        return messages

    half = stored.depth_mm[: height // 2, : width // 2]
    return {
        "nothing": stored.messages,
        "rgb_unknown_encoding": changed("rgb", encoding="nonsense"),
        "depth_unknown_encoding": changed("depth", encoding="64FC1"),
        "rgb_truncated": changed("rgb", data=array.array("B", bytes(1000))),
        "depth_truncated": changed("depth", data=array.array("B", bytes(1000))),
        "rgb_step_too_small": changed("rgb", step=7),
        "depth_half_size": with_depth(half, "16UC1"),
        "zero_k": changed("camera_info", k=[0.0] * 9),
        "camera_info_other_size": changed("camera_info", width=width * 2, height=height * 2),
        "depth_all_zero": with_depth(np.zeros((height, width), np.uint16), "16UC1"),
        "depth_float_with_holes": with_holes_of_every_kind,
        "swapped": swapped,
        "plane": plane,
        "depth_negative": with_depth(np.where(np.arange(width) < 8, -0.5, stored.depth_m), "32FC1"),
        "bgr": bgr,
        "one_pixel": one_pixel,
        "half_size": resized(0.5),
        "noisy": noisy,
        "turning": turning,
        "first_covered": first_covered,
        "4k": resized(3840 / width),
        "depth_in_decimetres": with_depth(np.round(stored.depth_m * 10).astype(np.uint16), "16UC1"),
        "depth_in_tenths_of_a_millimetre": with_depth(np.round(stored.depth_m * 10_000).astype(np.uint16), "16UC1"),
        "depth_holes_65535": with_depth(
            np.where(stored.depth_mm == 0, 65535, stored.depth_mm).astype(np.uint16), "16UC1"
        ),
        "k_by_column": changed("camera_info", k=stored.intrinsics.T.flatten().tolist()),
        "k_normalised": changed(
            "camera_info", k=(stored.intrinsics / np.array([[width], [height], [1.0]])).flatten().tolist()
        ),
        "depth_float_in_millimetres": with_depth(stored.depth_m * 1000, "32FC1"),
        "compressed": compressed,
        "with_lens": with_lens,
        "rectified": rectified,
        "fisheye": fisheye,
        "binned": binned,
        "region": region,
        "mono": mono,
    }


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
