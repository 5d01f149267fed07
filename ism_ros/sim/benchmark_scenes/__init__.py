"""The benchmark distribution: cluttered tables on which benchmarks, demo and tests run, and which training never sees.

Objects, rooms, layouts and cameras are made here alone. Training has its own in training/training_scenes, so that a
score on these scenes is one on objects and rooms that no network was trained on. Shared is only the machinery of
`ism_ros.sim.synthesis` and the renderer.
"""
