"""The messages that make one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

SAME_PLACE_M, SAME_DIRECTION = 0.001, 0.001
"""A depth camera no further from the colour camera, in metres and radians, is the same one."""


@dataclass(frozen=True)
class DepthSource:
    """Where depth images come from.

    rgb_topic, depth_topic: whole names. camera_info: of the depth camera, None where nobody publishes one. to_colour:
    (4, 4) from its optical frame to that of the colour camera, metres; None where tf does not know it.
    """

    rgb_topic: str
    depth_topic: str
    camera_info: CameraInfo | None = None
    to_colour: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Triple:
    """The messages of one moment; `depth` is None where the node runs without depth.

    is_rectified: whether the lens was taken out of rgb, None where nobody says so. depth_source: None where nothing is
    known of it.
    """

    rgb: Image | CompressedImage
    depth: Image | CompressedImage | None
    camera_info: CameraInfo
    is_rectified: bool | None = None
    depth_source: DepthSource | None = None


def is_depth_of_another_frame(triple: Triple) -> bool:
    """Whether depth says that another camera took it than rgb."""
    if triple.depth is None:
        return False
    rgb_frame, depth_frame = (message.header.frame_id.lstrip("/") for message in (triple.rgb, triple.depth))
    return bool(rgb_frame and depth_frame and rgb_frame != depth_frame)


def is_same_place(transform: NDArray[np.float64]) -> bool:
    turned = float(np.abs(transform[:3, :3] - np.eye(3)).max())
    return turned < SAME_DIRECTION and float(np.linalg.norm(transform[:3, 3])) < SAME_PLACE_M
