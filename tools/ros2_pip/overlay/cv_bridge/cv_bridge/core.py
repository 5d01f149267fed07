"""CvBridge itself: messages to arrays and back."""

from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from .color import Image, cvtColor2
from .encodings import CV_DEPTHS, NUMPY_NAMES, CV_MAT_CNWrap, CV_MAT_DEPTHWrap, getCvType, parse


class CvBridgeError(TypeError):
    """A conversion that is not possible; the message says why."""


def message_bytes(image: Image) -> array.array[int]:
    """The bytes of an array in the one type that a message takes without looking at every byte."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(image).reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    return data


def message_buffer(data: Any) -> Any:
    """The data field of a message as something with a buffer."""
    return bytes(data) if isinstance(data, list | tuple) else data


class CvBridge:
    """Converts images; has no state of its own."""

    def __init__(self) -> None:
        self.cvdepth_to_numpy_depth = {CV_DEPTHS[depth]: name for depth, name in NUMPY_NAMES.items()}
        self.numpy_type_to_cvtype = {name: depth for depth, name in NUMPY_NAMES.items()} | NUMPY_NAMES
        self.cvtype_to_name = {
            parse(name).cv_type: name for depth in NUMPY_NAMES for name in (f"{depth}C{n}" for n in (1, 2, 3, 4))
        }

    def dtype_with_channels_to_cvtype2(self, dtype: Any, n_channels: int) -> str:
        """The encoding without colors for an array's type: (uint8, 3) -> 8UC3."""
        try:
            return f"{self.numpy_type_to_cvtype[np.dtype(dtype).name]}C{n_channels}"
        except KeyError:
            raise CvBridgeError(f"no image encoding has pixels of the type {dtype}") from None

    def cvtype2_to_dtype_with_channels(self, cvtype: int) -> tuple[str, int]:
        """The type of numbers and the channels in one of OpenCV's type numbers."""
        return self.cvdepth_to_numpy_depth[CV_MAT_DEPTHWrap(cvtype)], CV_MAT_CNWrap(cvtype)

    def encoding_to_cvtype2(self, encoding: str) -> int:
        """OpenCV's type number for an encoding; CvBridgeError when it is unknown."""
        try:
            return getCvType(encoding)
        except RuntimeError as error:
            raise CvBridgeError(error) from error

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """The type of numbers and the channels of an encoding; CvBridgeError when it is unknown."""
        return self.cvtype2_to_dtype_with_channels(self.encoding_to_cvtype2(encoding))

    def imgmsg_to_cv2(self, img_msg: Any, desired_encoding: str = "passthrough") -> Image:
        """The pixels of an image: (H, W) for one channel, else (H, W, C), in this machine's byte order.

        With "passthrough" they share the message's memory where its rows have no padding and its byte
        order is this machine's. CvBridgeError when the message contradicts itself or cannot be converted.
        """
        dtype_name, channels = self.encoding_to_dtype_with_channels(img_msg.encoding)
        dtype = np.dtype(dtype_name).newbyteorder(">" if img_msg.is_bigendian else "<")
        height, width, step = img_msg.height, img_msg.width, img_msg.step
        if parse(img_msg.encoding).layout in ("nv12", "nv21"):
            height += height // 2
        if step < width * channels * dtype.itemsize:
            raise CvBridgeError(f"{width} pixels of {img_msg.encoding} do not fit into a step of {step} bytes")
        try:
            image: Image = np.ndarray(
                shape=(height, width, channels), dtype=dtype, buffer=message_buffer(img_msg.data),
                strides=(step, channels * dtype.itemsize, dtype.itemsize),
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            raise CvBridgeError(f"{len(img_msg.data)} bytes do not hold {height} rows of {step} bytes") from error
        image = np.ascontiguousarray(image[:, :, 0] if channels == 1 else image)
        image = image.astype(dtype.newbyteorder("="), copy=False)
        return image if desired_encoding == "passthrough" else self._convert(image, img_msg.encoding, desired_encoding)

    def compressed_imgmsg_to_cv2(self, cmprs_img_msg: Any, desired_encoding: str = "passthrough") -> Image:
        """The pixels of a compressed image, colors as BGR or BGRA unless another encoding is desired."""
        encoded = np.frombuffer(message_buffer(cmprs_img_msg.data), dtype=np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
        if image is None:
            raise CvBridgeError(f"not an image that OpenCV reads (format: {cmprs_img_msg.format!r})")
        if desired_encoding == "passthrough":
            return image
        if image.dtype not in (np.uint8, np.uint16):
            encoding = self.dtype_with_channels_to_cvtype2(image.dtype, 1 if image.ndim == 2 else image.shape[2])
        else:
            layout = "mono" if image.ndim == 2 else {3: "bgr", 4: "bgra"}[image.shape[2]]
            encoding = f"{layout}{8 * image.dtype.itemsize}"
        return self._convert(image, encoding, desired_encoding)

    def cv2_to_imgmsg(self, cvim: Image, encoding: str = "passthrough", header: Header | None = None) -> ImageMsg:
        """A message with an array's pixels; CvBridgeError when the encoding does not fit its type."""
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        if cvim.ndim not in (2, 3):
            raise CvBridgeError(f"an image is (H, W) or (H, W, C), not {cvim.shape}")
        own_encoding = self.dtype_with_channels_to_cvtype2(cvim.dtype, 1 if cvim.ndim == 2 else cvim.shape[2])
        if encoding == "passthrough":
            encoding = own_encoding
        elif self.encoding_to_cvtype2(encoding) != getCvType(own_encoding):
            raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {own_encoding}")
        message = ImageMsg()
        if header is not None:
            message.header = header
        message.height, message.width = cvim.shape[:2]
        if parse(encoding).layout in ("nv12", "nv21"):
            message.height = cvim.shape[0] * 2 // 3
        message.encoding = encoding
        message.is_bigendian = int(cvim.dtype.itemsize > 1 and cvim.dtype == cvim.dtype.newbyteorder(">"))
        message.step = cvim.dtype.itemsize * int(np.prod(cvim.shape[1:]))
        message.data = message_bytes(cvim)
        return message

    def cv2_to_compressed_imgmsg(self, cvim: Image, dst_format: str = "jpg") -> CompressedImage:
        """A message with an array compressed; `dst_format` is a file ending that OpenCV writes."""
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        try:
            _, encoded = cv2.imencode(f".{dst_format}", cvim)
        except cv2.error as error:
            raise CvBridgeError(f"OpenCV does not write {cvim.dtype} {cvim.shape} as {dst_format}: {error}") from error
        message = CompressedImage()
        message.format = dst_format
        message.data = message_bytes(encoded)
        return message

    @staticmethod
    def _convert(image: Image, encoding: str, desired_encoding: str) -> Image:
        try:
            return cvtColor2(image, encoding, desired_encoding)
        except (RuntimeError, cv2.error) as error:
            raise CvBridgeError(error) from error
