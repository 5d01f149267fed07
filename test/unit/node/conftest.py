"""Tests of the node's parts need the Python packages of ROS, but no DDS."""

import importlib.util

import numpy as np
import pytest

collect_ignore_glob = [] if importlib.util.find_spec("rclpy") else ["*test_*.py"]


@pytest.fixture
def rgb():
    from image_messages import HEIGHT, WIDTH

    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
