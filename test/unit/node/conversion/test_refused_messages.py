"""Every way a message can be wrong; whatever it holds, the answer is an image, a frame, or an error with a reason."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

import array
import contextlib

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from image_messages import HEIGHT, WIDTH, compressed_depth, image, reason_of, rgbd
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ism_ros.errors import FrameError
from ism_ros.node.conversion.calibration import calibration_of
from ism_ros.node.conversion.depth_conversion import depth_from_message
from ism_ros.node.conversion.frame_conversion import frame_from_messages
from ism_ros.node.conversion.image_conversion import rgb_from_message


def with_changes(message, **changes):
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoding": "nonsense"}, "encoding"),
        ({"encoding": ""}, "encoding"),
        ({"encoding": "16UC1"}, "encoding"),
        ({"data": array.array("B", bytes(10))}, "truncated"),
        ({"data": array.array("B")}, "truncated"),
        ({"height": 4_000_000_000}, "truncated"),
        ({"step": 3}, "step"),
        ({"step": 0}, "step"),
        ({"width": 4_000_000_000}, "step"),
        ({"height": 0}, "empty_image"),
        ({"width": 0, "height": 0}, "empty_image"),
    ],
)
def test_a_broken_rgb_message_is_refused_with_its_reason(rgb, changes, reason):
    assert reason_of(rgb_from_message, with_changes(image(rgb, "rgb8"), **changes)) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoding": "64FC1"}, "encoding"),
        ({"encoding": "rgb8"}, "encoding"),
        ({"data": array.array("B", bytes(10))}, "truncated"),
        ({"step": 1}, "step"),
        ({"height": 0}, "empty_image"),
    ],
)
def test_a_broken_depth_message_is_refused_with_its_reason(changes, reason):
    message = image(np.full((HEIGHT, WIDTH), 500, np.uint16), "16UC1")
    assert reason_of(depth_from_message, with_changes(message, **changes)) == reason


def test_swapped_topics_are_suspected():
    with pytest.raises(FrameError, match="swapped"):
        depth_from_message(image(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "rgb8"))


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_undecodable_compressed_images_are_refused(data):
    assert reason_of(rgb_from_message, CompressedImage(format="jpeg", data=array.array("B", data))) == "decode"


@pytest.mark.parametrize(("data", "reason"), [(b"", "truncated"), (bytes(12), "truncated"), (bytes(50), "decode")])
def test_undecodable_compressed_depth_is_refused(data, reason):
    message = CompressedImage(format="16UC1; compressedDepth png", data=array.array("B", data))
    assert reason_of(depth_from_message, message) == reason


@pytest.mark.parametrize(("suffix", "form"), [(".png", "16UC1; png compressed "), (".jpg", "16UC1; jpeg compressed ")])
def test_depth_of_the_compressed_transport_is_told_the_topic_of_compressed_depth(suffix, form):
    pixels = np.full((HEIGHT, WIDTH), 100, np.uint16 if suffix == ".png" else np.uint8)
    message = CompressedImage(format=form, data=array.array("B", cv2.imencode(suffix, pixels)[1].tobytes()))
    with pytest.raises(FrameError, match="/compressedDepth"):
        depth_from_message(message)


def test_compressed_depth_where_rgb_should_be_is_suspected_to_be_swapped():
    with pytest.raises(FrameError, match="swapped"):
        rgb_from_message(compressed_depth(np.full((HEIGHT, WIDTH), 500, np.uint16), "16UC1"))


def test_a_color_picture_on_the_compressed_depth_topic_is_refused(rgb):
    assert reason_of(depth_from_message, compressed_depth(rgb, "16UC1")) == "encoding"


@pytest.mark.parametrize(
    "k",
    [[0.0] * 9, [float("nan")] * 9, [-5.0, 0.0, 4.0, 0.0, 5.0, 3.0, 0.0, 0.0, 1.0]],
    ids=["zero", "nan", "negative"],
)
def test_unusable_intrinsics_are_refused(k):
    assert reason_of(calibration_of, CameraInfo(width=WIDTH, height=HEIGHT, k=k)) == "bad_intrinsics"


ENCODINGS = [
    "rgb8",
    "bgr8",
    "rgba8",
    "mono8",
    "mono16",
    "8UC1",
    "16UC1",
    "32FC1",
    "64FC1",
    "bayer_rggb8",
    "yuv422",
    "x",
]


@settings(max_examples=300, deadline=None)
@given(
    height=st.sampled_from([0, 1, 2, 5, 2**31, 2**32 - 1]),
    width=st.sampled_from([0, 1, 2, 5, 2**31, 2**32 - 1]),
    step=st.sampled_from([0, 1, 2, 4, 6, 15, 20, 2**32 - 1]),
    encoding=st.sampled_from(ENCODINGS),
    data=st.binary(max_size=120),
    big_endian=st.sampled_from([0, 1, 255]),
    convert=st.sampled_from([rgb_from_message, depth_from_message]),
)
def test_whatever_the_fields_hold_the_answer_is_an_image_or_a_frame_error(
    height, width, step, encoding, data, big_endian, convert
):
    message = Image(height=height, width=width, step=step, encoding=encoding, is_bigendian=big_endian)
    message.data = array.array("B", data)
    with contextlib.suppress(FrameError):
        assert convert(message).shape[:2] == (height, width)


@settings(max_examples=300, deadline=None)
@given(
    form=st.sampled_from(["16UC1; compressedDepth png", "32FC1; compressedDepth rvl", "32FC1; x", "jpeg", "", ";;"]),
    header=st.binary(max_size=16),
    png=st.sampled_from([b"", compressed_depth(np.full((3, 4), 500, np.uint16), "16UC1").data[12:].tobytes()]),
    tail=st.binary(max_size=60),
    convert=st.sampled_from([rgb_from_message, depth_from_message]),
)
def test_whatever_a_compressed_message_holds_the_answer_is_an_image_or_a_frame_error(form, header, png, tail, convert):
    message = CompressedImage(format=form, data=array.array("B", header + png + tail))
    with contextlib.suppress(FrameError):
        assert convert(message).ndim in (2, 3)


@settings(max_examples=300, deadline=None)
@given(
    k=st.lists(st.floats(width=64), min_size=9, max_size=9),
    size=st.tuples(*[st.sampled_from([0, 1, WIDTH, HEIGHT, 2**32 - 1])] * 2),
    depth=st.sampled_from(["16UC1", "32FC1"]),
    data=st.binary(min_size=HEIGHT * WIDTH * 4, max_size=HEIGHT * WIDTH * 4),
)
def test_whatever_camera_and_readings_are_the_answer_is_a_sound_frame_or_a_frame_error(k, size, depth, data):
    pixels = np.frombuffer(data, "<f4" if depth == "32FC1" else "<u2")[: HEIGHT * WIDTH].reshape(HEIGHT, WIDTH)
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    info = CameraInfo(width=size[0], height=size[1], k=k)
    with contextlib.suppress(FrameError):
        frame, _ = frame_from_messages(rgbd(rgb, depth=image(pixels, depth), camera_info=info))
        assert np.isfinite(frame.depth_m).all()
        assert frame.depth_m.min() >= 0
        assert np.isfinite(frame.camera.intrinsics).all()
