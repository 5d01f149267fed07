"""The messages that make one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

MAX_OFFSET_M, MAX_ROTATION = 0.001, 0.001
"""Largest distance, metres, and largest difference of rotation matrices of two cameras that are one and the same."""


@dataclass(frozen=True)
class DepthSource:
    """Where depth images come from.

    Attributes:
        rgb_topic: Whole name of the rgb topic.
        depth_topic: Whole name of the depth topic.
        camera_info: Calibration of the depth camera, None where nobody publishes one.
        to_color: (4, 4) transform from the depth camera's optical frame to that of the color camera, metres; None
            where tf does not know it.
    """

    rgb_topic: str
    depth_topic: str
    camera_info: CameraInfo | None = None
    to_color: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class RgbdMessages:
    """The messages of one time.

    Attributes:
        rgb: Color image.
        depth: Depth image, None where the node runs without depth.
        camera_info: Calibration of `rgb`.
        is_rectified: Whether the lens distortion was taken out of rgb, None where that is not known.
        depth_source: Where `depth` comes from, None where that is not known.
    """

    rgb: Image | CompressedImage
    depth: Image | CompressedImage | None
    camera_info: CameraInfo
    is_rectified: bool | None = None
    depth_source: DepthSource | None = None


def is_depth_of_another_frame(messages: RgbdMessages) -> bool:
    """Return whether depth and rgb have different frame ids."""
    if messages.depth is None:
        return False
    rgb_frame, depth_frame = (message.header.frame_id.lstrip("/") for message in (messages.rgb, messages.depth))
    return bool(rgb_frame and depth_frame and rgb_frame != depth_frame)


def is_same_place(transform: NDArray[np.float64]) -> bool:
    """Return whether a (4, 4) transform between two cameras is as good as none."""
    rotation_difference = float(np.abs(transform[:3, :3] - np.eye(3)).max())
    return rotation_difference < MAX_ROTATION and float(np.linalg.norm(transform[:3, 3])) < MAX_OFFSET_M
