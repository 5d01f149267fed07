"""ROS messages to frames; whatever a driver can get wrong is found here and raised as a FrameError."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.depth_checks import depth_encoding_warnings
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.errors import FrameError
from ism_ros.node.conversion.calibration import Calibration, calibration_of, is_rectified_topic
from ism_ros.node.conversion.depth_conversion import InvalidDepth, depth_encoding, depth_from_message, invalid_depth
from ism_ros.node.conversion.depth_registration import DepthCamera, depth_camera_for, register_depth
from ism_ros.node.conversion.image_conversion import rgb_from_message
from ism_ros.node.conversion.message_warnings import message_warnings
from ism_ros.node.conversion.rgbd_messages import RgbdMessages, is_depth_of_another_frame, is_same_place
from ism_ros.node.conversion.undistortion import Undistortion, undistortion_for


@dataclass(frozen=True, kw_only=True)
class UndistortedFrame(Frame):
    """A frame as a pinhole camera would have taken it.

    Attributes:
        distorted_rgb: (H, W, 3) uint8, the image as it was published, with lens distortion.
        undistortion: What was done to it.
    """

    distorted_rgb: NDArray[np.uint8]
    undistortion: Undistortion


def frame_from_messages(messages: RgbdMessages) -> tuple[Frame, InvalidDepth]:
    """Convert the messages of one time to a frame.

    Returns:
        The frame, an UndistortedFrame where lens distortion was corrected; and what was invalid in its depth.

    Raises:
        FrameError: The messages cannot be used.
    """
    header = messages.rgb.header
    rgb = rgb_from_message(messages.rgb)
    size = rgb.shape[1], rgb.shape[0]
    calibration = calibration_of(messages.camera_info, size, bool(messages.is_rectified))
    undistortion = _undistortion(calibration, size)
    depth_m, invalid = None, InvalidDepth()
    warnings: tuple[InputWarning, ...] = ()
    if messages.depth is not None:
        depth_m = depth_from_message(messages.depth)
        invalid = invalid_depth(depth_m)
        warnings = depth_encoding_warnings(depth_m, depth_encoding(messages.depth))
    depth_camera = None if depth_m is None else _depth_camera(messages, depth_m)
    if depth_m is not None and depth_camera is None and depth_m.shape != rgb.shape[:2]:
        undistortion = None  # Frame refuses it, with the sizes as they are
    camera = calibration.camera if undistortion is None else undistortion.camera
    if depth_m is not None and depth_camera is not None:
        depth_m = register_depth(depth_m, depth_camera, camera)
    elif depth_m is not None and undistortion is not None:
        depth_m = undistortion.undistort_depth(depth_m)
    common: dict[str, Any] = {
        "depth_m": depth_m,
        "camera": camera,
        "stamp_ns": header.stamp.sec * 1_000_000_000 + header.stamp.nanosec,
        "frame_id": header.frame_id,
        "warnings": (*warnings, *message_warnings(messages, size, is_registered=depth_camera is not None)),
        "is_registration_checked": depth_camera is not None,
    }
    if undistortion is None:
        return Frame(rgb=rgb, **common), invalid
    frame = UndistortedFrame(
        rgb=undistortion.undistort_rgb(rgb), distorted_rgb=rgb, undistortion=undistortion, **common
    )
    return frame, invalid


def published_rgb(frame: Frame) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) as it was published, with lens distortion."""
    return frame.distorted_rgb if isinstance(frame, UndistortedFrame) else frame.rgb


def in_published_pixels(frame: Frame, detections: Detections) -> tuple[Detections, Detections]:
    """Bring detections into the pixels of the image as it was published.

    Args:
        frame: The frame that they are of.
        detections: On the CPU.

    Returns:
        The detections that are in the published image, in its pixels; and the same ones in the frame's own pixels.
    """
    if isinstance(frame, UndistortedFrame):
        return frame.undistortion.in_published_pixels(detections)
    return detections, detections


def _undistortion(calibration: Calibration, size: tuple[int, int]) -> Undistortion | None:
    """Return what corrects the lens, None where there is nothing to correct."""
    camera = calibration.camera
    if not calibration.distortion or (camera.width, camera.height) != size:  # which Frame refuses
        return None
    undistortion = undistortion_for(camera, calibration.distortion)
    return None if undistortion.is_negligible else undistortion


def _depth_camera(messages: RgbdMessages, depth_m: NDArray[np.float32]) -> DepthCamera | None:
    """Return the depth camera where it is known to be another one than the color camera, and where it is."""
    source = messages.depth_source
    if source is None or not is_depth_of_another_frame(messages):
        return None
    if source.camera_info is None or source.to_color is None or is_same_place(source.to_color):
        return None
    size = depth_m.shape[1], depth_m.shape[0]
    calibration = calibration_of(source.camera_info, size, is_rectified_topic(source.depth_topic))
    camera = calibration.camera
    if (camera.width, camera.height) != size:
        raise FrameError(
            "camera_info_size",
            f"depth_camera_info is for {camera.width} x {camera.height} but depth is {size[0]} x {size[1]}: use the "
            "camera_info of the depth stream",
        )
    return depth_camera_for(camera, calibration.distortion, source.to_color)
