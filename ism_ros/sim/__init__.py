"""Simulated RGB-D data with exact ground truth: rendered scenes, a fake camera for ROS 2, the demo.

`synthesis` holds the machinery that both benchmark and training scenes use; `benchmark_scenes` is one distribution of
scenes, on which everything is measured and nothing is trained. The other distribution, for training alone, stands in
training/training_scenes of the repository.
"""
