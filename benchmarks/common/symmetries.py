"""Rotational symmetries of a mesh."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

STEP_DEG = 10
"""Step of the rotations about each axis that are tried, degrees."""


def symmetries_of(mesh: trimesh.Trimesh, samples: int = 20_000, looked_at: int = 600) -> NDArray[np.float64]:
    """Find the rotations about the origin that leave the shape as it is.

    Those that move 97 % of the surface by less than 4 % of the diameter, at least 45 degrees, or any about an axis
    about which all rotations do so.

    Args:
        mesh: The mesh, centred on the origin.
        samples: Points of the surface that are compared with.
        looked_at: Points that are rotated.

    Returns:
        (S, 3, 3) rotation matrices, the identity among them.
    """
    points = np.asarray(trimesh.sample.sample_surface(mesh, samples, seed=0)[0])
    tree, some = cKDTree(points), points[:looked_at]
    limit_m = 0.04 * float(np.linalg.norm(mesh.extents))

    def fits(turn: Rotation) -> bool:
        return bool(np.percentile(tree.query(turn.apply(some))[0], 97) < limit_m)

    angles = range(0, 360, STEP_DEG)
    about = [[Rotation.from_euler(axis, angle, degrees=True) for angle in angles] for axis in "xyz"]
    continuous = [turn for turns in about if all(map(fits, turns)) for turn in turns]
    upside_down = Rotation.from_euler("x", 180, degrees=True)
    single = [*(turn for turns in about for turn in turns), *Rotation.create_group("O")]
    large = [turn for turn in single if turn.magnitude() >= np.pi / 4 and fits(turn)]
    turned_over = [upside_down * turn for turn in continuous if fits(upside_down * turn)]
    return np.array([turn.as_matrix() for turn in [Rotation.identity(), *continuous, *large, *turned_over]])
