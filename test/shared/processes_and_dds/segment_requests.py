"""Requests to `~/segment` with a whole frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from ism_ros.srv import Segment
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from ism_ros.node.outputs.detection_messages import image_message


def frame_messages(rgb: np.ndarray, depth_m: np.ndarray, intrinsics: np.ndarray) -> dict[str, Image | CameraInfo]:
    """The fields of a request that make a frame."""
    height, width = rgb.shape[:2]
    header = Header(frame_id="uploaded")
    return {
        "rgb": image_message(rgb, "rgb8", header),
        "depth": image_message(np.round(depth_m * 1000).astype(np.uint16), "16UC1", header),
        "camera_info": CameraInfo(width=width, height=height, k=[float(k) for k in intrinsics.ravel()]),
    }


def request_of(stored: dict[str, np.ndarray], **fields: Any) -> Segment.Request:
    """A request with the frame that a workspace has in frame.npz."""
    return Segment.Request(**frame_messages(stored["rgb"], stored["depth_m"], stored["intrinsics"]), **fields)
