"""Instances over time: which detection of this frame is which instance of the frames before.

By the class, the mask and the position; nothing is learned and nothing is looked up in the image.
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
"""Ids are values of a mono16 mask image."""
LEAST_AFFINITY = 0.2
"""Below, two are not the same instance."""
FLEETING_WEIGHT = 0.5
"""Of the affinity of an instance that was seen in less than half of its frames, such as a part of one that was now and
then taken for another: where only one of the two is seen, it is the one that is mostly there."""
REACH_M = 0.15
"""An instance is looked for so far from where it was last; positions within a tenth of it count as the same place."""
MAX_AGE_FRAMES = 10
MAX_AGE_S = 2.0
"""An instance that was not seen is forgotten after so many frames and so many seconds, whichever is later."""
JUMP_BACK_S = 1.0
JUMP_AHEAD_S = 60.0
"""A stamp so much older or newer than the one before belongs to another time: all starts anew."""


@dataclass(frozen=True)
class Track:
    """One instance as it was last seen.

    mask: (h, w) bool, what is inside box_xyxy, (4,) inclusive pixels. position_m: (3,) in the camera frame, NaN where
    it is not known. seen_ns: stamp of the frame. missed: frames since then. frames: since it was first seen, that one
    included; seen: in how many of them it was.
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
    def is_fleeting(self) -> bool:
        return 2 * self.seen < self.frames


class Tracker:
    """The instances that are in view, and the next id. Not for several threads at once.

    Ids count up from 1 and start again at 1 after 65535, leaving out those still in use; until then no id is given a
    second time, not even after `reset`. An instance that is out of view for longer than MAX_AGE_FRAMES and MAX_AGE_S
    gets a new id when it comes back.
    """

    def __init__(self) -> None:
        self.tracks: tuple[Track, ...] = ()
        self._last_id = 0
        self._newest_ns: int | None = None

    def update(self, detections: Detections, stamp_ns: int) -> Detections:
        """`detections` of the frame of `stamp_ns`, on the CPU, with their instance ids.

        Stamps that jump (JUMP_BACK_S, JUMP_AHEAD_S) start anew. Tracks of objects that are no longer known end.
        """
        if self._newest_ns is not None and jumped(self._newest_ns, stamp_ns):
            self.reset()
        self._newest_ns = stamp_ns
        known = [track for track in self.tracks if track.class_id in detections.object_ids or not detections.object_ids]
        seen = seen_in(detections, stamp_ns)
        weights = np.array([FLEETING_WEIGHT if track.is_fleeting else 1.0 for track in known])
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
        missed = [track for track in missed if not forgotten(track, stamp_ns)]
        for row in range(len(seen)):
            if row not in ids:
                ids[row] = self._next_id({track.id for track in known} | set(ids.values()))
        seen = [replace(track, id=ids[row]) for row, track in enumerate(seen)]
        self.tracks = (*seen, *missed)
        numbers = torch.tensor([track.id for track in seen], dtype=torch.int64)
        return replace(detections, instance_id=numbers)

    def reset(self) -> None:
        """Forgets all instances; ids go on where they were."""
        self.tracks = ()
        self._newest_ns = None

    def _next_id(self, used: set[int]) -> int:
        candidate = self._last_id % MAX_TRACK_ID + 1
        while candidate in used:
            candidate = candidate % MAX_TRACK_ID + 1
        self._last_id = candidate
        return candidate


def jumped(before_ns: int, now_ns: int) -> bool:
    """Whether two stamps belong to different times rather than to following frames."""
    return not -JUMP_BACK_S * 1e9 <= now_ns - before_ns <= JUMP_AHEAD_S * 1e9


def forgotten(track: Track, now_ns: int) -> bool:
    """Whether an instance has been out of view for too long to be the same when something comes back."""
    return track.missed > MAX_AGE_FRAMES and now_ns - track.seen_ns > MAX_AGE_S * 1e9


def seen_in(detections: Detections, stamp_ns: int) -> list[Track]:
    """What is seen in one frame, as tracks that have no id (0) yet."""
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
    """(B, N) in [0, 1]: how much every earlier instance and every present one are the same; 0 where classes differ.

    The mean of the masks' IoU and of the closeness of positions, or the IoU alone where a position is not known.
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
    """1 at a tenth of REACH_M and closer, 0 at REACH_M and beyond, linear between; None where one is not known."""
    distance_m = float(np.linalg.norm(first_m - second_m))
    if not np.isfinite(distance_m):
        return None
    return float(np.clip((REACH_M - distance_m) / (0.9 * REACH_M), 0.0, 1.0))


def mask_iou(first: Track, second: Track) -> float:
    """IoU of two masks; only where the boxes overlap is anything looked at."""
    left, top = (max(first.box_xyxy[side], second.box_xyxy[side]) for side in (0, 1))
    right, bottom = (min(first.box_xyxy[side], second.box_xyxy[side]) for side in (2, 3))
    if left > right or top > bottom:
        return 0.0
    both = np.count_nonzero(_part(first, left, top, right, bottom) & _part(second, left, top, right, bottom))
    return both / max(1, np.count_nonzero(first.mask) + np.count_nonzero(second.mask) - both)


def assign(affinity: NDArray[np.float64], weights: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (row, column) of the largest sum of weighted affinities, each at least LEAST_AFFINITY.

    weights: one for each row.
    """
    allowed = np.where(affinity >= LEAST_AFFINITY, affinity * weights[:, None], 0.0)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c] > 0]


def _part(track: Track, left: int, top: int, right: int, bottom: int) -> NDArray[np.bool_]:
    """The track's mask in a box (inclusive) inside its own."""
    own_left, own_top = track.box_xyxy[:2]
    return track.mask[top - own_top : bottom + 1 - own_top, left - own_left : right + 1 - own_left]
