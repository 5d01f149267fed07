"""Depth out of messages: every encoding, and compressed depth as PNG and as RVL."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

import array
import contextlib
import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from image_messages import HEIGHT, WIDTH, compressed_depth, image, reason_of
from sensor_msgs.msg import CompressedImage

from ism_ros.errors import FrameError
from ism_ros.node.conversion.depth_conversion import depth_from_message


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
