"""Frames from files, in the layout of BOP and SAM-6D: a color image, a depth image, a camera.json."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.depth_checks import depth_format_error, depth_in_metres, depth_scale_warnings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.errors import FrameError
from ism_ros.io.camera_files import CameraFileError, camera_content
from ism_ros.io.image_decoding import decode_color, decode_unchanged


class FrameFileError(ValueError):
    """A file that cannot be used; the message names it and says what is expected."""


def read_frame(rgb_path: str | Path, depth_path: str | Path | None, camera_path: str | Path) -> Frame:
    """Read one frame.

    Args:
        rgb_path: Color image, such as PNG or JPEG.
        depth_path: Depth image of the same size (16-bit or float, one channel), or None.
        camera_path: Camera file in any form that `camera_content` knows; depth in metres = stored number * depth_scale
            / 1000.

    Returns:
        The frame.

    Raises:
        FrameFileError: A file cannot be read or is not what it should be.
        FrameError: The files do not fit together.
    """
    intrinsics, depth_scale = read_camera(Path(camera_path))
    depth_file = None if depth_path is None else Path(depth_path)
    return frame_of_files(Path(rgb_path), depth_file, intrinsics, depth_scale, str(camera_path))


def frame_of_files(
    rgb_path: Path, depth_path: Path | None, intrinsics: NDArray[np.float64], depth_scale: float, where: str
) -> Frame:
    """Read the images of a frame whose camera is known, and check its unit of depth.

    Args:
        rgb_path: Color image.
        depth_path: Depth image, or None.
        intrinsics: (3, 3) camera matrix, pixels.
        depth_scale: Millimetres for a stored depth of 1.
        where: File that holds the camera, and the place in it, for messages.

    Returns:
        The frame.

    Raises:
        FrameFileError: An image cannot be read or is not what it should be.
        FrameError: These do not fit together; the message names `where` if the camera matrix is at fault.
    """
    rgb = read_rgb(rgb_path)
    depth_m = None if depth_path is None else read_depth_m(depth_path, depth_scale)
    doubts = () if depth_m is None else depth_scale_warnings(depth_m, depth_scale, where)
    try:
        return Frame(rgb, depth_m, Camera(intrinsics, rgb.shape[1], rgb.shape[0]), warnings=doubts)
    except FrameError as error:
        if error.reason != "bad_intrinsics":
            raise
        raise FrameError(error.reason, f"{where}: {error}") from None


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a color image with its pixels as they are stored.

    Args:
        path: PNG, JPEG, or another format of OpenCV.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        FrameFileError: It cannot be read.
    """
    image = decode_color(_bytes(path, "color image"))
    if image is None:
        raise FrameFileError(f"{path} is not an image that can be read (PNG or JPEG expected)")
    return image


def read_depth_m(path: Path, depth_scale: float) -> NDArray[np.float32]:
    """Read a depth image.

    Args:
        path: One channel, 16-bit or float.
        depth_scale: Millimetres for a stored number of 1.

    Returns:
        (H, W) float32 metres, 0 = no reading.

    Raises:
        FrameFileError: It cannot be read or is no depth image.
    """
    image = decode_unchanged(_bytes(path, "depth image"))
    if image is None:
        raise FrameFileError(f"{path} is not an image that can be read (16-bit PNG expected)")
    if found := depth_format_error(image, (np.uint16, np.float32)):
        raise FrameFileError(f"{path} is not a depth image: it has {found}; expected one of uint16 or float32")
    return depth_in_metres(image, depth_scale / 1000.0)


def read_camera(path: Path) -> tuple[NDArray[np.float64], float]:
    """Read a camera file.

    Args:
        path: In any form that `camera_content` knows.

    Returns:
        The camera matrix (3, 3) float64 in pixels, and the depth scale: millimetres for a stored depth of 1.

    Raises:
        FrameFileError: It cannot be read or holds no such camera.
    """
    text = _bytes(path, "camera file").tobytes().decode("utf-8-sig", "replace")
    try:
        content = camera_content(text)
    except CameraFileError as error:
        raise FrameFileError(f"{path} {error}") from None
    try:
        intrinsics = np.array(content["cam_K"], dtype=np.float64)
        depth_scale = float(content.get("depth_scale", 1.0))
    except (TypeError, ValueError):
        raise FrameFileError(f"{path}: cam_K must be 9 numbers and depth_scale one") from None
    if intrinsics.size != 9:
        raise FrameFileError(f"{path}: cam_K has {intrinsics.size} numbers, expected 9 (row by row)")
    if not np.isfinite(depth_scale) or depth_scale <= 0:
        raise FrameFileError(f"{path}: depth_scale is {depth_scale:g}, expected a number above 0 (1.0 for millimetres)")
    return intrinsics.reshape(3, 3), depth_scale


def _bytes(path: Path, what: str) -> NDArray[np.uint8]:
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise FrameFileError(f"{what} {path} cannot be read: {error.strerror or error}") from None
    if content.size == 0:
        raise FrameFileError(f"{what} {path} is empty")
    return content
