"""Camera files of other tools give the camera that they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ism_ros.io.frame_files import FrameFileError, read_camera

ROWS = [615.0, 0.0, 322.5, 0.0, 614.0, 238.5, 0.0, 0.0, 1.0]
COLUMNS = np.reshape(ROWS, (3, 3)).T.flatten().tolist()
FOCAL = {"fx": 615.0, "fy": 614.0}


def camera(folder: Path, content: Any) -> Path:
    file = folder / "camera.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "content",
    [
        {"cam_K": ROWS},
        {"cam_K": np.reshape(ROWS, (3, 3)).tolist()},
        {"0": {"cam_K": ROWS}},
        {"K": ROWS},
        {"camera_matrix": {"rows": 3, "cols": 3, "data": ROWS}},
        {"width": 640, "height": 480, "intrinsic_matrix": COLUMNS},
        {**FOCAL, "cx": 322.5, "cy": 238.5},
        {**FOCAL, "ppx": 322.5, "ppy": 238.5, "coeffs": [0, 0, 0, 0, 0]},
        {"intrinsics": {**FOCAL, "cx": 322.5, "cy": 238.5}},
        "615 0 322.5\n0 614 238.5\n0 0 1\n",
        "6.15e+02, 0, 322.5, 0, 614, 238.5, 0, 0, 1",
        "\ufeff" + json.dumps({"cam_K": ROWS}),
    ],
)
def test_a_camera_matrix_is_found_in_any_usual_form(tmp_path: Path, content: Any) -> None:
    intrinsics, depth_scale = read_camera(camera(tmp_path, content))
    np.testing.assert_allclose(intrinsics.flatten(), ROWS)
    assert depth_scale == 1.0


def test_the_depth_scale_of_the_one_image_of_a_scene_counts(tmp_path: Path) -> None:
    assert read_camera(camera(tmp_path, {"7": {"cam_K": ROWS, "depth_scale": 0.1}}))[1] == 0.1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"0": {"cam_K": ROWS}, "1": {"cam_K": ROWS}}, "cameras of 2 images"),
        ({**FOCAL, "cx": 322.5, "cy": 238.5, "coeffs": [0.1, -0.2, 0, 0, 0]}, "coefficients of a lens"),
        ({"focal": 615}, 'has no "cam_K"'),
        ("1 2 3", "is not JSON"),
        ([], 'has no "cam_K"'),
    ],
)
def test_what_is_no_camera_is_told_in_one_line(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(FrameFileError, match=said) as caught:
        read_camera(camera(tmp_path, content))
    assert str(tmp_path / "camera.json") in str(caught.value)
    assert "\n" not in str(caught.value)
