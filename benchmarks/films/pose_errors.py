"""Errors of published poses against the truth of a film."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from common.symmetries import STEP_DEG
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from films.film_files import FilmFrame

SAME_M = 0.05
"""Distance from the truth up to which a pose is of that instance, metres."""
Array = NDArray[np.float64]


def fine_symmetries(symmetries: Array) -> Array:
    """Add steps of one degree where all rotations about an axis are symmetries: else STEP_DEG makes errors.

    Args:
        symmetries: (S, 3, 3) of `common.symmetries.symmetries_of`.

    Returns:
        (T, 3, 3).
    """
    for axis in np.eye(3):
        turns = Rotation.from_rotvec(np.outer(np.arange(0, 360, STEP_DEG), axis), degrees=True).as_matrix()
        nearest = np.abs(turns[:, None] - symmetries[None]).max(axis=(2, 3)).min(axis=1)
        if (nearest < 1e-6).all():
            steps = Rotation.from_rotvec(np.outer(np.arange(STEP_DEG), axis), degrees=True).as_matrix()
            symmetries = (symmetries[:, None] @ steps[None]).reshape(-1, 3, 3)
    return symmetries


def rows_of_bodies(names: Sequence[str], places_m: Array, shown: FilmFrame) -> dict[int, int]:
    """Find the row of each body that has one: of its name, nearest, within SAME_M.

    Args:
        names: (N,) objects of what was found, best first.
        places_m: (N, 3) where, metres.
        shown: The truth.

    Returns:
        Row by body.
    """
    rows: dict[int, int] = {}
    for row, (name, at) in enumerate(zip(names, places_m, strict=True)):
        distances = {
            place: float(np.linalg.norm(at - shown.object_to_camera[place][:3, 3]))
            for place, body in enumerate(shown.names)
            if body == name
        }
        if distances and min(distances.values()) < SAME_M:
            rows.setdefault(min(distances, key=lambda place: distances[place]), row)
    return rows


def pose_error(rotation: Array, translation_m: Array, true: Array, symmetries: Array) -> tuple[float, float]:
    """Compare a pose with the truth.

    Args:
        rotation: (3, 3).
        translation_m: (3,) metres.
        true: (4, 4).
        symmetries: (S, 3, 3) rotations that leave the object as it is.

    Returns:
        Millimetres, and degrees but for symmetries.
    """
    traces = np.einsum("ij,sij->s", rotation, true[:3, :3] @ symmetries)
    degrees = float(np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)).min()))
    return 1e3 * float(np.linalg.norm(translation_m - true[:3, 3])), degrees
