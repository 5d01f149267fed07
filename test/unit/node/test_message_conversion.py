"""Messages to frames and back: every encoding, every way a message can be wrong."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

import array
import contextlib
import io
import json
import struct
from dataclasses import replace

import cv2
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PictureFile
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from ism_ros.config.settings import Settings
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.detection_evidence import DetectionEvidence
from ism_ros.data.detections import Detections
from ism_ros.data.rle import decode_rle
from ism_ros.errors import FrameError
from ism_ros.node.conversion.calibration import calibration_of
from ism_ros.node.conversion.depth_conversion import depth_from_message
from ism_ros.node.conversion.frame_conversion import frame_from_messages
from ism_ros.node.conversion.image_conversion import rgb_from_message
from ism_ros.node.conversion.rgbd_messages import RgbdMessages
from ism_ros.node.outputs.detection_messages import detection_array, image_message, mask_array, mask_image, vision_info
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary

HEIGHT, WIDTH = 6, 8


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def image(pixels, encoding, padding=0, big_endian=False):
    """An Image message of an array, with `padding` bytes after each row."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=int(big_endian))
    message.step = padded.shape[1]
    message.data = array.array("B", padded.tobytes())
    return message


def camera_info(width=WIDTH, height=HEIGHT, focal_px=10.0):
    return CameraInfo(width=width, height=height, k=[focal_px, 0.0, 4.0, 0.0, focal_px, 3.0, 0.0, 0.0, 1.0])


def rgbd(rgb, **changed):
    depth = np.full((HEIGHT, WIDTH), 500, np.uint16)
    parts = {"rgb": image(rgb, "rgb8"), "depth": image(depth, "16UC1"), "camera_info": camera_info()}
    return RgbdMessages(**{**parts, **changed})


def reason_of(call, *arguments):
    with pytest.raises(FrameError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value.reason


# rgb


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "from_rgb"),
    [
        ("rgb8", None),
        ("bgr8", cv2.COLOR_RGB2BGR),
        ("rgba8", cv2.COLOR_RGB2RGBA),
        ("bgra8", cv2.COLOR_RGB2BGRA),
        ("8UC3", cv2.COLOR_RGB2BGR),
    ],
)
def test_color_encodings_arrive_as_rgb(rgb, encoding, from_rgb, padding):
    pixels = rgb if from_rgb is None else cv2.cvtColor(rgb, from_rgb)
    assert np.array_equal(rgb_from_message(image(pixels, encoding, padding)), rgb)


def test_gray_arrives_in_all_three_channels(rgb):
    converted = rgb_from_message(image(rgb[..., 0], "mono8"))
    assert np.array_equal(converted, np.repeat(rgb[..., :1], 3, axis=2))


def test_rgb8_is_not_copied(rgb):
    message = image(rgb, "rgb8")
    converted = rgb_from_message(message)
    message.data[0] = (message.data[0] + 1) % 256
    assert converted[0, 0, 0] == message.data[0]


def test_encodings_beyond_the_fast_ones_go_through_cv_bridge():
    gray16 = np.full((HEIGHT, WIDTH), 0x8000, np.uint16)
    converted = rgb_from_message(image(gray16, "mono16"))
    assert converted.shape == (HEIGHT, WIDTH, 3)
    assert converted.dtype == np.uint8


def test_a_compressed_image_is_decoded(rgb):
    png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
    message = CompressedImage(format="rgb8; png compressed bgr8", data=array.array("B", png.tobytes()))
    assert np.array_equal(rgb_from_message(message), rgb)


# depth


@pytest.mark.parametrize("big_endian", [False, True])
def test_16uc1_is_millimetres(big_endian):
    millimetres = np.array([[0, 1, 1000], [30_000, 250, 3]], dtype=">u2" if big_endian else "<u2")
    depth_m = depth_from_message(image(millimetres, "16UC1", padding=2, big_endian=big_endian))
    assert depth_m.dtype == np.float32
    assert depth_m == pytest.approx(np.array([[0, 0.001, 1], [30.0, 0.25, 0.003]]), abs=1e-5)


@pytest.mark.parametrize("big_endian", [False, True])
def test_32fc1_is_metres(big_endian):
    metres = np.array([[0.0, 0.5], [1.25, 3.0]], dtype=">f4" if big_endian else "<f4")
    assert np.array_equal(depth_from_message(image(metres, "32FC1", big_endian=big_endian)), metres.astype("<f4"))


def compressed_depth(pixels, encoding, quantisation=(0.0, 0.0)):
    png = cv2.imencode(".png", pixels)[1].tobytes()
    data = struct.pack("<iff", 0, *quantisation) + png
    return CompressedImage(format=f"{encoding}; compressedDepth png", data=array.array("B", data))


def test_compressed_depth_loses_no_bit_of_16uc1():
    millimetres = np.random.default_rng(0).integers(0, 32768, (HEIGHT, WIDTH), dtype=np.uint16)
    depth_m = depth_from_message(compressed_depth(millimetres, "16UC1"))
    assert np.array_equal(np.round(depth_m * 1000).astype(np.uint16), millimetres)


def test_compressed_depth_of_65535_is_no_reading():
    depth_mm = np.full((HEIGHT, WIDTH), 800, np.uint16)
    depth_mm[0] = 65535
    depth_m = depth_from_message(compressed_depth(depth_mm, "16UC1"))
    assert (depth_m[0] == 0).all()
    assert depth_m[1:] == pytest.approx(0.8)


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_turns_no_compressed_image(rgb, orientation):
    file = io.BytesIO()
    exif = PictureFile.Exif()
    exif[274] = orientation
    PictureFile.fromarray(rgb).save(file, "PNG", exif=exif)
    message = CompressedImage(format="rgb8; png compressed bgr8", data=array.array("B", file.getvalue()))
    np.testing.assert_array_equal(rgb_from_message(message), rgb)


def test_compressed_32fc1_is_quantised_inverse_depth_with_0_for_no_reading():
    a, b = 2000.0, -100.0
    depth_m = np.array([[0.5, 1.0], [2.0, 0.0]], np.float32)
    with np.errstate(divide="ignore"):
        quantised = np.where(depth_m > 0, a / depth_m + b, 0).astype(np.uint16)
    assert depth_from_message(compressed_depth(quantised, "32FC1", (a, b))) == pytest.approx(depth_m, abs=1e-3)


def rvl(pixels):
    """As RvlCodec writes it: 4 bits a step, three of the number and one that says that more follow."""
    nibbles = []

    def write(number):
        while number > 7:
            nibbles.append(number & 7 | 8)
            number >>= 3
        nibbles.append(number)

    values = [int(value) for value in pixels.ravel()]
    place, previous = 0, 0
    while place < len(values):
        begin = place
        while place < len(values) and values[place] == 0:
            place += 1
        write(place - begin)
        begin = place
        while place < len(values) and values[place] != 0:
            place += 1
        write(place - begin)
        for value in values[begin:place]:
            difference = value - previous
            write(difference << 1 ^ difference >> 31)
            previous = value
    nibbles += [0] * (-len(nibbles) % 8)
    eights = np.array(nibbles, np.uint32).reshape(-1, 8)
    return (eights << np.arange(28, -1, -4, dtype=np.uint32)).sum(axis=1).astype("<u4").tobytes()


def rvl_depth(pixels, encoding="16UC1", quantisation=(0.0, 0.0), words=None):
    height, width = pixels.shape
    data = struct.pack("<iffII", 0, *quantisation, width, height) + (rvl(pixels) if words is None else words)
    return CompressedImage(format=f"{encoding}; compressedDepth rvl", data=array.array("B", data))


@pytest.mark.parametrize("holes", [0.0, 0.3, 1.0])
def test_rvl_loses_no_bit_of_16uc1(holes):
    random = np.random.default_rng(0)
    millimetres = random.integers(1, 65536, (48, 64), dtype=np.uint16)
    millimetres[random.random(millimetres.shape) < holes] = 0
    depth_m = depth_from_message(rvl_depth(millimetres))
    assert np.array_equal(np.round(depth_m * 1000).astype(np.uint16), millimetres)


def test_rvl_of_a_known_stream_is_what_the_paper_says():
    # 2 zeros, 3 readings: 5, 7, 6 as differences 5, 2, -1 folded to 10, 4, 1: nibbles 2 3 (2|8 1) 4 1 0 0
    data = struct.pack("<iffIII", 0, 0.0, 0.0, 5, 1, 0x23A14100)
    message = CompressedImage(format="16UC1; compressedDepth rvl", data=array.array("B", data))
    assert depth_from_message(message) == pytest.approx(np.array([[0, 0, 0.005, 0.007, 0.006]]))


def test_rvl_of_32fc1_is_quantised_inverse_depth():
    a, b = 2000.0, -100.0
    quantised = np.array([[a / 0.5 + b, a / 2.0 + b, 0]]).astype(np.uint16)
    depth_m = depth_from_message(rvl_depth(quantised, "32FC1", (a, b)))
    assert depth_m == pytest.approx(np.array([[0.5, 2.0, 0.0]]), abs=1e-3)


@given(words=st.binary(max_size=64), width=st.integers(0, 2**32 - 1), height=st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_any_bytes_of_rvl_are_depth_or_are_refused(words, width, height):
    data = struct.pack("<iffII", 0, 0.0, 0.0, width, height) + words
    message = CompressedImage(format="16UC1; compressedDepth rvl", data=array.array("B", data))
    with contextlib.suppress(FrameError):
        assert depth_from_message(message).shape == (height, width)


@pytest.mark.parametrize("words", [b"", b"\xff" * 64, b"\x77" * 4], ids=["none", "endless", "too long"])
def test_rvl_that_no_encoder_wrote_is_refused(words):
    assert reason_of(depth_from_message, rvl_depth(np.ones((4, 4), np.uint16), words=words)) == "decode"


# what can be wrong


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


def test_a_color_picture_on_the_compressed_depth_topic_is_refused(rgb):
    assert reason_of(depth_from_message, compressed_depth(rgb, "16UC1")) == "encoding"


@pytest.mark.parametrize(
    "k",
    [[0.0] * 9, [float("nan")] * 9, [-5.0, 0.0, 4.0, 0.0, 5.0, 3.0, 0.0, 0.0, 1.0]],
    ids=["zero", "nan", "negative"],
)
def test_unusable_intrinsics_are_refused(k):
    assert reason_of(calibration_of, CameraInfo(width=WIDTH, height=HEIGHT, k=k)) == "bad_intrinsics"


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


# results


@pytest.fixture
def detections():
    """Two overlapping instances; the second has no pose."""
    masks = torch.zeros((2, HEIGHT, WIDTH), dtype=torch.bool)
    masks[0, 1:4, 2:6] = True
    masks[1, 2:6, 4:8] = True
    rotation = torch.from_numpy(Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()).float()
    return Detections(
        masks=masks,
        boxes_xyxy=boxes_from_masks(masks),
        object_index=torch.tensor([1, 0]),
        template_index=torch.tensor([7, 41]),
        score=torch.tensor([0.9, 0.6]),
        semantic_score=torch.tensor([0.8, 0.5]),
        appearance_score=torch.tensor([0.7, 0.4]),
        geometric_score=torch.tensor([0.6, 0.0]),
        visible_ratio=torch.tensor([0.5, 0.0]),
        rotation=torch.stack([rotation, torch.full((3, 3), torch.nan)]),
        translation_m=torch.tensor([[0.1, -0.2, 0.8], [torch.nan] * 3]),
        object_ids=("mug", "drill"),
        category_ids=(1, 2),
    )


HEADER = Header(frame_id="camera_color_optical_frame")


def test_a_detection_message_has_class_score_box_and_the_id_of_the_mask_image(detections):
    message = detection_array(detections, HEADER)
    first = message.detections[0]
    assert message.header == first.header == HEADER
    assert [d.id for d in message.detections] == ["1", "2"]
    assert first.results[0].hypothesis.class_id == "drill"
    assert first.results[0].hypothesis.score == pytest.approx(0.9)
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (3.5, 2.0)
    assert (first.bbox.size_x, first.bbox.size_y) == (4.0, 3.0)


def test_a_detection_message_has_the_coarse_pose_with_its_uncertainty(detections):
    result = detection_array(detections, HEADER).detections[0].results[0]
    q = result.pose.pose.orientation
    assert Rotation.from_quat([q.x, q.y, q.z, q.w]).as_euler("xyz", degrees=True) == pytest.approx(
        [10, 20, 30], abs=1e-3
    )
    position = result.pose.pose.position
    assert [position.x, position.y, position.z] == pytest.approx([0.1, -0.2, 0.8])
    assert np.diag(np.reshape(result.pose.covariance, (6, 6))).min() > 0


def test_a_detection_without_a_pose_says_so_in_its_covariance(detections):
    pose = detection_array(detections, HEADER).detections[1].results[0].pose
    assert pose.covariance[0] == -1
    assert np.isfinite([pose.pose.position.x, pose.pose.orientation.w]).all()


def test_the_mask_image_holds_the_ids_with_the_better_score_on_top(detections):
    message = mask_image(detections, HEADER)
    labels = np.frombuffer(message.data, "<u2").reshape(HEIGHT, WIDTH)
    assert (message.encoding, message.step, message.header) == ("mono16", 2 * WIDTH, HEADER)
    assert np.array_equal(labels == 1, detections.masks[0].numpy())
    assert np.array_equal(labels == 2, (detections.masks[1] & ~detections.masks[0]).numpy())


def test_instance_masks_stay_whole_where_they_overlap(detections):
    message = mask_array(detections, HEADER, inference_s=0.25)
    assert message.inference_time == pytest.approx(0.25)
    for row, instance in enumerate(message.instances):
        mask = decode_rle({"size": [instance.height, instance.width], "counts": instance.rle_counts})
        assert np.array_equal(mask, detections.masks[row].numpy())
    first = message.instances[0]
    assert (first.id, first.class_id, first.template_index) == (1, "drill", 7)
    parts = (first.score, first.semantic_score, first.appearance_score, first.geometric_score, first.visible_ratio)
    assert parts == pytest.approx((0.9, 0.8, 0.7, 0.6, 0.5))


def test_an_instance_has_its_evidence_and_none_where_it_was_not_verified(detections):
    numbers = torch.tensor([[0.5, 2.0], [torch.nan, torch.nan]])
    verified = replace(detections, evidence=DetectionEvidence(("outline_iou", "hidden"), numbers, -numbers))
    first, second = mask_array(verified, HEADER, 0.1).instances
    assert first.evidence_names == ["outline_iou", "hidden"]
    assert list(first.evidence_values) == [0.5, 2.0]
    assert list(first.evidence_contributions) == [-0.5, -2.0]
    assert [len(second.evidence_names), len(second.evidence_values), len(second.evidence_contributions)] == [0, 0, 0]


def test_no_detections_make_empty_messages():
    none = Detections.empty(HEIGHT, WIDTH)
    assert not detection_array(none, HEADER).detections
    assert not mask_array(none, HEADER, 0.1).instances
    assert set(mask_image(none, HEADER).data) == {0}


def test_an_image_message_reads_back_as_it_was(rgb):
    assert np.array_equal(rgb_from_message(image_message(rgb, "rgb8", HEADER)), rgb)


def test_vision_info_tells_the_objects_their_source_and_the_version():
    mug = KnownObject("mug", 5, torch.zeros(42, 4), torch.zeros(42, 1, 4), source="/cad/mug.ply")
    message = vision_info(ObjectLibrary().with_object(mug), Settings(objects_file="/cad/objects.yaml"), HEADER)
    database = json.loads(message.database_location)
    assert database["objects_file"] == "/cad/objects.yaml"
    assert database["objects"] == [{"id": "mug", "category_id": 5, "source": "/cad/mug.ply"}]
    assert message.database_version == 1
