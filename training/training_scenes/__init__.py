"""The training distribution: random objects, scenes and cameras that training alone sees.

Benchmarks, demo and tests run on another distribution, `ism_ros.sim.benchmark_scenes`: nothing here may import it, so
that a score on it is one on objects and rooms that no network was trained on. Shared is only the machinery of
`ism_ros.sim.synthesis` and the renderer.
"""
