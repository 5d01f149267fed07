"""Frames out of the messages of one moment: sizes, frame_ids, stamps, readings that are none."""

import array
from dataclasses import replace

import cv2
import numpy as np
import pytest
from image_messages import HEIGHT, WIDTH, camera_info, image, reason_of, rgbd
from sensor_msgs.msg import CompressedImage

from ism_ros.node.conversion.frame_conversion import frame_from_messages


@pytest.mark.parametrize("compressed", [False, True])
def test_a_picture_without_colors_is_gray_and_one_with_colors_or_all_of_one_gray_is_not(rgb, compressed):
    def is_gray(pixels, encoding):
        message = image(pixels, encoding)
        if compressed:
            jpeg = cv2.imencode(".jpg", pixels if pixels.ndim == 2 else pixels[..., ::-1])[1].tobytes()
            message = CompressedImage(format=f"rgb8; jpeg compressed {encoding}", data=array.array("B", jpeg))
        message.header.frame_id = "color"
        return frame_from_messages(replace(rgbd(rgb), rgb=message))[0].is_gray

    assert is_gray(np.ascontiguousarray(rgb[..., 0]), "mono8")
    assert not is_gray(rgb, "rgb8")
    assert not is_gray(np.full((HEIGHT, WIDTH), 128, np.uint8), "mono8")


@pytest.mark.parametrize(
    ("rgb_frame", "depth_frame", "reasons"),
    [
        ("color", "color", []),
        ("color", "/color", []),
        ("color", "depth", ["depth_not_registered"]),
        ("color", "", []),
        ("", "depth", ["empty_frame_id"]),
    ],
)
def test_frame_ids_tell_depth_of_another_camera(rgb, rgb_frame, depth_frame, reasons):
    messages = rgbd(rgb)
    messages.rgb.header.frame_id, messages.depth.header.frame_id = rgb_frame, depth_frame
    assert [warning.reason for warning in frame_from_messages(messages)[0].warnings] == reasons


def test_camera_info_of_another_size_is_refused(rgb):
    assert reason_of(frame_from_messages, rgbd(rgb, camera_info=camera_info(width=WIDTH + 1))) == "camera_info_size"


def test_depth_of_another_size_is_refused(rgb):
    small = image(np.full((HEIGHT - 1, WIDTH), 500, np.uint16), "16UC1")
    assert reason_of(frame_from_messages, rgbd(rgb, depth=small)) == "size_mismatch"


def test_nan_infinite_and_negative_depth_become_no_reading_and_are_noted(rgb):
    metres = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    metres[0, :4] = np.nan, np.inf, -np.inf, -1.0
    frame, invalid = frame_from_messages(rgbd(rgb, depth=image(metres, "32FC1")))
    assert np.array_equal(frame.depth_m[0, :5], np.array([0, 0, 0, 0, 0.5], np.float32))
    assert invalid.nonfinite_fraction == pytest.approx(3 / 48)
    assert invalid.negative_fraction == pytest.approx(1 / 48)


def test_a_frame_carries_the_stamp_and_frame_of_its_rgb_message(rgb):
    message = rgbd(rgb)
    message.rgb.header.frame_id = "camera_color_optical_frame"
    message.rgb.header.stamp.sec, message.rgb.header.stamp.nanosec = 12, 34
    frame, _ = frame_from_messages(message)
    assert (frame.stamp_ns, frame.frame_id) == (12_000_000_034, "camera_color_optical_frame")


def test_a_frame_without_depth_is_a_frame(rgb):
    frame, _ = frame_from_messages(rgbd(rgb, depth=None))
    assert frame.depth_m is None
