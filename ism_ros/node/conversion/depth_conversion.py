"""Depth images: from a message, raw or compressed, to metres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from ism_ros.checks.depth_checks import depth_format_error, depth_in_metres
from ism_ros.errors import FrameError
from ism_ros.io.image_decoding import decode_unchanged
from ism_ros.node.conversion.image_conversion import DEPTH_TYPES, TO_RGB, decoded_image, image_rows
from ism_ros.node.conversion.rvl import RvlError, decode_rvl

MILLIMETRE_M = 0.001
"""Unit of 16UC1, metres."""
COMPRESSED_DEPTH_HEADER_BYTES = 12
"""Size of compressed_depth_image_transport's header: an enum and two floats (quantisation of 32FC1)."""
RVL_SIZE_BYTES = 8
"""Size of width and height before the words of RVL."""
MAX_RVL_PIXELS = 1 << 26
"""Number of pixels above which the size in an RVL image cannot be right."""
IMAGE_FILE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff")
"""First bytes of PNG and JPEG files."""


@dataclass(frozen=True)
class InvalidDepth:
    """Readings that count as 'no reading'.

    Attributes:
        nonfinite_fraction: Fraction of pixels that are NaN or infinite.
        negative_fraction: Fraction of pixels that are below 0.
    """

    nonfinite_fraction: float = 0.0
    negative_fraction: float = 0.0


def invalid_depth(depth_m: NDArray[np.float32]) -> InvalidDepth:
    """Count the invalid readings of a depth image (H, W), metres."""
    # one pass decides for the usual case: min of an array with NaN is NaN
    low, high = (float(depth_m.min()), float(depth_m.max())) if depth_m.size else (0.0, 0.0)
    if low >= 0 and high < np.inf:
        return InvalidDepth()
    finite = np.isfinite(depth_m)
    negative = np.count_nonzero(depth_m[finite] < 0)
    return InvalidDepth(1.0 - float(finite.mean()), negative / depth_m.size)


def depth_from_message(message: Image | CompressedImage) -> NDArray[np.float32]:
    """Convert a depth image.

    Returns:
        (H, W) float32, metres along the optical axis; NaN and negative readings as they come.

    Raises:
        FrameError: The image is no depth image, or damaged.
    """
    if isinstance(message, CompressedImage):
        return _compressed_depth(message)
    encoding = message.encoding
    if encoding not in DEPTH_TYPES:
        hint = ": are the rgb and depth topics swapped?" if encoding in TO_RGB else ""
        raise FrameError(
            "encoding", f"depth has the encoding '{encoding}'; publish 16UC1 (millimetres) or 32FC1 (metres){hint}"
        )
    item = np.dtype((">" if message.is_bigendian else "<") + DEPTH_TYPES[encoding])
    values = image_rows(message, "depth", item.itemsize)[:, : message.width * item.itemsize]
    return _to_metres(np.ascontiguousarray(values).view(item))


def depth_encoding(message: Image | CompressedImage) -> str:
    """Return 16UC1, 32FC1, ...: of a compressed image, that of the image it was made from."""
    return str(message.format.split(";")[0].strip() if isinstance(message, CompressedImage) else message.encoding)


def _to_metres(depth: NDArray[Any]) -> NDArray[np.float32]:
    return depth_in_metres(depth, MILLIMETRE_M if depth.dtype.kind == "u" else 1.0)


def _compressed_depth(message: CompressedImage) -> NDArray[np.float32]:
    """Decode compressed_depth_image_transport: its header, then PNG or RVL.

    32FC1 comes as quantised inverse depth: depth = a / (stored - b), with a and b from the header.
    """
    data = bytes(message.data)
    if data.startswith(IMAGE_FILE_MAGIC):
        raise FrameError(
            "encoding",
            f"depth is an image of the transport 'compressed' ('{message.format.strip()}'), not of 'compressedDepth': "
            "remap depth to the topic that ends in /compressedDepth",
        )
    if len(data) <= COMPRESSED_DEPTH_HEADER_BYTES:
        raise FrameError("truncated", f"depth has {len(data)} bytes, too few for compressedDepth: check its transport")
    body = data[COMPRESSED_DEPTH_HEADER_BYTES:]
    stored = _decoded_rvl(body) if "rvl" in message.format.lower() else _decoded_png(body, message.format)
    if depth_encoding(message) != "32FC1":
        return _to_metres(stored)
    quantisation_a, quantisation_b = np.frombuffer(data[4:COMPRESSED_DEPTH_HEADER_BYTES], dtype="<f4")
    depth_m = np.zeros(stored.shape, dtype=np.float32)
    known = stored > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        depth_m[known] = quantisation_a / (stored[known].astype(np.float32) - quantisation_b)
    return depth_m


def _decoded_png(body: bytes, image_format: str) -> NDArray[np.uint16]:
    png = decoded_image(decode_unchanged, body, "depth", image_format)
    if found := depth_format_error(png):
        raise FrameError(
            "encoding", f"depth decodes to {found}, not to 16-bit depth: subscribe to the compressedDepth topic"
        )
    return png


def _decoded_rvl(body: bytes) -> NDArray[np.uint16]:
    """Decode width, height and the RVL stream after them."""
    if len(body) < RVL_SIZE_BYTES:
        raise FrameError("truncated", f"depth has {len(body)} bytes of RVL, too few for a size: check its transport")
    width, height = (int(side) for side in np.frombuffer(body[:RVL_SIZE_BYTES], dtype="<u4"))
    if not 0 < width * height <= MAX_RVL_PIXELS:
        raise FrameError("decode", f"depth is RVL of {width} x {height} pixels: check the image transport")
    try:
        return decode_rvl(body[RVL_SIZE_BYTES:], width * height).reshape(height, width)
    except RvlError as error:
        raise FrameError(
            "decode", f"depth is RVL that cannot be decoded ({error}): check the image transport"
        ) from None
