"""Tracking: association of a frame's detections with the instances of the frames before, as in SORT.

By class, mask and position; nothing is learned and the image is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ism_ros.data.boxes import mask_to_xywh
from ism_ros.data.detections import Detections

MAX_TRACK_ID = 65535
"""Largest id: ids are values of a mono16 mask image."""
MIN_AFFINITY = 0.2
"""Least affinity of a track and a detection of the same instance."""
TENTATIVE_WEIGHT = 0.5
"""Factor on the affinity of tentative tracks, those detected in less than half of their frames, such as a part of an
instance that was sometimes detected as another: where only one of the two is detected, it continues the other track."""
MAX_DISTANCE_M = 0.15
"""Distance between positions at which closeness is 0, metres; within a tenth of it closeness is 1."""
MAX_AGE_FRAMES = 10
MAX_AGE_S = 2.0
"""Frames and seconds without detection after which a track is deleted, whichever is later."""
JUMP_BACK_S = 1.0
JUMP_AHEAD_S = 60.0
"""Differences of stamps, backwards and forwards, from which on all tracks are deleted, seconds."""


@dataclass(frozen=True)
class Track:
    """One instance as of its last detection.

    Attributes:
        id: Instance id, from 1; 0 = none yet.
        class_id: Id of the object.
        mask: (h, w) bool, the part inside `box_xyxy`.
        box_xyxy: Box of the mask, inclusive pixels.
        position_m: (3,) position in the camera frame, metres; NaN where it is not known.
        seen_ns: Stamp of the frame of the last detection, nanoseconds.
        missed: Frames since the last detection.
        frames: Frames since the first detection, including that one.
        seen: Frames with a detection.
    """

    id: int
    class_id: str
    mask: NDArray[np.bool_]
    box_xyxy: tuple[int, int, int, int]
    position_m: NDArray[np.float64]
    seen_ns: int
    missed: int = 0
    frames: int = 1
    seen: int = 1

    @property
    def is_tentative(self) -> bool:
        """Whether it was detected in less than half of its frames."""
        return 2 * self.seen < self.frames


class Tracker:
    """A tracker of instances. Not for several threads at once.

    Ids count up from 1 and start again at 1 after 65535, leaving out those still in use; until then no id is assigned a
    second time, not even after `reset`. An instance that is out of view for longer than MAX_AGE_FRAMES and MAX_AGE_S
    gets a new id when it comes back.

    Attributes:
        tracks: Current tracks.
    """

    def __init__(self) -> None:
        """Start without tracks."""
        self.tracks: tuple[Track, ...] = ()
        self._last_id = 0
        self._newest_ns: int | None = None

    def update(self, detections: Detections, stamp_ns: int) -> Detections:
        """Assign instance ids to the detections of a frame.

        Where stamps jump (JUMP_BACK_S, JUMP_AHEAD_S) all tracks are deleted first. Tracks of objects that are no longer
        known are deleted.

        Args:
            detections: Of the frame, on the CPU.
            stamp_ns: Stamp of the frame, nanoseconds.

        Returns:
            The detections with `instance_id`.
        """
        if self._newest_ns is not None and jumped(self._newest_ns, stamp_ns):
            self.reset()
        self._newest_ns = stamp_ns
        known = [track for track in self.tracks if track.class_id in detections.object_ids or not detections.object_ids]
        seen = tracks_of_detections(detections, stamp_ns)
        weights = np.array([TENTATIVE_WEIGHT if track.is_tentative else 1.0 for track in known])
        pairs = assign(affinities(known, seen), weights)
        ids = {now: known[before].id for before, now in pairs}
        for before, now in pairs:
            seen[now] = replace(seen[now], frames=known[before].frames + 1, seen=known[before].seen + 1)
        found = {before for before, _ in pairs}
        missed = [
            replace(track, missed=track.missed + 1, frames=track.frames + 1)
            for number, track in enumerate(known)
            if number not in found
        ]
        missed = [track for track in missed if not is_expired(track, stamp_ns)]
        for row in range(len(seen)):
            if row not in ids:
                ids[row] = self._next_id({track.id for track in known} | set(ids.values()))
        seen = [replace(track, id=ids[row]) for row, track in enumerate(seen)]
        self.tracks = (*seen, *missed)
        numbers = torch.tensor([track.id for track in seen], dtype=torch.int64)
        return replace(detections, instance_id=numbers)

    def reset(self) -> None:
        """Delete all tracks; ids continue."""
        self.tracks = ()
        self._newest_ns = None

    def _next_id(self, used: set[int]) -> int:
        candidate = self._last_id % MAX_TRACK_ID + 1
        while candidate in used:
            candidate = candidate % MAX_TRACK_ID + 1
        self._last_id = candidate
        return candidate


def jumped(before_ns: int, now_ns: int) -> bool:
    """Tell whether two stamps are too far apart for consecutive frames.

    Args:
        before_ns: Stamp of the frame before, nanoseconds.
        now_ns: Stamp of this frame, nanoseconds.

    Returns:
        Whether it is more than JUMP_BACK_S older or JUMP_AHEAD_S newer.
    """
    return not -JUMP_BACK_S * 1e9 <= now_ns - before_ns <= JUMP_AHEAD_S * 1e9


def is_expired(track: Track, now_ns: int) -> bool:
    """Tell whether a track has been without detection for too long.

    Args:
        track: The track.
        now_ns: Stamp of this frame, nanoseconds.

    Returns:
        Whether both MAX_AGE_FRAMES and MAX_AGE_S are exceeded.
    """
    return track.missed > MAX_AGE_FRAMES and now_ns - track.seen_ns > MAX_AGE_S * 1e9


def tracks_of_detections(detections: Detections, stamp_ns: int) -> list[Track]:
    """Convert the detections of a frame to tracks without an id.

    Args:
        detections: Of the frame, on the CPU.
        stamp_ns: Stamp of the frame, nanoseconds.

    Returns:
        One track a detection, in order, with id 0.
    """
    masks = detections.masks.numpy()
    positions_m = detections.model_centers_m().numpy()
    tracks = []
    for row, whole in enumerate(masks):
        left, top, width, height = mask_to_xywh(whole)
        # a copy: a view would keep the masks of the whole frame
        mask = whole[top : top + height, left : left + width].copy()
        box = (left, top, left + width - 1, top + height - 1)
        tracks.append(Track(0, detections.class_id(row), mask, box, positions_m[row], stamp_ns))
    return tracks


def affinities(before: Sequence[Track], now: Sequence[Track]) -> NDArray[np.float64]:
    """Compute the affinity of every track with every detection.

    Args:
        before: B tracks.
        now: N tracks of the detections of this frame.

    Returns:
        (B, N) in [0, 1]: mean of the masks' IoU and of the closeness of positions, or the IoU alone where a position is
        not known; 0 where classes differ.
    """
    table = np.zeros((len(before), len(now)))
    for row, old in enumerate(before):
        for column, new in enumerate(now):
            if old.class_id == new.class_id:
                iou = mask_iou(old, new)
                near = closeness(old.position_m, new.position_m)
                table[row, column] = iou if near is None else (iou + near) / 2
    return table


def closeness(first_m: NDArray[np.float64], second_m: NDArray[np.float64]) -> float | None:
    """Score how close two positions are.

    Args:
        first_m: (3,) metres, NaN where it is not known.
        second_m: (3,) likewise.

    Returns:
        1 at a tenth of MAX_DISTANCE_M and closer, 0 at MAX_DISTANCE_M and beyond, linear between; None where one is not
        known.
    """
    distance_m = float(np.linalg.norm(first_m - second_m))
    if not np.isfinite(distance_m):
        return None
    return float(np.clip((MAX_DISTANCE_M - distance_m) / (0.9 * MAX_DISTANCE_M), 0.0, 1.0))


def mask_iou(first: Track, second: Track) -> float:
    """Compute the IoU of two masks, from the overlap of their boxes.

    Args:
        first: One track.
        second: The other one.

    Returns:
        In [0, 1].
    """
    left, top = (max(first.box_xyxy[side], second.box_xyxy[side]) for side in (0, 1))
    right, bottom = (min(first.box_xyxy[side], second.box_xyxy[side]) for side in (2, 3))
    if left > right or top > bottom:
        return 0.0
    both = np.count_nonzero(_part(first, left, top, right, bottom) & _part(second, left, top, right, bottom))
    return both / max(1, np.count_nonzero(first.mask) + np.count_nonzero(second.mask) - both)


def assign(affinity: NDArray[np.float64], weights: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Assign detections to tracks by the largest sum of weighted affinities (Hungarian method).

    Args:
        affinity: (B, N) in [0, 1].
        weights: (B,) factor on the affinities of each track.

    Returns:
        Pairs (track, detection), each with an affinity of at least MIN_AFFINITY.
    """
    allowed = np.where(affinity >= MIN_AFFINITY, affinity * weights[:, None], 0.0)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c] > 0]


def _part(track: Track, left: int, top: int, right: int, bottom: int) -> NDArray[np.bool_]:
    """Crop the track's mask to a box (inclusive) inside its own."""
    own_left, own_top = track.box_xyxy[:2]
    return track.mask[top - own_top : bottom + 1 - own_top, left - own_left : right + 1 - own_left]
