"""The order of the stamps of one topic: in order, repeated, late, or from before a jump in time."""

from __future__ import annotations

from enum import Enum

BACKWARD_JUMP_S = 1.0
"""A stamp so much older than the newest means that time was set back or a bag starts again."""
LATE_IN_A_ROW = 5
"""So many late stamps, one after the other, mean the same: a bag shorter than BACKWARD_JUMP_S starts again."""


class Order(Enum):
    """Where a stamp stands among those before it."""

    NEWER = "newer"
    REPEATED = "repeated"
    LATE = "late"
    JUMPED_BACK = "jumped_back"


class StampOrder:
    """Remembers the newest stamp of one topic."""

    def __init__(self) -> None:
        self._newest_s: float | None = None
        self._late = 0

    def judge(self, stamp_s: float) -> Order:
        """Where `stamp_s` stands; after JUMPED_BACK it is the newest."""
        newest_s = self._newest_s
        if newest_s is None or stamp_s > newest_s:
            self._newest_s, self._late = stamp_s, 0
            return Order.NEWER
        if stamp_s == newest_s:
            return Order.REPEATED
        self._late += 1
        if stamp_s < newest_s - BACKWARD_JUMP_S or self._late >= LATE_IN_A_ROW:
            self._newest_s, self._late = stamp_s, 0
            return Order.JUMPED_BACK
        return Order.LATE

    def forget(self) -> None:
        """Time has jumped: any stamp may follow."""
        self._newest_s, self._late = None, 0
