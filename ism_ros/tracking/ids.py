"""Instances over time: which detection of this frame is which instance of the frames before.

Tracks are matched by class, mask and position (linear assignment, as in SORT, Bewley et al., 2016); nothing is learned
and no pixels are compared.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
"""Affinity below which two are not the same instance."""
TENTATIVE_WEIGHT = 0.5
"""Factor on the affinity of tentative tracks. Such a track is often a part of an instance that was now and then taken
for another: where only one of the two is detected, it is the one that is detected mostly."""
MAX_DISTANCE_M = 0.15
"""Distance from its last position within which an instance is found again; a tenth of it counts as the same place."""
MAX_AGE_FRAMES = 10
"""Frames without a detection after which a track is deleted, if MAX_AGE_S has passed as well."""
MAX_AGE_S = 2.0
"""Seconds without a detection after which a track is deleted, if MAX_AGE_FRAMES have passed as well."""
JUMP_BACK_S = 1.0
"""Seconds by which a stamp may be older than the one before; more is another time, and all tracks are deleted."""
JUMP_AHEAD_S = 60.0
"""Seconds by which a stamp may be newer than the one before; more is another time, and all tracks are deleted."""


@dataclass(frozen=True)
class Track:
    """One instance as it was last detected.

    Attributes:
        id: Its number, from 1; 0 = none yet.
        class_id: Id of its object.
        mask: (h, w) bool, what is inside box_xyxy.
        box_xyxy: First and last column and row, both inclusive, pixels.
        position_m: (3,) centre of the model's box in the camera frame, metres; NaN where it is not known.
        last_seen_ns: Stamp of the frame.
        frames_since_update: Frames since then.
        age_frames: Frames since its first, that one included.
        hits: Number of those in which it was detected.
    """

    id: int
    class_id: str
    mask: NDArray[np.bool_]
    box_xyxy: tuple[int, int, int, int]
    position_m: NDArray[np.float64]
    last_seen_ns: int
    frames_since_update: int = 0
    age_frames: int = 1
    hits: int = 1

    @property
    def is_tentative(self) -> bool:
        """Whether it was detected in less than half of the frames since its first."""
        return 2 * self.hits < self.age_frames


class Tracker:
    """Gives detections the ids of the instances that they show. Not for several threads at once.

    Ids count up from 1 and start again at 1 after 65535, leaving out those still in use; until then no id is given
    twice, not even after `reset`. An instance that is out of view for longer than MAX_AGE_FRAMES and MAX_AGE_S gets a
    new id when it comes back.

    Attributes:
        tracks: Instances in view, and those not deleted yet.
    """

    def __init__(self) -> None:
        self.tracks: tuple[Track, ...] = ()
        self._last_id = 0
        self._newest_ns: int | None = None

    def update(self, detections: Detections, stamp_ns: int) -> Detections:
        """Match the detections of a frame with the tracks.

        Stamps that jump (JUMP_BACK_S, JUMP_AHEAD_S) delete all tracks. Tracks of objects that are no longer known are
        deleted.

        Args:
            detections: Of one frame, on the CPU.
            stamp_ns: Stamp of the frame.

        Returns:
            The detections with their instance ids.
        """
        if self._newest_ns is not None and is_time_jump(self._newest_ns, stamp_ns):
            self.reset()
        self._newest_ns = stamp_ns
        known = [track for track in self.tracks if track.class_id in detections.object_ids or not detections.object_ids]
        detected = tracks_of(detections, stamp_ns)
        weights = np.array([TENTATIVE_WEIGHT if track.is_tentative else 1.0 for track in known])
        pairs = assign(affinities(known, detected), weights)
        ids = {now: known[before].id for before, now in pairs}
        for before, now in pairs:
            track = known[before]
            detected[now] = replace(detected[now], age_frames=track.age_frames + 1, hits=track.hits + 1)
        matched = {before for before, _ in pairs}
        unmatched = [
            replace(track, frames_since_update=track.frames_since_update + 1, age_frames=track.age_frames + 1)
            for number, track in enumerate(known)
            if number not in matched
        ]
        kept = [track for track in unmatched if not is_deleted(track, stamp_ns)]
        for row in range(len(detected)):
            if row not in ids:
                ids[row] = self._last_id = next_id(self._last_id, {track.id for track in known} | set(ids.values()))
        detected = [replace(track, id=ids[row]) for row, track in enumerate(detected)]
        self.tracks = (*detected, *kept)
        numbers = torch.tensor([track.id for track in detected], dtype=torch.int64)
        return replace(detections, instance_id=numbers)

    def reset(self) -> None:
        """Delete all tracks; ids go on where they were."""
        self.tracks = ()
        self._newest_ns = None


def next_id(last: int, used: Collection[int]) -> int:
    """Count on to an id that is not in use.

    Args:
        last: The last id that was given, 0 before the first.
        used: Ids that are in use, fewer than MAX_TRACK_ID.

    Returns:
        The id; after MAX_TRACK_ID comes 1.
    """
    candidate = last % MAX_TRACK_ID + 1
    while candidate in used:
        candidate = candidate % MAX_TRACK_ID + 1
    return candidate


def is_time_jump(before_ns: int, now_ns: int) -> bool:
    """Tell whether two stamps belong to different times rather than to following frames.

    Args:
        before_ns: Stamp of the frame before.
        now_ns: Stamp of this frame.

    Returns:
        True where this one is older by more than JUMP_BACK_S or newer by more than JUMP_AHEAD_S.
    """
    return not -JUMP_BACK_S * 1e9 <= now_ns - before_ns <= JUMP_AHEAD_S * 1e9


def is_deleted(track: Track, now_ns: int) -> bool:
    """Tell whether an instance has been out of view for too long to be the same when something comes back.

    Args:
        track: The instance.
        now_ns: Stamp of this frame.

    Returns:
        True where both MAX_AGE_FRAMES and MAX_AGE_S have passed.
    """
    return track.frames_since_update > MAX_AGE_FRAMES and now_ns - track.last_seen_ns > MAX_AGE_S * 1e9


def tracks_of(detections: Detections, stamp_ns: int) -> list[Track]:
    """Convert detections to tracks that have no id (0) yet.

    Args:
        detections: Of one frame, on the CPU.
        stamp_ns: Stamp of the frame.

    Returns:
        One a detection.
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
    """Compute how much earlier instances and present ones are the same.

    The mean of the masks' IoU and of the affinity of positions, or the IoU alone where a position is not known; 0 where
    classes differ.

    Args:
        before: B earlier instances.
        now: N present ones.

    Returns:
        (B, N) in [0, 1].
    """
    table = np.zeros((len(before), len(now)))
    for row, old in enumerate(before):
        for column, new in enumerate(now):
            if old.class_id == new.class_id:
                iou = mask_iou(old, new)
                position = position_affinity(old.position_m, new.position_m)
                table[row, column] = iou if position is None else (iou + position) / 2
    return table


def position_affinity(first_m: NDArray[np.float64], second_m: NDArray[np.float64]) -> float | None:
    """Compute how near two positions are.

    Args:
        first_m: (3,) metres.
        second_m: (3,) metres.

    Returns:
        1 at a tenth of MAX_DISTANCE_M and closer, 0 at MAX_DISTANCE_M and beyond, linear between; None where one is
        NaN.
    """
    distance_m = float(np.linalg.norm(first_m - second_m))
    if not np.isfinite(distance_m):
        return None
    return float(np.clip((MAX_DISTANCE_M - distance_m) / (0.9 * MAX_DISTANCE_M), 0.0, 1.0))


def mask_iou(first: Track, second: Track) -> float:
    """Compute the IoU of two masks, where their boxes overlap.

    Args:
        first: An instance.
        second: Another one in the same image size.

    Returns:
        In [0, 1].
    """
    left, top = (max(first.box_xyxy[side], second.box_xyxy[side]) for side in (0, 1))
    right, bottom = (min(first.box_xyxy[side], second.box_xyxy[side]) for side in (2, 3))
    if left > right or top > bottom:
        return 0.0
    both = np.count_nonzero(_crop(first, left, top, right, bottom) & _crop(second, left, top, right, bottom))
    return both / max(1, np.count_nonzero(first.mask) + np.count_nonzero(second.mask) - both)


def assign(affinity: NDArray[np.float64], weights: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Find the pairs of the largest sum of weighted affinities.

    Args:
        affinity: (B, N) in [0, 1].
        weights: (B,), factor on each row.

    Returns:
        (row, column) of each pair, all with an affinity of at least MIN_AFFINITY.
    """
    allowed = np.where(affinity >= MIN_AFFINITY, affinity * weights[:, None], 0.0)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c] > 0]


def _crop(track: Track, left: int, top: int, right: int, bottom: int) -> NDArray[np.bool_]:
    """Cut the track's mask in a box (inclusive) inside its own."""
    own_left, own_top = track.box_xyxy[:2]
    return track.mask[top - own_top : bottom + 1 - own_top, left - own_left : right + 1 - own_left]
