"""cv_bridge, released or from the overlay: what the node relies on."""

from __future__ import annotations

import array
import time

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge, CvBridgeError, cvtColorForDisplay, getCvType
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

BRIDGE = CvBridge()
GENERIC_TYPES = {
    "8U": np.uint8, "8S": np.int8, "16U": np.uint16, "16S": np.int16, "32S": np.int32, "32F": np.float32,
    "64F": np.float64,
}  # fmt: skip


def some_image(dtype: type = np.uint8, channels: int = 3, height: int = 5, width: int = 7) -> np.ndarray:
    """Random pixels over the whole range of the type; (H, W) for one channel."""
    generator = np.random.default_rng(1)
    shape = (height, width) if channels == 1 else (height, width, channels)
    if np.issubdtype(dtype, np.floating):
        return generator.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)


def message(encoding: str, height: int, width: int, step: int, data: bytes, big: bool = False) -> Image:
    """An image message made by hand."""
    made = Image(encoding=encoding, height=height, width=width, step=step, is_bigendian=int(big))
    made.data = array.array("B", data)
    return made


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("depth", GENERIC_TYPES)
def test_round_trip_keeps_every_value(depth: str, channels: int) -> None:
    image = some_image(GENERIC_TYPES[depth], channels)
    sent = BRIDGE.cv2_to_imgmsg(image)
    assert (sent.encoding, sent.height, sent.width) == (f"{depth}C{channels}", 5, 7)
    assert sent.step == 7 * image.itemsize * channels
    back = BRIDGE.imgmsg_to_cv2(sent)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1", "32SC1", "bgr16"])
def test_big_endian_and_padded_rows(encoding: str) -> None:
    dtype = {"32FC1": np.float32, "32SC1": np.int32}.get(encoding, np.uint16)
    image = some_image(dtype, 3 if encoding == "bgr16" else 1)
    for big in (False, True):
        rows = image.astype(image.dtype.newbyteorder(">" if big else "<")).reshape(5, -1).view(np.uint8)
        padded = np.hstack([rows, np.full((5, 6), 0xEE, np.uint8)])
        given = message(encoding, 5, 7, padded.shape[1], padded.tobytes(), big)
        back = BRIDGE.imgmsg_to_cv2(given)
        assert back.dtype.isnative
        np.testing.assert_array_equal(back, image)


def test_big_endian_array_goes_out_as_such() -> None:
    image = some_image(np.uint16, 1)
    sent = BRIDGE.cv2_to_imgmsg(image.astype(">u2"), "mono16")
    assert sent.is_bigendian
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(sent), image)


def test_part_of_an_array_goes_out_whole() -> None:
    image = some_image(height=20, width=20)
    for part in (image[2:9, 3:11], image[::-1], image[:, :, ::-1], image.transpose(1, 0, 2)):
        np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(part, "rgb8")), part)


def test_header_is_carried() -> None:
    header = Header(frame_id="camera")
    header.stamp.sec = 7
    sent = BRIDGE.cv2_to_imgmsg(some_image(), "rgb8", header=header)
    assert (sent.header.frame_id, sent.header.stamp.sec) == ("camera", 7)


def test_colors() -> None:
    rgb = some_image()
    given = BRIDGE.cv2_to_imgmsg(rgb, "rgb8")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(given, "bgr8"), rgb[:, :, ::-1])
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(given, "rgb8"), rgb)
    rgba = BRIDGE.imgmsg_to_cv2(given, "rgba8")
    assert rgba.shape == (5, 7, 4)
    assert (rgba[:, :, 3] == 255).all()
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(given, "mono8"), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    gray = BRIDGE.cv2_to_imgmsg(rgb[:, :, 0], "mono8")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(gray, "rgb8"), np.repeat(rgb[:, :, :1], 3, axis=2))


def test_range_of_8_bit_becomes_that_of_16_bit_and_back() -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wide = BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(gray, "mono8"), "mono16")
    np.testing.assert_array_equal(wide, gray.astype(np.uint16) * 257)
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(wide, "mono16"), "mono8"), gray)


def test_bayer_patterns_give_the_color_of_their_pixels() -> None:
    for pattern, (red_y, red_x) in {"rggb": (0, 0), "bggr": (1, 1), "gbrg": (1, 0), "grbg": (0, 1)}.items():
        raw = np.zeros((16, 16), np.uint8)
        raw[red_y::2, red_x::2] = 200  # light on the red pixels alone
        rgb = BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(raw, f"bayer_{pattern}8"), "rgb8")
        middle = rgb[6:10, 6:10].reshape(-1, 3).max(axis=0)
        assert middle[0] == 200, pattern
        assert middle[1] == middle[2] == 0, pattern


@pytest.mark.parametrize(("encoding", "luma"), [("yuv422", 1), ("yuv422_yuy2", 0)])
def test_yuv_without_color_is_gray(encoding: str, luma: int) -> None:
    packed = np.full((4, 6, 2), 128, np.uint8)
    packed[:, :, luma] = 235
    given = message(encoding, 4, 6, 12, packed.tobytes())
    rgb = BRIDGE.imgmsg_to_cv2(given, "rgb8")
    assert rgb.shape == (4, 6, 3)
    assert rgb.min() >= 254
    assert BRIDGE.imgmsg_to_cv2(given, "mono8").shape == (4, 6)


def test_what_makes_no_sense_is_refused() -> None:
    rgb = some_image()
    with pytest.raises(CvBridgeError):
        BRIDGE.cv2_to_imgmsg(rgb, "rgba8")
    with pytest.raises(CvBridgeError):
        BRIDGE.cv2_to_imgmsg(rgb, "no_such_encoding")
    with pytest.raises(CvBridgeError):
        BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(rgb), "mono8")  # 8UC3 does not say which colors
    with pytest.raises(CvBridgeError):
        BRIDGE.imgmsg_to_cv2(message("no_such_encoding", 1, 1, 1, b"0"))
    with pytest.raises(TypeError):
        BRIDGE.cv2_to_imgmsg([[1, 2], [3, 4]], "mono8")
    with pytest.raises(TypeError):
        BRIDGE.imgmsg_to_cv2(message("mono8", 10, 10, 10, b"too few"))


def test_encodings_in_numbers() -> None:
    assert BRIDGE.encoding_to_dtype_with_channels("16UC1") == ("uint16", 1)
    assert BRIDGE.encoding_to_dtype_with_channels("rgb8") == ("uint8", 3)
    assert BRIDGE.encoding_to_cvtype2("32FC2") == cv2.CV_32FC2
    assert BRIDGE.dtype_with_channels_to_cvtype2(np.dtype(np.float32), 1) == "32FC1"
    assert getCvType("8U") == cv2.CV_8UC1
    assert getCvType("bgra8") == cv2.CV_8UC4


@pytest.mark.parametrize("image_format", ["png", "jpg", "bmp", "tiff"])
def test_compressed_round_trip(image_format: str) -> None:
    image = cv2.resize(some_image(height=8, width=8), (64, 64), interpolation=cv2.INTER_CUBIC)
    sent = BRIDGE.cv2_to_compressed_imgmsg(image, image_format)
    assert sent.format == image_format
    back = BRIDGE.compressed_imgmsg_to_cv2(sent)
    assert back.shape == image.shape
    assert np.abs(back.astype(int) - image).mean() < (0.01 if image_format != "jpg" else 20)
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(sent, "rgb8"), back[:, :, ::-1])


def test_compressed_16_bit_is_exact() -> None:
    depth = some_image(np.uint16, 1, 48, 64)
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(BRIDGE.cv2_to_compressed_imgmsg(depth, "png")), depth)


def test_what_is_no_compressed_image_is_refused() -> None:
    pytest.importorskip("cv_bridge.color", reason="the released package returns None")
    broken = CompressedImage(format="png")
    broken.data = array.array("B", b"not a png")
    with pytest.raises(CvBridgeError):
        BRIDGE.compressed_imgmsg_to_cv2(broken)


def test_display_of_labels_and_depth() -> None:
    labels = np.arange(-1, 11, dtype=np.int32).reshape(3, 4)
    shown = cvtColorForDisplay(labels, "32SC1", "bgr8")
    assert (shown[0, 0] == 0).all()
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 12
    depth = np.linspace(0.5, 2.0, 12, dtype=np.float32).reshape(3, 4)
    spread = cvtColorForDisplay(depth, "32FC1", "mono8", do_dynamic_scaling=True)
    assert (spread.min(), spread.max()) == (0, 255)


def test_a_full_hd_image_takes_milliseconds() -> None:
    image = some_image(height=1080, width=1920)
    best = []
    for _ in range(5):
        begin = time.perf_counter()
        BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(image, "bgr8"))
        best.append(time.perf_counter() - begin)
    # Anything that looks at the bytes one by one takes seconds.
    assert min(best) < 0.1
