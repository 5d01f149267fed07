"""Messages of rgb, depth and camera_info that no camera should send, from a random generator."""

from __future__ import annotations

import array
import time
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image

HUGE = 2**32 - 1
ENCODINGS = (
    "rgb8", "bgr8", "rgba8", "mono8", "mono16", "8UC1", "8UC3", "16UC1", "16SC1", "32FC1", "64FC1",
    "bayer_rggb8", "yuv422", "nv12", "32FC3", "8UC77", "", "x", "rgb8 ", "ü",
)  # fmt: skip
NUMBERS = (0.0, -1.0, 1.0, 500.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"))


def malformed(random: np.random.Generator) -> dict[str, Any]:
    """One message a topic, spoilt in one or several fields; most with stamps that go together."""
    height, width = (int(random.integers(1, 65)) for _ in range(2))
    messages = {
        "rgb": _image(random, height, width, "rgb8", 3),
        "depth": _image(random, height, width, "16UC1", 2),
        "camera_info": _camera_info(random, height, width),
    }
    stamp = _stamp(random)
    for message in messages.values():
        message.header.stamp = _stamp(random) if random.random() < 0.05 else stamp
        message.header.frame_id = ("camera", "", "a" * 1000)[random.integers(3)]
    return messages


def _image(random: np.random.Generator, height: int, width: int, encoding: str, pixel_bytes: int) -> Image:
    """A sound image with each field spoilt once in four times."""

    def spoilt(sound: int) -> int:
        choices = (0, 1, sound - 1, sound + 1, sound * 2, 2**31, HUGE, int(random.integers(0, HUGE)))
        return choices[random.integers(len(choices))] if random.random() < 0.25 else sound

    length = spoilt(height * width * pixel_bytes)
    message = Image(height=spoilt(height), width=spoilt(width), step=spoilt(width * pixel_bytes))
    message.encoding = ENCODINGS[random.integers(len(ENCODINGS))] if random.random() < 0.25 else encoding
    message.is_bigendian = int(random.integers(0, 256)) if random.random() < 0.25 else 0
    message.data = array.array("B", random.bytes(max(0, min(length, 100_000))))
    return message


def _camera_info(random: np.random.Generator, height: int, width: int) -> CameraInfo:
    k = [500.0, 0.0, width / 2, 0.0, 500.0, height / 2, 0.0, 0.0, 1.0]
    if random.random() < 0.25:
        k[random.integers(9)] = NUMBERS[random.integers(len(NUMBERS))]
    if random.random() < 0.25:
        height, width = (int(random.integers(0, HUGE)) for _ in range(2))
    return CameraInfo(height=height, width=width, k=k)


def _stamp(random: np.random.Generator) -> Time:
    """Now, and now and then any."""
    if random.random() < 0.9:
        return Time(sec=int(time.time()), nanosec=time.time_ns() % 1_000_000_000)
    return Time(sec=int(random.integers(-(2**31), 2**31)), nanosec=int(random.integers(0, HUGE)))
