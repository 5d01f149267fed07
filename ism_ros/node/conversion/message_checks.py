"""What is odd about the messages of a frame and makes its results doubtful, though it can be used."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.frame import FrameError
from ism_ros.node.conversion.calibration import calibration_of, is_ambiguous, is_rectified_topic
from ism_ros.node.conversion.undistortion import undistortion_for
from ism_ros.node.inputs.rgbd_messages import DepthSource, Triple, is_depth_of_another_frame, is_same_place

MIXED_RECTIFICATION_PX = 2.0
"""A lens that moves pixels further tears rectified colour and raw depth apart."""


def doubts_about(triple: Triple, size: tuple[int, int], is_registered: bool) -> tuple[InputWarning, ...]:
    """All of them. size: width and height of the picture as it came; is_registered: whether this node registers its
    depth."""
    found = (
        _doubt_about_alignment(triple) if not is_registered else None,
        _doubt_about_rectification(triple, size) if not is_registered else None,
        _doubt_about_matrix(triple),
        _doubt_about_frame_id(triple.rgb),
    )
    return tuple(warning for warning in found if warning is not None)


def _doubt_about_alignment(triple: Triple) -> InputWarning | None:
    if triple.depth is None or not is_depth_of_another_frame(triple):
        return None
    source = triple.depth_source or DepthSource("", "")
    if source.to_colour is not None and is_same_place(source.to_colour):
        return None
    missing = [
        *(["depth_camera_info remapped to the camera_info of that camera"] if source.camera_info is None else []),
        *(["the transform between the two frames in /tf_static"] if source.to_colour is None else []),
    ]
    rgb_frame, depth_frame = triple.rgb.header.frame_id, triple.depth.header.frame_id
    return InputWarning(
        "depth_not_registered",
        f"depth is of another camera than rgb (frame_id '{depth_frame}', of rgb '{rgb_frame}'), so that its pixels are "
        "of other places: switch registration on in the driver (RealSense: align_depth.enable:=true; Orbbec, OpenNI, "
        "Kinect: depth_registration:=true) and remap depth to the registered topic, or have this node register it, "
        f"which needs {' and '.join(missing)}",
    )


def _doubt_about_rectification(triple: Triple, size: tuple[int, int]) -> InputWarning | None:
    source = triple.depth_source
    if triple.depth is None or source is None or is_depth_of_another_frame(triple) or not any(triple.camera_info.d):
        return None
    is_depth_rectified = is_rectified_topic(source.depth_topic)
    if bool(triple.is_rectified) == is_depth_rectified:
        return None
    shift_px = _shift_by_lens_px(triple.camera_info, size)
    if shift_px < MIXED_RECTIFICATION_PX:
        return None
    rgb_is, depth_is = ("raw", "rectified") if is_depth_rectified else ("rectified", "raw")
    return InputWarning(
        "mixed_rectification",
        f"rgb is {rgb_is} but depth {depth_is}, by the names of their topics ({source.rgb_topic}, "
        f"{source.depth_topic}), which lie up to {shift_px:.0f} pixels apart: remap both to raw topics, whose lens is "
        "corrected here, or both to rectified ones",
    )


def _doubt_about_matrix(triple: Triple) -> InputWarning | None:
    if triple.is_rectified is not None or not is_ambiguous(triple.camera_info):
        return None
    k, p = triple.camera_info.k, triple.camera_info.p
    return InputWarning(
        "ambiguous_matrix",
        f"camera_info has two matrices without a lens between them (K with fx = {k[0]:.1f}, P with fx = {p[0]:.1f}), "
        "and K is used: set the parameter rectified to rectified where rgb is rectified, so that P is used, or to raw",
    )


def _shift_by_lens_px(camera_info: CameraInfo, size: tuple[int, int]) -> float:
    """How far raw pixels lie from rectified ones at most; 0 where that is not known."""
    try:
        raw = calibration_of(camera_info, size)
        if not raw.distortion or (raw.camera.width, raw.camera.height) != size:
            return 0.0
        return undistortion_for(raw.camera, raw.distortion).largest_shift_px
    except FrameError:  # a fisheye lens, of which rectified images can be used all the same
        return 0.0


def _doubt_about_frame_id(message: Image | CompressedImage) -> InputWarning | None:
    if message.header.frame_id:
        return None
    return InputWarning(
        "empty_frame_id",
        "rgb has no frame_id, so that tf and rviz2 cannot place the results: set the camera's frame_id in its driver",
    )
