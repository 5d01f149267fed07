"""Tests of the node's parts need the Python packages of ROS, but no DDS."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("rclpy") else ["test_*.py"]
