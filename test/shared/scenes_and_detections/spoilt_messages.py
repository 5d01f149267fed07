"""Messages of a small frame, spoilt in each way that a node may meet."""

from __future__ import annotations

import numpy as np
from altered_frames import Stored, alterations
from sensor_msgs.msg import CameraInfo, CompressedImage

from ism_ros.node.conversion.rgbd_messages import DepthSource, RgbdMessages


def small_frame() -> Stored:
    """A frame as of a camera of 64 x 48 pixels."""
    stored = Stored.__new__(Stored)
    stored.rgb, stored.depth_m = np.full((48, 64, 3), 100, np.uint8), np.ones((48, 64), np.float32)
    stored.depth_mm = np.full((48, 64), 1000, np.uint16)
    stored.intrinsics = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    stored.first_mask = np.pad(np.ones((8, 8), bool), ((20, 20), (28, 28)))
    return stored


def spoilt_frames() -> list[RgbdMessages]:
    """Each way to spoil a frame that altered_frames.py knows, and compressed ones."""
    stored = small_frame()
    frames = [RgbdMessages(m.rgb, m.depth, m.camera_info) for m in (make() for make in alterations(stored).values())]
    good, small = stored.messages(), alterations(stored)["compressed"]()
    empty = stored.messages()
    empty.rgb.width = 0
    broken = CompressedImage(format="jpeg", data=[1, 2, 3])
    rvl = CompressedImage(format="16UC1; compressedDepth rvl", data=[1] * 40)
    cut = CompressedImage(format="16UC1; compressedDepth rvl", data=[1] * 14)
    compressed = CompressedImage(format="16UC1; png compressed", data=bytes(small.depth.data)[12:])
    short = CompressedImage(format="16UC1; compressedDepth png", data=[0] * 3)
    colors = CompressedImage(format="16UC1; compressedDepth png", data=bytes(12) + bytes(small.rgb.data))
    matrices = (
        *([60, 0, 0, 0, 60, 0, 32, 24, 1], [60, 0, 32, 1, 60, 24, 0, 0, 1], [0.9, 0, 0.5, 0, 1.2, 0.5, 0, 0, 1]),
        *([1e308, 0, 32, 0, 60, 24, 0, 0, 1], [60, 0, 64, 0, 60, 48, 0, 0, 1], [20, 0, 32, 0, 99, 24, 0, 0, 1]),
    )
    infos = [replaced(good.camera_info, matrix) for matrix in matrices]
    return [
        *frames,
        *(RgbdMessages(good.rgb, good.depth, info) for info in infos),
        RgbdMessages(empty.rgb, good.depth, good.camera_info),
        RgbdMessages(broken, good.depth, good.camera_info),
        *(RgbdMessages(good.rgb, depth, good.camera_info) for depth in (rvl, cut, compressed, short, colors)),
        RgbdMessages(small.depth, good.depth, good.camera_info),
        *odd_lenses(stored),
        beside(stored),
    ]


def replaced(info: CameraInfo, k: list[float]) -> CameraInfo:
    """`info` with another camera matrix."""
    return CameraInfo(header=info.header, width=info.width, height=info.height, k=[float(number) for number in k])


def odd_lenses(stored: Stored) -> list[RgbdMessages]:
    """Coefficients of no lens. The fisheye is among the alterations."""
    frames = []
    for model, coefficients in (("odd", [0.1]), ("plumb_bob", [float("nan")] * 5), ("plumb_bob", [1e9] * 5)):
        messages = stored.messages()
        messages.camera_info.distortion_model, messages.camera_info.d = model, coefficients
        frames.append(RgbdMessages(messages.rgb, messages.depth, messages.camera_info))
    return frames


def beside(stored: Stored) -> RgbdMessages:
    """Depth of another camera, whose camera_info is for another size."""
    messages, other = stored.messages(), stored.messages().camera_info
    messages.rgb.header.frame_id, messages.depth.header.frame_id = "color", "depth"
    other.width += 1
    to_color = np.eye(4)
    to_color[0, 3] = 0.05
    return RgbdMessages(
        messages.rgb, messages.depth, messages.camera_info, False, DepthSource("/rgb", "/depth", other, to_color)
    )
