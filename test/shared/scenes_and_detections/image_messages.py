"""Messages of a small camera, made of arrays, and the reason for which one is refused."""

import array
import struct

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ism_ros.errors import FrameError
from ism_ros.node.conversion.rgbd_messages import RgbdMessages

HEIGHT, WIDTH = 6, 8


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


def compressed_depth(pixels, encoding, quantisation=(0.0, 0.0)):
    png = cv2.imencode(".png", pixels)[1].tobytes()
    data = struct.pack("<iff", 0, *quantisation) + png
    return CompressedImage(format=f"{encoding}; compressedDepth png", data=array.array("B", data))


def reason_of(call, *arguments):
    with pytest.raises(FrameError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value.reason
