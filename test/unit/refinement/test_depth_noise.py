"""How noisy a depth camera is, as its own image shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ism_ros.refinement.depth_noise import (
    MAX_INVERSE_NOISE,
    MIN_INVERSE_NOISE,
    depth_noise_m,
    estimate_inverse_noise,
)

SHAPE = 480, 640


def slanted_wall_m() -> NDArray[np.float32]:
    """A plane from 0.9 to 1.4 m: its inverse depth is linear in columns and rows."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (1 / (1.1 - 0.0004 * columns - 0.0003 * rows)).astype(np.float32)


def with_noise(depth_m: NDArray[np.float32], inverse_noise: float) -> NDArray[np.float32]:
    errors = np.random.default_rng(0).normal(0, inverse_noise, SHAPE)
    return (1 / (1 / depth_m + errors)).astype(np.float32)


def test_noise_grows_with_the_square_of_the_distance() -> None:
    near, far = depth_noise_m(torch.tensor([1.0, 2.0])).tolist()
    assert near == pytest.approx(0.0045)
    assert far - 0.002 == pytest.approx(4 * (near - 0.002))


def test_a_noisier_camera_has_more_at_each_distance() -> None:
    assert depth_noise_m(torch.tensor([1.5]), 0.005) > depth_noise_m(torch.tensor([1.5]))


def test_a_perfect_camera_has_the_least() -> None:
    assert estimate_inverse_noise(slanted_wall_m()) == MIN_INVERSE_NOISE


def test_the_noise_of_a_wall_is_found_with_room_for_slow_errors() -> None:
    assert estimate_inverse_noise(with_noise(slanted_wall_m(), 0.002)) == pytest.approx(0.004, rel=0.05)


def test_it_does_not_depend_on_the_distance() -> None:
    near_and_far = np.where(np.arange(SHAPE[1]) < 320, np.float32(0.6), np.float32(2.5)) * np.ones(SHAPE, np.float32)
    assert estimate_inverse_noise(with_noise(near_and_far, 0.002)) == pytest.approx(0.004, rel=0.1)


def test_edges_do_not_count_where_enough_is_flat() -> None:
    depth_m = slanted_wall_m()
    depth_m[100:300, 200:400] -= 0.3
    assert estimate_inverse_noise(with_noise(depth_m, 0.002)) == pytest.approx(0.004, rel=0.1)


def test_there_is_a_limit_where_nothing_is_flat() -> None:
    rough = np.random.default_rng(0).uniform(0.5, 1.5, SHAPE).astype(np.float32)
    assert estimate_inverse_noise(rough) == MAX_INVERSE_NOISE


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (3, 5)])
def test_nothing_measured_is_the_least(shape: tuple[int, int]) -> None:
    assert estimate_inverse_noise(np.zeros(shape, np.float32)) == MIN_INVERSE_NOISE
