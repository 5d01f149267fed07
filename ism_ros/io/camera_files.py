"""Camera matrices from the files that other tools write, besides BOP's and SAM-6D's camera.json."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ism_ros.checks.camera_checks import non_pinhole_model

EXPECTED = 'expected {"cam_K": [9 numbers], "depth_scale": 1.0}'
"""What messages say of a camera file."""

Content = Mapping[str, Any]


class CameraFileError(ValueError):
    """A camera file that cannot be used; the message says why, without the file's name."""


def camera_content(text: str) -> dict[str, Any]:
    """Parse the text of a camera file into what a camera.json holds.

    Known are: BOP's and SAM-6D's camera.json; a BOP scene_camera.json of one image; the nine numbers of a cam_K.txt
    (FoundationPose); fx, fy, cx, cy (or ppx, ppy, as librealsense writes them); K or camera_matrix, row by row, the
    latter also with its numbers under `data`, as ROS has it; and intrinsic_matrix, column by column, as Open3D has it.

    Args:
        text: JSON, or nine numbers separated by spaces or commas.

    Returns:
        The file's fields, with cam_K among them.

    Raises:
        CameraFileError: It holds none of these, several cameras, lens coefficients, or no pinhole camera.
    """
    numbers = re.split(r"[\s,;]+", text.strip())
    if len(numbers) == 9 and all(map(_is_number, numbers)):
        return {"cam_K": [float(number) for number in numbers]}
    try:
        content = json.loads(text)
    except ValueError:
        raise CameraFileError(f"is not JSON; {EXPECTED}") from None
    if isinstance(content, dict) and content and all(map(str.isdigit, content)):
        content = _only_image(content)
    if not isinstance(content, dict):
        raise CameraFileError(f'has no "cam_K"; {EXPECTED}')
    if projection := non_pinhole_model(content):
        raise CameraFileError(f"is of a {projection} camera, not of a pinhole camera: undistort the images first")
    for parse in PARSERS:
        matrix = parse(content)
        if matrix is not None:
            if _has_lens(content):
                raise CameraFileError("has coefficients of a lens: undistort the images first, and leave them out here")
            return {**content, "cam_K": matrix}
    raise CameraFileError(f'has no "cam_K"; {EXPECTED}')


def _of_bop(content: Content) -> Any:
    return content.get("cam_K")


def _of_focal_lengths(content: Content) -> Any:
    inner = content.get("intrinsics", content)
    if not isinstance(inner, Mapping):
        return inner
    names = (("fx",), ("fy",), ("cx", "ppx"), ("cy", "ppy"))
    found = [next((inner[name] for name in some if name in inner), None) for some in names]
    if any(number is None for number in found):
        return None
    fx, fy, cx, cy = found
    return [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]


def _of_rows(content: Content) -> Any:
    matrix = next((content[name] for name in ("K", "k", "camera_matrix") if name in content), None)
    return matrix.get("data") if isinstance(matrix, Mapping) else matrix


def _of_columns(content: Content) -> Any:
    matrix = content.get("intrinsic_matrix")
    if not isinstance(matrix, list):
        return None
    if len(matrix) == 9:
        return [matrix[3 * column + row] for row in range(3) for column in range(3)]
    return matrix


PARSERS: tuple[Callable[[Content], Any], ...] = (_of_bop, _of_rows, _of_columns, _of_focal_lengths)


def _only_image(content: Content) -> Any:
    if len(content) > 1:
        raise CameraFileError(
            f"has the cameras of {len(content)} images: give a file of one of them, or the whole dataset to 'ism eval'"
        )
    return next(iter(content.values()))


def _has_lens(content: Content) -> bool:
    inner = content.get("intrinsics")
    for fields in (content, inner if isinstance(inner, Mapping) else {}):
        for name in ("coeffs", "dist_coeffs", "distortion", "distortion_coefficients", "D", "d"):
            numbers = fields.get(name)
            numbers = numbers.get("data") if isinstance(numbers, Mapping) else numbers
            if isinstance(numbers, list) and any(isinstance(x, (int, float)) and abs(x) > 1e-6 for x in numbers):
                return True
    return False


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
