"""One instance that is followed, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ism_ros.data.detections import Detections
from ism_ros.tracking.lost_detection import is_distinct, updated_usual
from ism_ros.tracking.motion_model import Motion
from ism_ros.tracking.region_colors import RegionColors

State = Literal["candidate", "followed", "lost"]
"""candidate: found by the search, but not yet seen in the present frame."""
HISTORY_S = 2.0
"""How long poses are remembered, seconds: longer than a search takes."""

MAX_MISSES = 3
"""Searches in a row that may miss what is followed by weak evidence."""
SURE_SCORE = 0.6
"""Score of a detection from which on it needs no second search."""
DISTINCT_FRAMES = 10
"""Frames of such evidence that are as good as a second search."""
MAX_HIDDEN = 0.4
"""Share of the silhouette that may be hidden from a search that should find it."""


@dataclass(frozen=True)
class FollowedInstance:
    """An instance of a known object.

    Attributes:
        id: Its number, from 1.
        class_id: Id of its object.
        state: Whether it is followed.
        motion: Its pose and velocity; where it is lost, where it is supposed to be.
        history: Poses of the last HISTORY_S, oldest first, of the frames in which it was followed.
        colors: Of it and its surroundings.
        detection: The one detection of the search that found it last: score, descriptors, evidence.
        covariance: (6, 6) of the centre, as of `refinement.projective_icp.pose_covariances`.
        terms: Terms of the evidence in the last frame, by name.
        usual: Terms of lost_detection.USUAL_TERMS while it was followed; empty before.
        distinct_frames: Frames in which the evidence was of it for sure.
        searches: Searches since its first that should have found it: it was followed then, and mostly visible.
        hits: Number of those that found it.
        misses: How many of them in a row, the last ones, did not.
        seen_ns: Stamp of the frame in which it was last followed.
    """

    id: int
    class_id: str
    state: State
    motion: Motion
    history: tuple[Motion, ...]
    colors: RegionColors
    detection: Detections
    covariance: NDArray[np.float64]
    terms: Mapping[str, float]
    usual: Mapping[str, float] = field(default_factory=dict)
    distinct_frames: int = 0
    searches: int = 1
    hits: int = 1
    misses: int = 0
    seen_ns: int = 0

    @property
    def is_confirmed(self) -> bool:
        """Whether a second search has found it, the first one was sure, or its evidence is, over some frames."""
        is_sure = float(self.detection.score[0]) >= SURE_SCORE
        return self.hits > 1 or is_sure or self.distinct_frames >= DISTINCT_FRAMES

    @property
    def is_doubtful(self) -> bool:
        """Whether less than half of the searches found it, or none of the last while the evidence is weak."""
        is_weak = bool(self.terms) and not is_distinct(self.terms)
        return 2 * self.hits < self.searches or (self.misses >= MAX_MISSES and is_weak)

    def searched(self, is_found: bool) -> FollowedInstance:
        """Count a search that should have found it."""
        misses = 0 if is_found else self.misses + 1
        return replace(self, searches=self.searches + 1, hits=self.hits + is_found, misses=misses)

    @property
    def is_mostly_visible(self) -> bool:
        """Whether a search should find it."""
        return self.state == "followed" and self.terms.get("hidden", 1.0) < MAX_HIDDEN

    def at(self, stamp_ns: int) -> Motion:
        """Return the remembered pose that is nearest to a stamp; where it is lost, where it is supposed to be."""
        if self.state == "lost" or not self.history:
            return self.motion
        return min(self.history, key=lambda one: abs(one.stamp_ns - stamp_ns))

    def seen(self, motion: Motion, terms: Mapping[str, float]) -> FollowedInstance:
        """Remember a pose in which it was seen, and its evidence."""
        recent = tuple(one for one in self.history if motion.stamp_ns - one.stamp_ns <= HISTORY_S * 1e9)
        return replace(
            self,
            state="followed",
            motion=motion,
            history=(*recent, motion),
            terms=terms,
            usual=updated_usual(self.usual, terms),
            distinct_frames=self.distinct_frames + is_distinct(terms),
            seen_ns=motion.stamp_ns,
        )

    def missed(self) -> FollowedInstance:
        """Lose it."""
        # should it have been searched in vain, that counts no more
        return replace(self, state="lost", history=(), searches=self.hits, misses=0)
