"""Hands that hold or hide objects: a palm, fingers and a forearm of one color."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface
from training.training_scenes.random_shapes import Rng, sweep_circle
from training.training_scenes.surroundings import solid

Array = NDArray[np.float64]


def hand(rng: Rng, at: Array) -> Surface:
    """Make a hand, in a glove or not, that reaches for a point from a random direction.

    Args:
        rng: Source of randomness.
        at: (3,) the point between its fingers, metres.

    Returns:
        The surface.
    """
    palm = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
    palm.apply_scale((0.045, 0.018, 0.05))
    parts = [palm]
    curl = rng.uniform(0.2, 1.5)
    for finger in range(5):
        length = rng.uniform(0.06, 0.085) * (0.75 if finger == 4 else 1.0)
        bend = np.linspace(0, curl * rng.uniform(0.7, 1.2), 10)
        path = np.stack([-np.cumsum(np.sin(bend)), 0 * bend, np.cumsum(np.cos(bend))], 1) * length / 10
        radius_m = np.full(10, rng.uniform(0.0075, 0.0105)) * np.sqrt(np.clip(1.05 - np.linspace(0, 1, 10) ** 4, 0, 1))
        tube = sweep_circle(path, radius_m, 10)
        # fingers bend towards -y, side by side along x; the thumb stands off to the side
        tube.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (0, 0, 1)))
        if finger == 4:
            tube.apply_transform(trimesh.transformations.rotation_matrix(rng.uniform(0.6, 1.2), (0, 1, 0)))
            tube.apply_translation((0.035, -0.005, -0.01))
        else:
            tube.apply_translation((-0.033 + 0.021 * finger, 0, 0.042))
        parts.append(tube)
    arm = trimesh.creation.cylinder(radius=rng.uniform(0.025, 0.045), height=0.5, sections=20)
    parts.append(arm.apply_translation((0, 0, -0.29)))
    mesh = trimesh.util.concatenate(parts)
    mesh.apply_translation((0, rng.uniform(0.02, 0.06), -rng.uniform(0.05, 0.09)))
    # from above, at most 70 degrees off the vertical
    mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi - rng.uniform(0.1, 1.2), (1, 0, 0)))
    skin = np.array((225, 172, 140)) * rng.uniform(0.3, 1.05)
    glove = None if rng.random() < 0.3 else np.clip(skin + rng.normal(0, 6, 3), 0, 255)
    return solid(rng, mesh, at, rng.uniform(0, 2 * np.pi), glove)
