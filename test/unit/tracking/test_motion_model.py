"""Motion of followed instances: predicted with constant velocity, filtered, and that of the scene told from others'."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ism_ros.tracking.motion_model import STILL, Motion, common_motion

PERIOD_NS = 33_333_333
CERTAIN = np.diag([0.002**2] * 3 + [0.02**2] * 3)
FLAT = np.diag([0.002, 1.0, 0.002, 0.02, 0.02, 0.02]) ** 2
"""Covariance of a pose that may slide along y."""


def after(
    frames: int, velocity_mps: tuple[float, float, float], covariance: np.ndarray, noise_m: float = 0.0
) -> Motion:
    """The filtered motion of what moves with a constant velocity."""
    random = np.random.default_rng(0)
    motion = Motion.at_rest(np.eye(3), np.array([0.0, 0.0, 1.0]), 0)
    for frame in range(1, frames + 1):
        centre_m = np.array([0.0, 0.0, 1.0]) + np.array(velocity_mps) * frame * PERIOD_NS * 1e-9
        motion = motion.corrected(np.eye(3), centre_m + random.normal(0, noise_m, 3), frame * PERIOD_NS, covariance)
    return motion


def test_what_moves_steadily_is_predicted_to_less_than_two_millimetres() -> None:
    motion = after(20, (0.3, 0.0, 0.0), CERTAIN)
    _, centre_m = motion.predicted(21 * PERIOD_NS)
    assert centre_m[0] == pytest.approx(0.3 * 21 * PERIOD_NS * 1e-9, abs=0.002)


def test_noise_at_rest_is_averaged() -> None:
    centres = np.array([after(frames, (0.0, 0.0, 0.0), CERTAIN, noise_m=0.0005).centre_m for frames in range(20, 60)])
    assert centres[:, 0].std() < 0.8 * 0.0005


def test_along_a_direction_that_the_view_leaves_open_there_is_no_velocity() -> None:
    motion = after(20, (0.1, 0.1, 0.0), FLAT)
    assert motion.velocity_mps[0] > 0.08
    assert abs(motion.velocity_mps[1]) < 0.01


def test_a_turn_is_predicted() -> None:
    motion = Motion.at_rest(np.eye(3), np.array([0.0, 0.0, 1.0]), 0)
    for frame in range(1, 21):
        turned = Rotation.from_euler("z", 0.03 * frame).as_matrix()
        motion = motion.corrected(turned, motion.centre_m, frame * PERIOD_NS, CERTAIN)
    rotation, _ = motion.predicted(21 * PERIOD_NS)
    assert Rotation.from_matrix(rotation).as_rotvec()[2] == pytest.approx(0.03 * 21, abs=0.01)


def moved_scene(own_m: tuple[float, float, float]) -> tuple[list[tuple[Motion, Motion]], np.ndarray, np.ndarray]:
    """Four instances before and after a motion of the camera; the last one also moves by itself."""
    turn, shift_m = Rotation.from_euler("xyz", [0.05, -0.1, 0.02]).as_matrix(), np.array([0.03, -0.02, 0.01])
    pairs = []
    for index, at in enumerate(([0.1, 0, 0.8], [-0.1, 0.1, 0.9], [0.0, -0.1, 0.7], [0.15, 0.1, 0.8])):
        before = Motion.at_rest(np.eye(3), np.array(at, float), 0)
        after_m = turn @ before.centre_m + shift_m + (np.array(own_m) if index == 3 else 0)
        pairs.append((before, Motion.at_rest(turn, after_m, PERIOD_NS)))
    return pairs, turn, shift_m


def test_the_motion_of_the_scene_is_that_of_most_instances() -> None:
    pairs, turn, shift_m = moved_scene((0.0, 0.08, 0.05))
    found = common_motion(pairs, [0.05] * 4)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-6)
    np.testing.assert_allclose(found.shift_m, shift_m, atol=1e-6)


def test_one_instance_alone_tells_nothing_of_the_scene() -> None:
    pairs, _, _ = moved_scene((0.0, 0.0, 0.0))
    assert common_motion(pairs[:1], [0.05]) == STILL
