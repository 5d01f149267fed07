"""Directions, rotations and camera poses in a world frame with z up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def direction_of(azimuth: float, elevation: float) -> Array:
    """Compute the unit vector of two angles.

    Args:
        azimuth: Angle about z from x, radians.
        elevation: Angle above the horizontal plane, radians.

    Returns:
        (3,) unit vector.
    """
    return np.array((np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)))


def rotation_about_z(angle: float) -> Array:
    """Compute the rotation about z.

    Args:
        angle: Radians, counter-clockwise seen from above.

    Returns:
        (3, 3) rotation matrix.
    """
    c, s = np.cos(angle), np.sin(angle)
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1.0)))


def look_at(eye: Array, target: Array, roll: float = 0.0) -> Array:
    """Compute the pose of a camera that looks at a point.

    Args:
        eye: (3,) position of the camera in the world, metres.
        target: (3,) the point, metres; not straight above or below the camera.
        roll: Rotation about the optical axis, radians.

    Returns:
        (4, 4) world-to-camera transform; camera frame x right, y down, z forward.
    """
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0, 0, 1.0))
    right /= np.linalg.norm(right)
    rotation = rotation_about_z(roll) @ np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ eye
    return pose
