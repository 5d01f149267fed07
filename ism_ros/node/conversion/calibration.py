"""Calibration from a camera_info: the pinhole camera of an image and the distortion of its lens."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from ism_ros.data.camera import Camera
from ism_ros.errors import FrameError

OPENCV_LENGTHS = (4, 5, 8, 12, 14)
"""Numbers of coefficients of plumb_bob and rational_polynomial that OpenCV knows."""
OPENCV_MODELS = ("", "plumb_bob", "rational_polynomial", "brown_conrady", "radtan", "pinhole", "none")
"""Names of distortion models that have OpenCV's coefficients."""
FISHEYE = re.compile(r"fisheye|equidistant|kannala|omni|mei|unified|ocam|scaramuzza|double_sphere|stereographic", re.I)
"""Pattern in the name of a distortion model that is no such model."""
RECTIFIED_TOPIC = re.compile(r"(?:^|[/_])rect(?:ified)?(?=[/_]|$)", re.I)
"""Pattern in a topic of rectified images: image_rect, rgb/color/rect/image, image_rectified; not direct/image."""
RAW_TOPIC = re.compile(r"(?:^|[/_])raw(?=[/_]|$)", re.I)
"""Pattern in a topic of images as the sensor gave them."""
MAX_MATRIX_DIFFERENCE = 0.01
"""Difference below which K and P are one matrix, as a fraction of the focal length."""


@dataclass(frozen=True)
class Calibration:
    """How an image was taken.

    Attributes:
        camera: Pinhole camera.
        distortion: OpenCV's coefficients, empty where the image has no distortion.
    """

    camera: Camera
    distortion: tuple[float, ...] = ()


def is_rectified_topic(topic: str) -> bool:
    """Return whether the name of an image topic says that its images are rectified."""
    return RECTIFIED_TOPIC.search(topic) is not None


def is_raw_topic(topic: str) -> bool:
    """Return whether the name of an image topic says that its images are as the sensor gave them."""
    return RAW_TOPIC.search(topic) is not None and not is_rectified_topic(topic)


def rectification(setting: str, topic: str = "") -> bool | None:
    """Return whether images are rectified, by the setting `rectified`, or else by the name of their topic.

    Args:
        setting: `auto`, `raw` or `rectified`.
        topic: Whole name; empty where the images come without one.

    Returns:
        Whether they are rectified; None where neither says it.
    """
    if setting != "auto":
        return setting == "rectified"
    return True if is_rectified_topic(topic) else False if is_raw_topic(topic) else None


def is_ambiguous(message: CameraInfo) -> bool:
    """Return whether K and P differ though there is no distortion: one of them is wrong for any image."""
    k, p = np.array(message.k).reshape(3, 3), np.array(message.p).reshape(3, 4)[:, :3]
    is_different = np.abs(k - p).max() > MAX_MATRIX_DIFFERENCE * k[0, 0]
    return bool(k[0, 0] > 0 and p[0, 0] > 0 and not any(message.d) and is_different)


def calibration_of(message: CameraInfo, size: tuple[int, int] | None = None, rectified: bool = False) -> Calibration:
    """Read a camera_info as ROS means it: P for rectified images, K and D for raw ones, of the image's region.

    Args:
        message: The camera_info.
        size: Width and height of the image, pixels; None = the size in `message`.
        rectified: Whether the image is rectified.

    Returns:
        The calibration. Where `message` is of another size than the image, so is its camera.

    Raises:
        FrameError: The lens cannot be corrected, or the matrix cannot be used.
    """
    distortion = () if rectified else _distortion(message)
    # an image_proc that does not know P, and a driver that only fills in K, leave it at zeros
    has_projection = rectified and message.p[0] > 0
    matrix = np.array(message.p).reshape(3, 4)[:, :3] if has_projection else np.array(message.k).reshape(3, 3)
    return Calibration(_region_camera(message, matrix.astype(np.float64), size), distortion)


def fits(message: CameraInfo, size: tuple[int, int]) -> bool:
    """Return whether a camera_info can be that of an image of this width and height, pixels."""
    return _region_size(message, size) == size


def _region_size(message: CameraInfo, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return width and height of the images that `message` is for: of its region of interest, in binned pixels.

    An image of the whole size was not cropped, whatever the fields say.
    """
    whole = int(message.width), int(message.height)
    roi = message.roi
    region = int(roi.width) or whole[0] - int(roi.x_offset), int(roi.height) or whole[1] - int(roi.y_offset)
    binned = region[0] // max(1, int(message.binning_x)), region[1] // max(1, int(message.binning_y))
    return whole if size == whole else binned


def _region_camera(message: CameraInfo, matrix: NDArray[np.float64], size: tuple[int, int] | None) -> Camera:
    """Return the camera of the region of interest, in binned pixels: K and P are those of the whole sensor."""
    region = _region_size(message, size)
    if region == (int(message.width), int(message.height)):
        return Camera(matrix, *region)
    moved = matrix.copy()
    moved[:2, 2] -= int(message.roi.x_offset), int(message.roi.y_offset)
    to_binned = np.diag([1.0 / max(1, int(message.binning_x)), 1.0 / max(1, int(message.binning_y)), 1.0])
    is_part = bool(message.roi.x_offset or message.roi.y_offset or message.roi.width or message.roi.height)
    return Camera(to_binned @ moved, *region, is_cropped=is_part)


def _distortion(message: CameraInfo) -> tuple[float, ...]:
    """Return OpenCV's coefficients, empty where there is no distortion. Raises FrameError."""
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
