"""Camera matrices that cannot be those of their image are refused; what is odd about others is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ism_ros.checks.camera_checks import non_pinhole_model
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.errors import FrameError

WIDTH, HEIGHT = 640, 480
RIGHT = [615.0, 0, 322.5, 0, 615.0, 238.5, 0, 0, 1]


def frame(k: list[float], width: int = WIDTH, height: int = HEIGHT) -> Frame:
    return Frame(np.full((height, width, 3), 100, np.uint8), None, Camera(np.array(k, float), width, height))


@pytest.mark.parametrize(
    ("k", "said"),
    [
        ([615, 0, 0, 0, 615, 0, 322.5, 238.5, 1], "its last row is 322.5 238.5 1 and must be 0 0 1"),
        ([615, 0, 322.5, 0, 615, 238.5, 0, 0, 0], "its last row is 0 0 0 and must be 0 0 1"),
        ([615, 0, 322.5, 238.5, 615, 0, 0, 0, 1], "its second row begins with 238.5"),
        ([0.96, 0, 0.5, 0, 1.28, 0.5, 0, 0, 1], "it is normalised, with fx = 0.96 pixels"),
        ([1.28, 0, 0.67, 0, 1.28, 0.5, 0, 0, 1], "it is normalised"),
        ([1.93, 0, 320, 0, 1.93, 240, 0, 0, 1], "fx = 1.93 pixels is a field of view of 179 degrees"),
        ([1e308, 0, 320, 0, 615, 240, 0, 0, 1], "fx = 1e+308 pixels is a field of view of 0 degrees"),
        ([615, 0, 320, 0, 1e6, 240, 0, 0, 1], "fy = 1e+06 pixels is a field of view of"),
        ([615, 0, 700, 0, 615, 240, 0, 0, 1], "cx = 700 is outside of an image 640 pixels wide"),
        ([615, 0, 320, 0, 615, -5, 0, 0, 1], "cy = -5 is outside of an image 480 pixels high"),
        ([1230, 0, 640, 0, 1230, 480, 0, 0, 1], "as of an image of about 1280 x 960 pixels"),
        ([615, 0, 0, 0, 615, 0, 0, 0, 1], "cx = 0 is outside"),
        ([100, 0, 320, 0, 615, 240, 0, 0, 1], "6.15 times as long as wide"),
    ],
)
def test_a_matrix_that_cannot_be_of_this_image_is_refused_in_one_sentence(k: list[float], said: str) -> None:
    with pytest.raises(FrameError) as caught:
        frame(k)
    assert caught.value.reason == "bad_intrinsics"
    assert said in str(caught.value)
    assert "give" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("k", "said"),
    [
        ([307, 0, 160, 0, 307, 120, 0, 0, 1], "as of an image of about 320 x 240 pixels"),
        ([100, 0, 320, 0, 100, 240, 0, 0, 1], "unusual field of view of 145 degrees"),
        ([615, 0, 30, 0, 615, 240, 0, 0, 1], "cx = 30 is at its edge"),
        ([615, 0, 320, 0, 1100, 240, 0, 0, 1], "squeezed"),
        ([615, 90, 320, 0, 615, 240, 0, 0, 1], "a skew of 90 pixels"),
    ],
)
def test_an_odd_matrix_is_doubted(k: list[float], said: str) -> None:
    (doubt,) = frame(k).warnings
    assert doubt.reason == "camera_matrix"
    assert said in doubt.text


@pytest.mark.parametrize(
    ("k", "width", "height"),
    [
        (RIGHT, WIDTH, HEIGHT),
        ([303.2, 0, 159.9, 0, 303.3, 119.0, 0, 0, 1], 320, 240),
        ([1066.8, 0, 313.0, 0, 1067.5, 241.3, 0, 0, 1], 640, 480),
        ([319.6, 0, 320.2, 0, 417.1, 244.3, 0, 0, 1], 640, 480),
        ([252.4, 0, 256.1, 0, 252.4, 258.7, 0, 0, 1], 512, 512),
        ([2992.6, 0, 633.9, 0, 3003.9, 489.6, 0, 0, 1], 1280, 960),
        ([1075.6, 0, 374.1, 0, 1073.9, 255.9, 0, 0, 1], 720, 540),
    ],
)
def test_matrices_of_real_cameras_are_taken_without_a_word(k: list[float], width: int, height: int) -> None:
    assert frame(k, width, height).warnings == ()


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"cam_model": {"projection_model_type": "CameraModelType.FISHEYE624"}}, "FISHEYE624"),
        ({"camera_model": "equidistant", "cam_K": RIGHT}, "equidistant"),
        ({"projection_model_type": "KANNALA_BRANDT_K3"}, "KANNALA_BRANDT_K3"),
        ({"cam_K": RIGHT}, ""),
        ({"cam_K": RIGHT, "camera_model": "pinhole", "model": {"name": "OPENCV"}}, ""),
        ({"cam_K": RIGHT, "cam_model": 7}, ""),
    ],
)
def test_a_projection_other_than_a_pinhole_camera_s_is_named(entry: dict[str, Any], name: str) -> None:
    assert non_pinhole_model(entry) == name
