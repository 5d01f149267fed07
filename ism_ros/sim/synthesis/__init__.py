"""The machinery of synthetic RGB-D data: sensor model, camera poses, resting poses, ground truth, BOP files.

Nothing here says what a scene looks like; that is up to the two distributions of scenes, which use this and never each
other: `ism_ros.sim.benchmark_scenes` (measured on) and training/training_scenes (trained on).
"""
