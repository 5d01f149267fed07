"""ROS messages to frames. Whatever a driver can get wrong ends here, as a FrameError that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ism_ros.depth_checks import depth_in_metres, doubts_about_encoding
from ism_ros.frame import Camera, Frame, FrameError
from ism_ros.image_decoding import decode_colour, decode_unchanged
from ism_ros.input_warnings import InputWarning

MILLIMETRE_M = 0.001

CHANNELS = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4, "mono8": 1, "8UC1": 1}
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
DEPTH_TYPES = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
COMPRESSED_DEPTH_HEADER_BYTES = 12
"""compressed_depth_image_transport: an enum and two floats (quantisation of 32FC1) before the PNG."""


@dataclass(frozen=True)
class Triple:
    """The messages of one moment; `depth` is None where the node runs without depth."""

    rgb: Image | CompressedImage
    depth: Image | CompressedImage | None
    camera_info: CameraInfo


@dataclass(frozen=True)
class DepthNotes:
    """What was odd about the depth readings.

    nonfinite_share, negative_share: of all pixels; they are taken as 'no reading'.
    """

    nonfinite_share: float = 0.0
    negative_share: float = 0.0


def frame_from_triple(triple: Triple) -> tuple[Frame, DepthNotes]:
    """The frame of one triple. Raises FrameError with the reason."""
    stamp = triple.rgb.header.stamp
    rgb = rgb_from_message(triple.rgb)
    depth_m, notes = None, DepthNotes()
    doubts: tuple[InputWarning, ...] = ()
    if triple.depth is not None:
        depth_m = depth_from_message(triple.depth)
        notes = note_depth(depth_m)
        doubts = doubts_about_encoding(depth_m, depth_encoding(triple.depth))
    frame = Frame(
        rgb=rgb,
        depth_m=depth_m,
        camera=camera_from_message(triple.camera_info),
        stamp_ns=stamp.sec * 1_000_000_000 + stamp.nanosec,
        frame_id=triple.rgb.header.frame_id,
        warnings=doubts,
    )
    return frame, notes


def rgb_from_message(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB; rgb8 is a view of the message. Raises FrameError."""
    if isinstance(message, CompressedImage):
        return _decoded(decode_colour, message.data, "rgb", message.format)
    encoding = message.encoding
    if encoding in DEPTH_TYPES and encoding != "mono16":
        raise FrameError("encoding", f"rgb has the depth encoding '{encoding}': are the rgb and depth topics swapped?")
    if encoding not in TO_RGB:
        return _rgb_by_cv_bridge(message)
    channels = CHANNELS[encoding]
    pixels = _rows(message, "rgb", channels)[:, : message.width * channels]
    pixels = pixels.reshape(message.height, message.width, channels)
    code = TO_RGB[encoding]
    if code is None:
        return np.ascontiguousarray(pixels)
    return cv2.cvtColor(np.ascontiguousarray(pixels), code)  # type: ignore[return-value]


def depth_from_message(message: Image | CompressedImage) -> NDArray[np.float32]:
    """(H, W) float32 metres along the optical axis, NaN and negative readings as they come. Raises FrameError."""
    if isinstance(message, CompressedImage):
        return _compressed_depth(message)
    encoding = message.encoding
    if encoding not in DEPTH_TYPES:
        hint = ": are the rgb and depth topics swapped?" if encoding in TO_RGB else ""
        raise FrameError(
            "encoding", f"depth has the encoding '{encoding}'; publish 16UC1 (millimetres) or 32FC1 (metres){hint}"
        )
    item = np.dtype((">" if message.is_bigendian else "<") + DEPTH_TYPES[encoding])
    values = _rows(message, "depth", item.itemsize)[:, : message.width * item.itemsize]
    depth = np.ascontiguousarray(values).view(item)
    return _metres(depth)


def camera_from_message(message: CameraInfo) -> Camera:
    """The pinhole camera of a camera_info. Raises FrameError where K is unusable."""
    return Camera(np.array(message.k, dtype=np.float64), message.width, message.height)


def depth_encoding(message: Image | CompressedImage) -> str:
    """16UC1, 32FC1, ...: of a compressed image, that of the image it was made from."""
    return str(message.format.split(";")[0].strip() if isinstance(message, CompressedImage) else message.encoding)


def note_depth(depth_m: NDArray[np.float32]) -> DepthNotes:
    """What is odd about depth readings (H, W), metres."""
    # one pass decides for the usual case: min of an array with NaN is NaN
    low, high = (float(depth_m.min()), float(depth_m.max())) if depth_m.size else (0.0, 0.0)
    if low >= 0 and high < np.inf:
        return DepthNotes()
    finite = np.isfinite(depth_m)
    negative = np.count_nonzero(depth_m[finite] < 0)
    return DepthNotes(1.0 - float(finite.mean()), negative / depth_m.size)


def _metres(depth: NDArray[Any]) -> NDArray[np.float32]:
    return depth_in_metres(depth, MILLIMETRE_M if depth.dtype.kind == "u" else 1.0)


def _rows(message: Image, topic: str, pixel_bytes: int) -> NDArray[np.uint8]:
    """The bytes of an image as (H, step), without a copy. Raises FrameError where sizes, step and data disagree."""
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


def _rgb_by_cv_bridge(message: Image) -> NDArray[np.uint8]:
    bridge = CvBridge()
    try:
        dtype, channels = bridge.encoding_to_dtype_with_channels(message.encoding)
        _rows(message, "rgb", np.dtype(dtype).itemsize * channels)
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, "rgb8"))
    except FrameError:
        raise
    except Exception as error:  # cv_bridge raises whatever OpenCV, numpy or its own tables come up with
        reason = str(error).strip().splitlines()
        raise FrameError(
            "encoding",
            f"rgb has the encoding '{message.encoding}', which cannot be converted "
            f"({reason[0] if reason else error!r}); publish rgb8 or bgr8",
        ) from None


def _decoded(
    decode: Callable[[NDArray[np.uint8]], NDArray[Any] | None], content: Any, topic: str, form: str
) -> NDArray[Any]:
    """The image in a JPEG, PNG, ...; raises FrameError."""
    buffer = np.frombuffer(content, dtype=np.uint8)
    image = decode(buffer)
    if image is None:
        raise FrameError(
            "decode", f"{topic} holds {buffer.size} bytes of '{form}' that cannot be decoded: check the image transport"
        )
    return image


def _compressed_depth(message: CompressedImage) -> NDArray[np.float32]:
    """compressed_depth_image_transport: 12 bytes of header, then a PNG; 32FC1 comes as quantised inverse depth."""
    data = np.frombuffer(message.data, dtype=np.uint8)
    if data.size <= COMPRESSED_DEPTH_HEADER_BYTES:
        raise FrameError("truncated", f"depth has {data.size} bytes, too few for compressedDepth: check its transport")
    if "rvl" in message.format.lower():
        raise FrameError("encoding", "depth is compressed as RVL; set the publisher's compressedDepth format to png")
    png = _decoded(decode_unchanged, data[COMPRESSED_DEPTH_HEADER_BYTES:], "depth", message.format)
    if png.ndim != 2 or png.dtype != np.uint16:
        raise FrameError(
            "encoding",
            f"depth decodes to {png.dtype} of shape {png.shape}, not to 16-bit depth: "
            "subscribe to the compressedDepth topic",
        )
    if depth_encoding(message) != "32FC1":
        return _metres(png)
    quantisation_a, quantisation_b = np.frombuffer(data[4:COMPRESSED_DEPTH_HEADER_BYTES].tobytes(), dtype="<f4")
    depth_m = np.zeros(png.shape, dtype=np.float32)
    known = png > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        depth_m[known] = quantisation_a / (png[known].astype(np.float32) - quantisation_b)
    return depth_m
