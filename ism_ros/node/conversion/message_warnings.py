"""Warnings about the messages of a frame that can be used, though its results are doubtful."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ism_ros.checks.depth_checks import DRIVER_REGISTRATION
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.errors import FrameError
from ism_ros.node.conversion.calibration import calibration_of, is_ambiguous, is_rectified_topic
from ism_ros.node.conversion.rgbd_messages import (
    DepthSource,
    RgbdMessages,
    is_depth_of_another_frame,
    is_same_place,
)
from ism_ros.node.conversion.undistortion import undistortion_for

MIXED_RECTIFICATION_PX = 2.0
"""Distortion from which on rectified color and raw depth do not fit each other, pixels."""


def message_warnings(messages: RgbdMessages, size: tuple[int, int], is_registered: bool) -> tuple[InputWarning, ...]:
    """Return what is doubtful about the messages of one frame.

    Args:
        messages: The messages.
        size: Width and height of rgb, pixels.
        is_registered: Whether this node registers the depth to rgb.
    """
    warnings = (
        _alignment_warning(messages) if not is_registered else None,
        _rectification_warning(messages, size) if not is_registered else None,
        _matrix_warning(messages),
        _frame_id_warning(messages.rgb),
    )
    return tuple(warning for warning in warnings if warning is not None)


def _alignment_warning(messages: RgbdMessages) -> InputWarning | None:
    if messages.depth is None or not is_depth_of_another_frame(messages):
        return None
    source = messages.depth_source or DepthSource("", "")
    if source.to_color is not None and is_same_place(source.to_color):
        return None
    missing = [
        *(["depth_camera_info remapped to the camera_info of that camera"] if source.camera_info is None else []),
        *(["the transform between the two frames in /tf_static"] if source.to_color is None else []),
    ]
    rgb_frame, depth_frame = messages.rgb.header.frame_id, messages.depth.header.frame_id
    return InputWarning(
        "depth_not_registered",
        f"depth is of another camera than rgb (frame_id '{depth_frame}', of rgb '{rgb_frame}'), so that its pixels are "
        f"of other places: {DRIVER_REGISTRATION} and remap depth to the registered topic, or have this node register "
        f"it, which needs {' and '.join(missing)}",
    )


def _rectification_warning(messages: RgbdMessages, size: tuple[int, int]) -> InputWarning | None:
    source = messages.depth_source
    if messages.depth is None or source is None:
        return None
    if is_depth_of_another_frame(messages) or not any(messages.camera_info.d):
        return None
    is_depth_rectified = is_rectified_topic(source.depth_topic)
    if bool(messages.is_rectified) == is_depth_rectified:
        return None
    shift_px = _largest_distortion_px(messages.camera_info, size)
    if shift_px < MIXED_RECTIFICATION_PX:
        return None
    rgb_is, depth_is = ("raw", "rectified") if is_depth_rectified else ("rectified", "raw")
    return InputWarning(
        "mixed_rectification",
        f"rgb is {rgb_is} but depth {depth_is}, by the names of their topics ({source.rgb_topic}, "
        f"{source.depth_topic}), which lie up to {shift_px:.0f} pixels apart: remap both to raw topics, whose lens is "
        "corrected here, or both to rectified ones",
    )


def _matrix_warning(messages: RgbdMessages) -> InputWarning | None:
    if messages.is_rectified is not None or not is_ambiguous(messages.camera_info):
        return None
    k, p = messages.camera_info.k, messages.camera_info.p
    return InputWarning(
        "ambiguous_matrix",
        f"camera_info has two matrices without a lens between them (K with fx = {k[0]:.1f}, P with fx = {p[0]:.1f}), "
        "and K is used: set the parameter rectified to rectified where rgb is rectified, so that P is used, or to raw",
    )


def _frame_id_warning(message: Image | CompressedImage) -> InputWarning | None:
    if message.header.frame_id:
        return None
    return InputWarning(
        "empty_frame_id",
        "rgb has no frame_id, so that tf and rviz2 cannot place the results: set the camera's frame_id in its driver",
    )


def _largest_distortion_px(camera_info: CameraInfo, size: tuple[int, int]) -> float:
    """Return how far raw pixels lie from rectified ones at most; 0 where that is not known."""
    try:
        raw = calibration_of(camera_info, size)
        if not raw.distortion or (raw.camera.width, raw.camera.height) != size:
            return 0.0
        return undistortion_for(raw.camera, raw.distortion).largest_shift_px
    except FrameError:  # a fisheye lens, of which rectified images can be used all the same
        return 0.0
