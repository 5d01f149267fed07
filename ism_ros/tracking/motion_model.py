"""Motion of instances from frame to frame: constant velocity, and a filter with which poses follow their measurements.

The filter predicts with constant velocity and corrects by a share of what the measurement differs (an alpha-beta
filter, Kalata, IEEE Trans. Aerospace and Electronic Systems 1984). The share grows with the difference: noise at rest
is averaged, fast motion is followed at once. At constant velocity the filtered pose has no delay; where the velocity
changes, it lags by (1 - alpha) of one frame's surprise, at 30 Hz at most MAX_DELAY_S.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_ALPHA, MAX_ALPHA = 0.35, 0.9
"""Shares of the measurement in the filtered pose, of a small and of a large difference."""
SMALL_M, SMALL_RAD = 0.002, 0.02
"""Differences, metres and radians, that are noise as likely as motion: alpha is half way between its limits."""
MAX_DELAY_S = 0.022
"""Delay of the filtered pose after a change of velocity, at 30 Hz: (1 - MIN_ALPHA) frames, seconds."""
VELOCITY_DECAY_S = 1.0
"""Time in which a velocity that no measurement confirms falls to 1 / e, seconds."""
KNOWN_M, KNOWN_RAD = 0.012, 0.15
"""Standard deviations of a measurement, metres and radians, at which half of the velocity along them counts."""
MAX_STEP_S = 0.15
"""Longest time that is predicted with the velocity, seconds: later, where something goes is not known."""
MAX_VELOCITY_MPS, MAX_TURN_RADPS = 3.0, 8.0
"""Largest velocities that are believed."""
AGREED_M = 0.015
"""Distance up to which an instance moves as the others do, metres."""


@dataclass(frozen=True)
class RigidMotion:
    """A motion of the camera frame: p goes to rotation @ p + shift_m.

    Attributes:
        rotation: (3, 3).
        shift_m: (3,) metres.
    """

    rotation: Array
    shift_m: Array

    def apply(self, rotation: Array, centre_m: Array) -> tuple[Array, Array]:
        """Move a pose, rotation (3, 3) and centre (3,), metres."""
        return self.rotation @ rotation, self.rotation @ centre_m + self.shift_m


STILL = RigidMotion(np.eye(3), np.zeros(3))
"""No motion."""


@dataclass(frozen=True)
class Motion:
    """Pose and velocity of an instance in the camera frame.

    Attributes:
        rotation: (3, 3) object-to-camera.
        centre_m: (3,) position of the model's centre, metres.
        velocity_mps: (3,) of the centre, metres a second.
        turn_radps: (3,) rotation vector a second, radians.
        stamp_ns: When.
    """

    rotation: Array
    centre_m: Array
    velocity_mps: Array
    turn_radps: Array
    stamp_ns: int

    @staticmethod
    def at_rest(rotation: Array, centre_m: Array, stamp_ns: int) -> Motion:
        """Make the motion of something that stands still as far as is known."""
        return Motion(rotation, centre_m, np.zeros(3), np.zeros(3), stamp_ns)

    def predicted(self, stamp_ns: int) -> tuple[Array, Array]:
        """Predict rotation (3, 3) and centre (3,), metres, with constant velocity."""
        elapsed_s = min(max((stamp_ns - self.stamp_ns) * 1e-9, 0.0), MAX_STEP_S)
        turn = rotation_matrix(self.turn_radps * elapsed_s)
        return turn @ self.rotation, self.centre_m + self.velocity_mps * elapsed_s

    def corrected(self, rotation: Array, centre_m: Array, stamp_ns: int, covariance: Array) -> Motion:
        """Filter a measurement.

        Args:
            rotation: (3, 3) measured.
            centre_m: (3,) measured, metres.
            stamp_ns: Its stamp.
            covariance: (6, 6) of the measurement: centre, metres, and rotation, radians. Along directions that it
                leaves open, measurements follow the prediction, and a velocity would confirm itself: there is none.

        Returns:
            The motion at that stamp.
        """
        elapsed_s = max((stamp_ns - self.stamp_ns) * 1e-9, 1e-3)
        turned, centre = self.predicted(stamp_ns)
        miss_m = centre_m - centre
        miss_rad = rotation_vector(rotation @ turned.T)
        share_m, share_rad = _alpha(miss_m, SMALL_M), _alpha(miss_rad, SMALL_RAD)
        kept = float(np.exp(-elapsed_s / VELOCITY_DECAY_S))
        velocity = kept * self.velocity_mps + _beta(share_m) * miss_m / elapsed_s
        turn = kept * self.turn_radps + _beta(share_rad) * miss_rad / elapsed_s
        velocity = _certain_part(velocity, covariance[:3, :3], KNOWN_M)
        turn = _certain_part(turn, covariance[3:, 3:], KNOWN_RAD)
        return Motion(
            rotation_matrix(share_rad * miss_rad) @ turned,
            centre + share_m * miss_m,
            _limited(velocity, MAX_VELOCITY_MPS),
            _limited(turn, MAX_TURN_RADPS),
            stamp_ns,
        )

    def moved(self, motion: RigidMotion, stamp_ns: int) -> Motion:
        """Move with the rest of the scene, without a velocity of its own."""
        return Motion.at_rest(*motion.apply(self.rotation, self.centre_m), stamp_ns)


def rotation_matrix(vector: Array) -> Array:
    """Convert a rotation vector (3,), radians, to a matrix (3, 3)."""
    return np.asarray(cv2.Rodrigues(vector)[0], np.float64)


def rotation_vector(matrix: Array) -> Array:
    """Convert a rotation matrix (3, 3) to a vector (3,), radians; cleans it of rounding."""
    return np.asarray(cv2.Rodrigues(matrix)[0], np.float64)[:, 0]


def _alpha(miss: Array, small: float) -> float:
    """Share of a measurement that counts, by its distance from the prediction."""
    ratio = float(miss @ miss) / small**2
    return MIN_ALPHA + (MAX_ALPHA - MIN_ALPHA) * ratio / (1 + ratio)


def _beta(alpha: float) -> float:
    """Share of a difference that counts as a change of the velocity (Benedict and Bordner, IRE Trans. 1962)."""
    return alpha * alpha / (2 - alpha)


def _certain_part(vector: Array, covariance: Array, known: float) -> Array:
    """Shrink a vector along the directions in which a covariance (3, 3) is larger than known^2."""
    if not np.isfinite(covariance).all():
        return vector
    return np.asarray(np.linalg.solve(np.eye(3) + covariance / known**2, vector))


def _limited(vector: Array, limit: float) -> Array:
    length = float(np.linalg.norm(vector))
    return vector if length <= limit else vector * (limit / length)


def common_motion(pairs: Sequence[tuple[Motion, Motion]], radii_m: Sequence[float]) -> RigidMotion:
    """Estimate how the scene moved before the camera, from instances that stand in it.

    The rigid motion of most of the instances (Kabsch, Acta Cryst. 1976, of their centres and points about them); those
    that it leaves by more than AGREED_M move by themselves and are left out, one after the other.

    Args:
        pairs: Pose of each of N instances, before and after.
        radii_m: N radii of their objects, metres.

    Returns:
        The motion; none where fewer than two instances agree, as one alone may itself have been moved.
    """
    left = list(range(len(pairs)))
    points = [_points_of(before, radius) for (before, _), radius in zip(pairs, radii_m, strict=True)]
    moved = [_points_of(after, radius) for (_, after), radius in zip(pairs, radii_m, strict=True)]
    while len(left) >= 2:
        found = _kabsch(np.concatenate([points[i] for i in left]), np.concatenate([moved[i] for i in left]))
        misses = [
            float(np.linalg.norm(found.rotation @ pairs[i][0].centre_m + found.shift_m - pairs[i][1].centre_m))
            for i in left
        ]
        worst = int(np.argmax(misses))
        if misses[worst] < AGREED_M:
            return found
        left.pop(worst)
    return STILL


def _points_of(motion: Motion, radius_m: float) -> Array:
    """Centre and the ends of the axes (4, 3); short axes, as rotations are less certain than places."""
    return np.concatenate([motion.centre_m[None], motion.centre_m + 0.5 * radius_m * motion.rotation.T])


def _kabsch(before: Array, after: Array) -> RigidMotion:
    first, last = before.mean(axis=0), after.mean(axis=0)
    u, _, vt = np.linalg.svd((before - first).T @ (after - last))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ sign @ u.T
    return RigidMotion(rotation, last - rotation @ first)
