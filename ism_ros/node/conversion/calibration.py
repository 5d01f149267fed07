"""What a camera_info says about one picture: its pinhole camera and the distortion of the lens before it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from ism_ros.data.frame import Camera, FrameError

OPENCV_LENGTHS = (4, 5, 8, 12, 14)
"""Of the coefficients of plumb_bob and rational_polynomial, which OpenCV knows."""
OPENCV_MODELS = ("", "plumb_bob", "rational_polynomial", "brown_conrady", "radtan", "pinhole", "none")
FISHEYE = re.compile(r"fisheye|equidistant|kannala|omni|mei|unified|ocam|scaramuzza|double_sphere|stereographic", re.I)
RECTIFIED_TOPIC = re.compile(r"(?:^|[/_])rect(?:ified)?(?=[/_]|$)", re.I)
"""As in image_rect, image_rect_color, rgb/color/rect/image, image_rectified; not in direct/image."""

RAW_TOPIC = re.compile(r"(?:^|[/_])raw(?=[/_]|$)", re.I)
SAME_MATRIX = 0.01
"""Of the focal length: K and P that differ by less are one matrix."""


@dataclass(frozen=True)
class Calibration:
    """camera: without distortion. distortion: OpenCV's coefficients, empty where the picture has none."""

    camera: Camera
    distortion: tuple[float, ...] = ()


def is_rectified_topic(topic: str) -> bool:
    """Whether the name of an image topic says that its pictures are rectified."""
    return RECTIFIED_TOPIC.search(topic) is not None


def is_raw_topic(topic: str) -> bool:
    """Whether the name of an image topic says that its pictures are as the sensor gave them."""
    return RAW_TOPIC.search(topic) is not None and not is_rectified_topic(topic)


def rectification(setting: str, topic: str = "") -> bool | None:
    """Whether the lens was taken out of pictures, by the setting `rectified`, or else by the name of their topic.

    Args:
        setting: auto, raw or rectified.
        topic: Whole name; empty where they come without one.

    Returns:
        None where neither says it.
    """
    if setting != "auto":
        return setting == "rectified"
    return True if is_rectified_topic(topic) else False if is_raw_topic(topic) else None


def is_ambiguous(message: CameraInfo) -> bool:
    """Whether K and P differ though no lens is between them: one of them is wrong for any picture."""
    k, p = np.array(message.k).reshape(3, 3), np.array(message.p).reshape(3, 4)[:, :3]
    return bool(k[0, 0] > 0 and p[0, 0] > 0 and not any(message.d) and np.abs(k - p).max() > SAME_MATRIX * k[0, 0])


def calibration_of(message: CameraInfo, size: tuple[int, int] | None = None, rectified: bool = False) -> Calibration:
    """Read a camera_info as ROS means it: P for rectified pictures, K and D for raw ones, both cut to the picture.

    Args:
        message: of the camera that took the picture.
        size: width and height of the picture, pixels; None = the whole of what `message` says.
        rectified: whether the lens was taken out of the picture already.

    Returns:
        The calibration. Where no reading of `message` fits the picture, its camera is of the size that fits.

    Raises:
        FrameError: where the lens is none that can be corrected, or the matrix cannot be used.
    """
    distortion = () if rectified else _distortion(message)
    # an image_proc that was never told P, and a driver that only fills in K, leave it at zeros
    has_projection = rectified and message.p[0] > 0
    matrix = np.array(message.p).reshape(3, 4)[:, :3] if has_projection else np.array(message.k).reshape(3, 3)
    return Calibration(_cut(message, matrix.astype(np.float64), size), distortion)


def fits(message: CameraInfo, size: tuple[int, int]) -> bool:
    """Whether a camera_info can be that of a picture of this width and height."""
    return _cut_size(message, size) == size


def _cut_size(message: CameraInfo, size: tuple[int, int] | None) -> tuple[int, int]:
    """Width and height of the pictures that `message` is of: of its region of interest, in binned pixels.

    A picture of the whole size was not cut, whatever the fields say.
    """
    whole = int(message.width), int(message.height)
    roi = message.roi
    region = int(roi.width) or whole[0] - int(roi.x_offset), int(roi.height) or whole[1] - int(roi.y_offset)
    cut = region[0] // max(1, int(message.binning_x)), region[1] // max(1, int(message.binning_y))
    return whole if size == whole else cut


def _cut(message: CameraInfo, matrix: NDArray[np.float64], size: tuple[int, int] | None) -> Camera:
    """The camera of the region of interest, in binned pixels: K and P are those of the whole sensor."""
    cut = _cut_size(message, size)
    if cut == (int(message.width), int(message.height)):
        return Camera(matrix, *cut)
    moved = matrix.copy()
    moved[:2, 2] -= int(message.roi.x_offset), int(message.roi.y_offset)
    to_binned = np.diag([1.0 / max(1, int(message.binning_x)), 1.0 / max(1, int(message.binning_y)), 1.0])
    is_part = bool(message.roi.x_offset or message.roi.y_offset or message.roi.width or message.roi.height)
    return Camera(to_binned @ moved, *cut, is_cropped=is_part)


def _distortion(message: CameraInfo) -> tuple[float, ...]:
    """OpenCV's coefficients, empty where the lens is none. Raises FrameError."""
    model, numbers = message.distortion_model, tuple(float(number) for number in message.d)
    if FISHEYE.search(model):
        raise FrameError(
            "distortion",
            f"camera_info has the distortion model '{model}' of a fisheye lens, which is not corrected here: rectify "
            "the images (image_proc) and remap rgb and depth to the rectified topics",
        )
    if not any(numbers):
        return ()
    if not np.isfinite(numbers).all():
        raise FrameError(
            "distortion", "D of camera_info holds numbers that are not finite: calibrate the camera, or publish zeros"
        )
    if model.lower().replace("-", "_") not in OPENCV_MODELS or (
        len(numbers) > 5 and len(numbers) not in OPENCV_LENGTHS
    ):
        raise FrameError(
            "distortion",
            f"camera_info has the distortion model '{model}' with {len(numbers)} numbers, which is not known: publish "
            "plumb_bob or rational_polynomial, or remap rgb and depth to rectified topics (image_proc)",
        )
    return numbers if len(numbers) in OPENCV_LENGTHS else (*numbers, 0.0, 0.0, 0.0, 0.0)[:4]
