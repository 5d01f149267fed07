"""Depth in metres: a wrong unit is told from its median reading, and what stands for 'no reading' is none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ism_ros.checks.depth_checks import depth_encoding_warnings, depth_in_metres, depth_scale_warnings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame


def table(distance_m: float = 0.8) -> NDArray[np.float32]:
    """Readings of a tilted table about `distance_m` away, metres, a fifth of them missing."""
    depth_m = np.tile(np.linspace(0.9, 1.1, 120, dtype=np.float32)[:, None] * distance_m, (1, 160))
    depth_m[::5] = 0.0
    return depth_m.astype(np.float32)


@pytest.mark.parametrize("distance_m", [0.15, 0.3, 0.8, 2.0, 8.0])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1"])
def test_usual_distances_raise_no_doubt(distance_m: float, encoding: str) -> None:
    assert not depth_encoding_warnings(table(distance_m), encoding)
    assert not depth_scale_warnings(table(distance_m), 1.0, "camera.json")


@pytest.mark.parametrize(
    ("encoding", "number_per_m", "metres_per_number", "guess"),
    [
        ("16UC1", 10, 0.001, "metres x 10 (0.8 m)"),
        ("16UC1", 1, 0.001, "metres"),
        ("32FC1", 1000, 1.0, "millimetres (0.8 m)"),
        ("32FC1", 10_000, 1.0, "tenths of a millimetre (0.8 m)"),
        ("32FC1", 100, 1.0, "centimetres (0.8 m)"),
    ],
)
def test_a_wrong_unit_is_named_with_what_the_encoding_stands_for(
    encoding: str, number_per_m: float, metres_per_number: float, guess: str
) -> None:
    numbers = table(2.0 if number_per_m == 1 else 0.8) * number_per_m
    if encoding == "16UC1":
        numbers = np.round(numbers)
    (doubt,) = depth_encoding_warnings((numbers * metres_per_number).astype(np.float32), encoding)
    assert doubt.reason == "depth_unit"
    assert guess in doubt.text
    assert encoding in doubt.text
    assert "\n" not in doubt.text


@pytest.mark.parametrize(
    ("depth_scale", "right"), [(0.001, 1.0), (1000.0, 1.0), (1.0, 1000.0), (250.0, 0.25), (0.00025, 0.25)]
)
def test_a_depth_scale_that_gives_no_distance_of_a_camera_is_told_with_the_one_that_does(
    depth_scale: float, right: float
) -> None:
    (doubt,) = depth_scale_warnings(table() * np.float32(depth_scale / right), depth_scale, "camera.json")
    assert f"with depth_scale {depth_scale:g}" in doubt.text
    assert f"depth_scale {right:g} (0.8 m)" in doubt.text
    assert "in camera.json" in doubt.text


def test_a_median_decides_not_single_readings() -> None:
    depth_m = table()
    depth_m[:20] = 500.0
    assert not depth_encoding_warnings(depth_m, "32FC1")


@pytest.mark.parametrize("depth_m", [np.zeros((480, 640)), np.full((3, 3), 900.0), np.full((480, 640), np.nan)])
def test_of_no_readings_or_a_few_nothing_is_concluded(depth_m: NDArray[np.float64]) -> None:
    assert not depth_encoding_warnings(depth_m.astype(np.float32), "32FC1")


@pytest.mark.parametrize("missing", [65535, 65534, 40000, 32768, 64536])
def test_sixteen_bit_numbers_from_32768_on_are_no_reading_in_millimetres(missing: int) -> None:
    stored = np.round(table() * 1000).astype(np.uint16)
    holes = stored == 0
    stored[holes] = missing
    np.testing.assert_allclose(depth_in_metres(stored, 0.001), np.where(holes, 0, table()), atol=6e-4)


def test_signed_numbers_below_0_are_no_reading() -> None:
    stored = np.round(table() * 1000).astype(np.uint16)
    stored[::5] = np.arange(1, 161, dtype=np.int16)[None].__neg__().astype(np.uint16)
    np.testing.assert_allclose(depth_in_metres(stored, 0.001), table(), atol=6e-4)


def test_the_largest_number_is_no_reading_in_any_unit_and_others_are_readings_where_they_may_be() -> None:
    stored = np.array([[65535, 65534, 40000, 32768]], np.uint16)
    np.testing.assert_allclose(depth_in_metres(stored, 0.0001), [[0, 6.5534, 4.0, 3.2768]], rtol=1e-6)


@pytest.mark.parametrize("foreground_m", [None, 1.0])
def test_depth_in_a_finer_unit_than_is_believed_stays_to_be_doubted(foreground_m: float | None) -> None:
    numbers = np.round(table(5.0) * 10_000)
    if foreground_m is not None:
        numbers[:40][numbers[:40] > 0] = foreground_m * 10_000
    stored = numbers.astype(np.uint16)
    depth_m = depth_in_metres(stored, 0.001)
    assert np.count_nonzero(depth_m) == np.count_nonzero(stored)
    assert "tenths of a millimetre" in depth_encoding_warnings(depth_m, "16UC1")[0].text


LARGEST = [np.finfo(np.float32).max, 1e9, 1e10, 65535.0, 65.535, 655.35, 32.768, 1e5]


@pytest.mark.parametrize("missing", LARGEST)
def test_the_largest_float_and_its_like_are_no_reading(missing: float) -> None:
    holes = table() == 0
    depth_m = np.where(holes, np.float32(missing), table())
    before = depth_m.copy()
    np.testing.assert_array_equal(depth_in_metres(depth_m, 1.0), table())
    np.testing.assert_array_equal(depth_m, before)
    assert not depth_encoding_warnings(depth_in_metres(depth_m, 1.0), "32FC1")
    camera = Camera(np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]]), 160, 120)
    frame = Frame(np.zeros((120, 160, 3), np.uint8), depth_m, camera)
    assert frame.invalid_depth_share == pytest.approx(0.2)


@pytest.mark.parametrize("stored_m", [0.5, 12.0, 45.0, 700.0])
def test_other_floats_stay_as_they_are(stored_m: float) -> None:
    stored = np.full((20, 20), stored_m, np.float32)
    np.testing.assert_array_equal(depth_in_metres(stored, 1.0), stored)
