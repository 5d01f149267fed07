"""Color images: from a message to RGB, and the checks of any image message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from ism_ros.errors import FrameError, first_line
from ism_ros.io.image_decoding import decode_color

CHANNELS = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4, "mono8": 1, "8UC1": 1}
"""Number of channels of each encoding that is converted here; cv_bridge converts the others."""
TO_RGB: dict[str, int | None] = {
    "rgb8": None,
    "bgr8": cv2.COLOR_BGR2RGB,
    "8UC3": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "8UC4": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8UC1": cv2.COLOR_GRAY2RGB,
}
"""OpenCV's conversion of each encoding, None where there is nothing to convert."""
DEPTH_TYPES = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
"""NumPy type of each encoding of depth, without its byte order."""


def rgb_from_message(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Convert a color image.

    Returns:
        (H, W, 3) uint8 RGB; with encoding rgb8 a view of the message.

    Raises:
        FrameError: The image is no color image, or damaged.
    """
    if isinstance(message, CompressedImage):
        if "compresseddepth" in message.format.lower():
            raise FrameError(
                "encoding",
                f"rgb is compressedDepth ('{message.format}'): are the rgb and depth topics swapped?",
            )
        return decoded_image(decode_color, message.data, "rgb", message.format)
    encoding = message.encoding
    if encoding in DEPTH_TYPES and encoding != "mono16":
        raise FrameError("encoding", f"rgb has the depth encoding '{encoding}': are the rgb and depth topics swapped?")
    if encoding not in TO_RGB:
        return _rgb_by_cv_bridge(message)
    channels = CHANNELS[encoding]
    pixels = image_rows(message, "rgb", channels)[:, : message.width * channels]
    pixels = pixels.reshape(message.height, message.width, channels)
    code = TO_RGB[encoding]
    if code is None:
        return np.ascontiguousarray(pixels)
    return cv2.cvtColor(np.ascontiguousarray(pixels), code)  # type: ignore[return-value]


def image_rows(message: Image, topic: str, pixel_bytes: int) -> NDArray[np.uint8]:
    """Return the bytes of an image without a copy.

    Args:
        message: The image.
        topic: What to call it in errors: rgb or depth.
        pixel_bytes: Number of bytes of a pixel.

    Returns:
        (H, step) uint8.

    Raises:
        FrameError: Width, height, step and data do not go together.
    """
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise FrameError("empty_image", f"{topic} is {width} x {height} pixels: check the camera driver")
    if step < width * pixel_bytes:
        raise FrameError(
            "step",
            f"{topic} says {step} bytes a row, but {width} pixels of {message.encoding} need {width * pixel_bytes}: "
            "check the camera driver",
        )
    if len(message.data) < height * step:
        raise FrameError(
            "truncated",
            f"{topic} has {len(message.data)} bytes of data, but {height} rows of {step} bytes need {height * step}: "
            "the message was cut; check the camera driver",
        )
    return np.frombuffer(message.data, dtype=np.uint8, count=height * step).reshape(height, step)


def decoded_image(
    decode: Callable[[NDArray[np.uint8]], NDArray[Any] | None], content: Any, topic: str, image_format: str
) -> NDArray[Any]:
    """Decode a JPEG, PNG or other image file.

    Args:
        decode: Returns the image in a buffer, None where it cannot be decoded.
        content: Bytes of the file.
        topic: What to call it in errors: rgb or depth.
        image_format: What the message says of its format, for errors.

    Raises:
        FrameError: It cannot be decoded.
    """
    buffer = np.frombuffer(content, dtype=np.uint8)
    image = decode(buffer)
    if image is None:
        raise FrameError(
            "decode",
            f"{topic} holds {buffer.size} bytes of '{image_format}' that cannot be decoded: check the image transport",
        )
    return image


def _rgb_by_cv_bridge(message: Image) -> NDArray[np.uint8]:
    bridge = CvBridge()
    try:
        dtype, channels = bridge.encoding_to_dtype_with_channels(message.encoding)
        image_rows(message, "rgb", np.dtype(dtype).itemsize * channels)
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, "rgb8"))
    except FrameError:
        raise
    except Exception as error:  # cv_bridge raises whatever OpenCV, numpy or its own tables come up with
        cause = first_line(error) if str(error).strip() else repr(error)
        raise FrameError(
            "encoding",
            f"rgb has the encoding '{message.encoding}', which cannot be converted ({cause}); publish rgb8 or bgr8",
        ) from None
