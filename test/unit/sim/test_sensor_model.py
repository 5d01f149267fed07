"""The sensor model: noise of the stated size, holes where such cameras have them, one result per seed."""

import numpy as np
import pytest

from ism_ros.data.camera import Camera
from ism_ros.sim.synthesis.sensor_model import SensorModel, depth_noise_m, sense

CAMERA = Camera(np.array([[615.0, 0, 320], [0, 615.0, 240], [0, 0, 1]]), 640, 480)
GRAY = np.full((480, 640, 3), 140, np.uint8)


def flat(depth_m: float) -> np.ndarray:
    return np.full((480, 640), depth_m, np.float32)


@pytest.mark.parametrize("distance_m", [0.5, 0.8, 1.2])
def test_depth_noise_has_the_stated_deviation_and_grows_with_the_square_of_the_distance(distance_m):
    depth = sense(GRAY, flat(distance_m), CAMERA, 0).depth_m
    stated = float(depth_noise_m(SensorModel(), flat(distance_m), CAMERA)[0, 0])
    assert stated == pytest.approx(0.10 * distance_m**2 / (615 * 0.05))
    errors = depth[depth > 0] - distance_m
    assert abs(errors.mean()) < 0.3 * stated
    # Rounding to 1/32 pixel of disparity and to millimetres comes on top.
    assert 0.8 * stated < errors.std() < 1.5 * stated + 5e-4


def test_a_plain_wall_loses_only_speckles():
    depth = sense(GRAY, flat(0.8), CAMERA, 1).depth_m
    share = (depth == 0).mean()
    assert 0.001 < share < 0.01


def test_a_near_object_casts_a_shadow_without_readings_on_its_left():
    depth = flat(1.2)
    depth[150:330, 250:400] = 0.6
    measured = sense(GRAY, depth, CAMERA, 2).depth_m
    # 615 * 0.05 * (1 / 0.6 - 1 / 1.2) = 26 pixels of the wall are seen by one infrared camera only.
    assert (measured[170:310, 228:246] == 0).mean() > 0.95
    assert (measured[170:310, 405:430] == 0).mean() < 0.1


def test_dark_and_mirroring_surfaces_lose_readings():
    def missing(rgb, shine):
        return (
            sense(rgb, flat(0.8), CAMERA, 3, shine=np.full((480, 640), shine, np.float32)).depth_m == 0
        ).mean()

    assert missing(np.full_like(GRAY, 3), 0.0) > 5 * missing(GRAY, 0.0)
    assert missing(GRAY, 0.8) > 5 * missing(GRAY, 0.0)


def test_nothing_is_measured_where_nothing_is_or_where_it_is_out_of_range():
    depth = flat(0.8)
    depth[:, :100], depth[:, 100:200], depth[:, 200:300] = 0.0, 0.1, 9.0
    measured = sense(GRAY, depth, CAMERA, 4).depth_m
    assert (measured[:, :290] == 0).all()
    assert (measured[:, 320:] > 0).mean() > 0.9


def test_depth_comes_in_whole_millimetres():
    depth = sense(GRAY, flat(0.731), CAMERA, 5).depth_m
    np.testing.assert_allclose(depth * 1000, np.rint(depth * 1000), atol=1e-3)


def test_color_is_changed_within_what_a_camera_does():
    for seed in range(5):
        rgb = sense(GRAY, flat(0.8), CAMERA, seed).rgb.astype(float)
        assert 0.6 * 140 < rgb[200:280, 280:360].mean() < 1.6 * 140
        assert 1.0 < rgb[200:280, 280:360].std(axis=(0, 1)).max() < 8.0


def test_one_seed_one_frame():
    first, again, other = (sense(GRAY, flat(0.8), CAMERA, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    np.testing.assert_array_equal(first.depth_m, again.depth_m)
    assert (first.depth_m != other.depth_m).any()
