"""Color images out of messages: every encoding, and compressed ones."""

import array
import io

import cv2
import numpy as np
import pytest
from image_messages import HEIGHT, WIDTH, image
from PIL import Image as PictureFile
from sensor_msgs.msg import CompressedImage

from ism_ros.node.conversion.image_conversion import rgb_from_message


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


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_turns_no_compressed_image(rgb, orientation):
    file = io.BytesIO()
    exif = PictureFile.Exif()
    exif[274] = orientation
    PictureFile.fromarray(rgb).save(file, "PNG", exif=exif)
    message = CompressedImage(format="rgb8; png compressed bgr8", data=array.array("B", file.getvalue()))
    np.testing.assert_array_equal(rgb_from_message(message), rgb)
