"""What the encoding of a sensor_msgs/Image says about its pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2

# Depth names of encodings, their NumPy types and OpenCV's numbers for them.
NUMPY_NAMES = {
    "8U": "uint8", "8S": "int8", "16U": "uint16", "16S": "int16", "32S": "int32", "32F": "float32", "64F": "float64",
}  # fmt: skip
CV_DEPTHS = {name: int(getattr(cv2, f"CV_{name}")) for name in NUMPY_NAMES}

# OpenCV packs depth and channels into one number; how far the channels are shifted depends on its version.
_CHANNEL_SHIFT = (cv2.CV_8UC2 - cv2.CV_8UC1).bit_length() - 1

# Names of color layouts that mean the same.
_SYNONYMS = {"yuv422": "uyvy", "yuv422_yuy2": "yuyv"}
_COLOR_CHANNELS = {"mono": 1, "rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}
_COLOR = re.compile(r"(mono|rgba|bgra|rgb|bgr)(8|16)")
_BAYER = re.compile(r"(bayer_(?:rggb|bggr|gbrg|grbg))(8|16)")
_GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?")


@dataclass(frozen=True)
class Encoding:
    """Depth ("8U" ... "64F"), number of channels, and color layout ("rgb", "bayer_rggb", ...) or None."""

    depth: str
    channels: int
    layout: str | None = None

    @property
    def cv_type(self) -> int:
        """OpenCV's number for this type of pixel."""
        return CV_DEPTHS[self.depth] + ((self.channels - 1) << _CHANNEL_SHIFT)

    @property
    def name(self) -> str:
        """The name without color: 8UC3."""
        return f"{self.depth}C{self.channels}"


def parse(encoding: str) -> Encoding:
    """Read the encoding field of an image; RuntimeError when it is unknown."""
    if match := _COLOR.fullmatch(encoding):
        return Encoding(match[2] + "U", _COLOR_CHANNELS[match[1]], match[1])
    if match := _BAYER.fullmatch(encoding):
        return Encoding(match[2] + "U", 1, match[1])
    if match := _GENERIC.fullmatch(encoding):
        return Encoding(match[1], int(match[2] or 1))
    layout = _SYNONYMS.get(encoding, encoding)
    if layout in ("uyvy", "yuyv"):
        return Encoding("8U", 2, layout)
    if layout in ("nv12", "nv21"):
        # One brightness plane and, below it, half as many rows of color: see CvBridge.imgmsg_to_cv2.
        return Encoding("8U", 1, layout)
    raise RuntimeError(f"Unrecognized image encoding [{encoding}]")


def getCvType(encoding: str) -> int:  # noqa: N802
    """OpenCV's number for the pixels of an encoding; RuntimeError when it is unknown."""
    return parse(encoding).cv_type


def CV_MAT_CNWrap(cv_type: int) -> int:  # noqa: N802
    """The number of channels in one of OpenCV's type numbers."""
    return (cv_type >> _CHANNEL_SHIFT) + 1


def CV_MAT_DEPTHWrap(cv_type: int) -> int:  # noqa: N802
    """The depth in one of OpenCV's type numbers."""
    return cv_type & ((1 << _CHANNEL_SHIFT) - 1)
