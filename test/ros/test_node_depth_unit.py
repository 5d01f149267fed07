"""Depth in the wrong unit is told from its median reading."""

import numpy as np
import pytest

from ism_ros.node.depth_unit import doubt_about_unit


def table(distance_m=0.8):
    """Readings of a tilted table about `distance_m` away, metres, a fifth of them missing."""
    depth_m = np.tile(np.linspace(0.9, 1.1, 120, dtype=np.float32)[:, None] * distance_m, (1, 160))
    depth_m[::5] = 0.0
    return depth_m.astype(np.float32)


@pytest.mark.parametrize("distance_m", [0.15, 0.3, 0.8, 2.0, 8.0])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1"])
def test_usual_distances_raise_no_doubt(distance_m, encoding):
    assert doubt_about_unit(table(distance_m), encoding) == ""


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
def test_a_wrong_unit_is_named_with_what_the_encoding_stands_for(encoding, number_per_m, metres_per_number, guess):
    numbers = table(2.0 if number_per_m == 1 else 0.8) * number_per_m
    if encoding == "16UC1":
        numbers = np.round(numbers)
    said = doubt_about_unit((numbers * metres_per_number).astype(np.float32), encoding)
    assert guess in said
    assert encoding in said
    assert "\n" not in said


def test_a_median_decides_not_single_readings():
    depth_m = table()
    depth_m[:20] = 500.0
    assert doubt_about_unit(depth_m, "32FC1") == ""


@pytest.mark.parametrize("depth_m", [np.zeros((480, 640)), np.full((3, 3), 900.0), np.full((480, 640), np.nan)])
def test_of_no_readings_or_a_few_nothing_is_concluded(depth_m):
    assert doubt_about_unit(depth_m.astype(np.float32), "32FC1") == ""
