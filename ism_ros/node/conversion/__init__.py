"""Conversion of ROS messages to frames: images, depth, calibration, undistortion and registration."""
