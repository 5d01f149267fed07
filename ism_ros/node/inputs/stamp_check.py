"""Check of the stamps of one topic: in order, repeated, late, or from before a jump in time."""

from __future__ import annotations

from enum import Enum

BACKWARD_JUMP_S = 1.0
"""Age relative to the newest stamp from which on time was set back or a bag restarts, seconds."""
MAX_LATE_IN_A_ROW = 5
"""Number of late stamps in a row that mean the same: a bag shorter than BACKWARD_JUMP_S restarts."""


class StampOrder(Enum):
    """Position of a stamp relative to those before it."""

    NEWER = "newer"
    REPEATED = "repeated"
    LATE = "late"
    JUMPED_BACK = "jumped_back"


class StampCheck:
    """Remembers the newest stamp of one topic."""

    def __init__(self) -> None:
        """Start before the first stamp."""
        self._newest_s: float | None = None
        self._late = 0

    def check(self, stamp_s: float) -> StampOrder:
        """Classify the next stamp, seconds; after JUMPED_BACK it is the newest."""
        newest_s = self._newest_s
        if newest_s is None or stamp_s > newest_s:
            self._newest_s, self._late = stamp_s, 0
            return StampOrder.NEWER
        if stamp_s == newest_s:
            return StampOrder.REPEATED
        self._late += 1
        if stamp_s < newest_s - BACKWARD_JUMP_S or self._late >= MAX_LATE_IN_A_ROW:
            self._newest_s, self._late = stamp_s, 0
            return StampOrder.JUMPED_BACK
        return StampOrder.LATE

    def reset(self) -> None:
        """Accept any stamp next: time has jumped."""
        self._newest_s, self._late = None, 0
