"""The 42 viewpoints of templates: the vertices of an icosahedron and the midpoints of its edges.

Templates made by the reference tool carry no poses; theirs are these, in this order. Between them lie 120 more.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

VIEW_COUNT = 42
"""Number of viewpoints of rendered templates."""

_VERTEX_Z = math.sqrt(1 / 5)
_EDGE_Z_HIGH = math.sqrt((5 + math.sqrt(5)) / 10)
_EDGE_Z_LOW = math.sqrt((5 - math.sqrt(5)) / 10)

# Rings around the z axis from the south pole up, each with the azimuths of its cameras in degrees. The order within
# a ring is the reference's; nothing simpler gives it.
_RINGS: tuple[tuple[float, tuple[int, ...]], ...] = (
    (-1.0, (0,)),
    (-_EDGE_Z_HIGH, (-108, 108, 36, -36, 180)),
    (-_EDGE_Z_LOW, (72, -72, -144, 144, 0)),
    (-_VERTEX_Z, (-108, 108, 36, -36, 180)),
    (0.0, (-126, -162, 162, 126, 90, 54, 18, -18, -54, -90)),
    (_VERTEX_Z, (0, -144, 144, 72, -72)),
    (_EDGE_Z_LOW, (180, 36, -36, -108, 108)),
    (_EDGE_Z_HIGH, (0, -144, 144, 72, -72)),
    (1.0, (0,)),
)


def camera_positions() -> NDArray[np.float64]:
    """Compute the directions from the object to the cameras.

    Returns:
        (42, 3) unit rows in the object frame.
    """
    positions = []
    for z, azimuths_deg in _RINGS:
        radius = math.sqrt(1 - z * z)
        for azimuth in map(math.radians, azimuths_deg):
            positions.append((radius * math.cos(azimuth), radius * math.sin(azimuth), z))
    return np.array(positions)


def object_to_camera_rotations() -> NDArray[np.float64]:
    """Compute the rotations of the 42 viewpoints.

    Returns:
        (42, 3, 3) from the object frame to the camera's (OpenCV axes: x right, y down, z forward).
    """
    return np.stack([look_at_origin(position) for position in camera_positions()])


def edge_midpoint_rotations() -> NDArray[np.float64]:
    """Compute the rotations of the viewpoints between the 42: the next subdivision of the icosphere.

    Returns:
        (120, 3, 3) object-to-camera, of a camera at the midpoint of every edge between two neighbours of the 42.
    """
    corners = camera_positions()
    triangles = np.sort(ConvexHull(corners).simplices, axis=1)
    sides = np.unique(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]]), axis=0)
    return np.stack([look_at_origin(midpoint) for midpoint in corners[sides].mean(axis=1)])


def look_at_origin(camera_position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the rotation of a camera that looks at the origin.

    The object's z axis points up in the image; seen along that axis, its y axis does.

    Args:
        camera_position: (3,) in the object frame, of any length but 0.

    Returns:
        (3, 3) object-to-camera.
    """
    forward = -camera_position / np.linalg.norm(camera_position)
    along_axis = abs(forward[2]) > 1 - 1e-9
    up = np.array([0.0, 1.0, 0.0] if along_axis else [0.0, 0.0, 1.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])
