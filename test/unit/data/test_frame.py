"""What a frame accepts and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.errors import FrameError
from ism_ros.io.frame_files import FrameFileError, read_camera, read_depth_m, read_frame, read_rgb

INTRINSICS = np.array([[500.0, 0, 3], [0, 500.0, 2], [0, 0, 1]])


def rgb(height: int = 4, width: int = 6) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def camera(width: int = 6, height: int = 4) -> Camera:
    return Camera(INTRINSICS, width, height)


def test_unreadable_depth_becomes_no_reading() -> None:
    depth_m = np.full((4, 6), 1.0, np.float32)
    depth_m[0, :4] = [np.nan, np.inf, -np.inf, -0.5]
    frame = Frame(rgb(), depth_m, camera())
    assert frame.depth_m is not None
    assert frame.depth_m[0].tolist() == [0, 0, 0, 0, 1, 1]
    assert frame.invalid_depth_share == pytest.approx(4 / 24)


def test_the_given_depth_array_is_not_changed() -> None:
    depth_m = np.full((4, 6), np.nan, np.float32)
    Frame(rgb(), depth_m, camera())
    assert np.isnan(depth_m).all()


def test_all_zero_depth_is_no_depth() -> None:
    assert not Frame(rgb(), np.zeros((4, 6), np.float32), camera()).has_depth
    assert not Frame(rgb(), None, camera()).has_depth
    assert Frame(rgb(), np.ones((4, 6), np.float32), camera()).has_depth


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("size_mismatch", lambda: Frame(rgb(), np.ones((3, 6), np.float32), camera())),
        ("camera_info_size", lambda: Frame(rgb(), None, camera(width=7))),
        ("bad_intrinsics", lambda: Camera(np.zeros(9), 6, 4)),
        ("bad_intrinsics", lambda: Camera(np.array([np.nan, 0, 0, 0, 1, 0, 0, 0, 1]), 6, 4)),
        ("bad_intrinsics", lambda: Camera(np.ones(4), 6, 4)),
        ("empty_image", lambda: Frame(rgb(0, 0), None, camera(0, 0))),
        ("bad_rgb", lambda: Frame(np.zeros((4, 6), np.uint8), None, camera())),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(reason: str, make: object) -> None:
    with pytest.raises(FrameError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.reason == reason


def write_camera(folder: Path, content: object) -> Path:
    path = folder / "camera.json"
    path.write_text(json.dumps(content))
    return path


def test_sixteen_bit_depth_keeps_every_bit(tmp_path: Path) -> None:
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "depth.png"), stored)
    depth_m = read_depth_m(tmp_path / "depth.png", depth_scale=1.0)
    assert np.array_equal(np.rint(depth_m.astype(np.float64) * 1000).astype(np.uint16), stored % 65535)


def test_depth_is_the_stored_number_times_the_scale_in_millimetres(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "depth.png"), np.full((2, 2), 5000, np.uint16))
    assert read_depth_m(tmp_path / "depth.png", depth_scale=0.1)[0, 0] == pytest.approx(0.5)


def test_a_frame_from_files(tmp_path: Path) -> None:
    color = np.zeros((4, 6, 3), np.uint8)
    color[:, :, 2] = 200
    cv2.imwrite(str(tmp_path / "rgb.png"), color)
    cv2.imwrite(str(tmp_path / "depth.png"), np.full((4, 6), 800, np.uint16))
    frame = read_frame(
        tmp_path / "rgb.png",
        tmp_path / "depth.png",
        write_camera(tmp_path, {"cam_K": INTRINSICS.tolist(), "depth_scale": 1.0}),
    )
    assert frame.rgb[0, 0].tolist() == [200, 0, 0]
    assert frame.depth_m is not None
    assert frame.depth_m[0, 0] == pytest.approx(0.8)
    assert frame.camera.fx == 500.0


@pytest.mark.parametrize("matrix", [INTRINSICS.tolist(), INTRINSICS.ravel().tolist()])
def test_the_camera_matrix_may_be_nine_numbers_or_three_rows(tmp_path: Path, matrix: object) -> None:
    intrinsics, depth_scale = read_camera(write_camera(tmp_path, {"cam_K": matrix}))
    assert np.array_equal(intrinsics, INTRINSICS)
    assert depth_scale == 1.0


@pytest.mark.parametrize(
    ("content", "word"),
    [([], "cam_K"), ({}, "cam_K"), ({"cam_K": [1, 2]}, "9"), ({"cam_K": ["x"] * 9}, "numbers"),
     ({"cam_K": INTRINSICS.tolist(), "depth_scale": 0}, "depth_scale")],
)  # fmt: skip
def test_a_camera_file_that_cannot_be_used_is_named(tmp_path: Path, content: object, word: str) -> None:
    path = write_camera(tmp_path, content)
    with pytest.raises(FrameFileError) as caught:
        read_camera(path)
    assert str(path) in str(caught.value)
    assert word in str(caught.value)


def test_an_eight_bit_picture_is_not_taken_for_depth(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "depth.png"), np.zeros((4, 6), np.uint8))
    with pytest.raises(FrameFileError, match="uint8"):
        read_depth_m(tmp_path / "depth.png", 1.0)


@pytest.mark.parametrize("content", [None, b"", b"not a picture"])
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "rgb.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FrameFileError, match=r"rgb\.png"):
        read_rgb(path)


DIM_CAMERA = Camera(np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]), 64, 48)


@pytest.mark.parametrize(("level", "said"), [(0, "almost black"), (20, "almost black"), (255, "almost white")])
def test_a_picture_that_shows_next_to_nothing_is_doubted(level: int, said: str) -> None:
    (warning,) = Frame(np.full((48, 64, 3), level, np.uint8), None, DIM_CAMERA).warnings
    assert (warning.reason, said in warning.text) == ("exposure", True)


def test_a_dark_picture_with_a_bright_object_is_not_doubted() -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[16:32, 16:48] = 90
    assert not Frame(rgb, None, DIM_CAMERA).warnings


def test_the_old_name_of_is_gray_is_there_and_says_the_new_one() -> None:
    frame = Frame(np.full((48, 64, 3), 90, np.uint8), None, DIM_CAMERA)
    with pytest.deprecated_call(match="is_gray"):
        assert frame.is_grey == frame.is_gray  # the old spelling
