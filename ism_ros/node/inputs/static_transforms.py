"""Transforms between rigidly mounted sensors, from /tf_static; without tf2's buffer, which needs a spinning thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # then no transform is known
    TFMessage = None

TOPIC = "/tf_static"
"""Topic of the transforms that do not change."""
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""QoS of TOPIC."""
Matrix = NDArray[np.float64]


class StaticTransforms:
    """Subscribes to /tf_static from construction to `close`."""

    def __init__(self, node: Node, group: CallbackGroup) -> None:
        """Subscribe.

        Args:
            node: ROS node.
            group: Callback group of the subscription.
        """
        self._node = node
        self._to_parent: dict[str, tuple[str, Matrix]] = {}
        self._subscription = (
            None
            if TFMessage is None
            else node.create_subscription(TFMessage, TOPIC, self._add, LATCHED, callback_group=group)
        )

    def between(self, source: str, target: str) -> Matrix | None:
        """Return the transform of points in one frame to points in another.

        Args:
            source: Name of the frame in which the points are.
            target: Name of the frame in which they are wanted.

        Returns:
            (4, 4), metres; None where it is not known.
        """
        return transform_between(self._to_parent, source, target)

    def close(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _add(self, message: Any) -> None:
        for stamped in message.transforms:
            matrix = matrix_of(stamped.transform)
            if matrix is not None:
                self._to_parent[_name(stamped.child_frame_id)] = _name(stamped.header.frame_id), matrix


def transform_between(to_parent: Mapping[str, tuple[str, Matrix]], source: str, target: str) -> Matrix | None:
    """Return the transform between two frames by way of the ancestor that they share.

    Args:
        to_parent: Parent of each child frame and the (4, 4) transform to it, metres.
        source: Name of the frame in which points are.
        target: Name of the frame in which they are wanted.

    Returns:
        (4, 4), or None where the frames share no ancestor.
    """
    from_source, from_target = _ancestors(to_parent, _name(source)), _ancestors(to_parent, _name(target))
    for frame, source_to_frame in from_source.items():
        if frame in from_target:
            return np.asarray(np.linalg.inv(from_target[frame]) @ source_to_frame)
    return None


def matrix_of(transform: Any) -> Matrix | None:
    """Return a geometry_msgs/Transform as (4, 4), metres; None where its numbers are no transform."""
    rotation, translation = transform.rotation, transform.translation
    quaternion = np.array([rotation.x, rotation.y, rotation.z, rotation.w])
    translation_m = np.array([translation.x, translation.y, translation.z])
    if not (np.isfinite(quaternion).all() and np.isfinite(translation_m).all() and np.linalg.norm(quaternion) > 1e-6):
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    matrix[:3, 3] = translation_m
    return matrix


def _ancestors(to_parent: Mapping[str, tuple[str, Matrix]], frame: str) -> dict[str, Matrix]:
    """Return the transforms from `frame` to itself and to each of its ancestors, nearest first."""
    found = {frame: np.eye(4)}
    matrix = found[frame]
    while frame in to_parent:
        frame, step = to_parent[frame]
        if frame in found:  # the frames form a cycle
            break
        matrix = step @ matrix
        found[frame] = matrix
    return found


def _name(frame: str) -> str:
    return frame.lstrip("/")
