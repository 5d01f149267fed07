"""The setting `max_cpu`: frames are paced by the processor time that this process has used."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable

SAVED_S = 0.2
"""How long the limit may have been left unused before, seconds: what a frame may use at once after a pause."""
DEBT_S = 2.0
"""How long the limit may be exceeded before following stands still, seconds."""
MIN_FOLLOWING = 0.05
"""Least share of its time in which the following works, however large the debt is."""
MAX_SEARCH_PAUSE_S = 3.0
"""Longest time from search to search, seconds: where following alone takes all that is allowed, new instances are
still found."""
WINDOW_S = 10.0
"""Time over which the use is averaged, seconds."""


class CpuLimiter:
    """Keeps an account of processor time, on which the limit is paid in and what the process uses is drawn.

    A search begins only while nothing is owed. Following goes on, and slows down as the debt grows, so that it comes
    first and never stops and goes. May be called from any thread.
    """

    def __init__(
        self,
        max_share: Callable[[], float],
        cores: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        used_s: Callable[[], float] = time.process_time,
    ) -> None:
        """Start an account with nothing on it.

        Args:
            max_share: Returns the largest share of all cores, 0 to 1; 0 = no limit.
            cores: Cores that the process may use; None = counted.
            clock: Returns seconds that never run backwards.
            used_s: Returns processor time of the process, all threads, seconds.
        """
        self._max_share = max_share
        self._cores = len(os.sched_getaffinity(0)) if cores is None else cores
        self._clock, self._used_s = clock, used_s
        self._lock = threading.Lock()
        self._balance_s = 0.0
        self._last = clock(), used_s()
        self._readings: deque[tuple[float, float]] = deque([self._last])

    def restart(self) -> None:
        """Forget what is owed, such as the processor time that loading took."""
        with self._lock:
            self._balance_s, self._last = 0.0, (self._clock(), self._used_s())

    def search_wait_s(self, since_start_s: float) -> float:
        """Tell how long the next search is to wait at least.

        Args:
            since_start_s: Time since the start of the last one, seconds.

        Returns:
            Seconds, 0 where it may begin.
        """
        limit = self._limit()
        if not limit:
            return 0.0
        owed_s = max(0.0, -self._balance(limit))
        return max(0.0, min(owed_s / limit, MAX_SEARCH_PAUSE_S - since_start_s))

    def follow_wait_s(self, since_start_s: float, took_s: float) -> float:
        """Tell how long the following is to wait before the next frame.

        Args:
            since_start_s: Time since the start of the last one, seconds.
            took_s: How long it took, seconds.

        Returns:
            Seconds, 0 where it may begin.
        """
        limit = self._limit()
        if not limit:
            return 0.0
        share = max(MIN_FOLLOWING, 1.0 + min(0.0, self._balance(limit)) / (DEBT_S * limit))
        return max(0.0, took_s / share - since_start_s)

    def share(self) -> float:
        """Return the share of all cores that the process used over the last WINDOW_S, or since the call before."""
        with self._lock:
            now_s, used_s = self._clock(), self._used_s()
            while len(self._readings) > 1 and now_s - self._readings[0][0] > WINDOW_S:
                self._readings.popleft()
            began_s, before_s = self._readings[0]
            self._readings.append((now_s, used_s))
            return (used_s - before_s) / max((now_s - began_s) * self._cores, 1e-9)

    def _limit(self) -> float:
        """Cores that may be used on average, 0 = no limit."""
        limit = self._max_share() * self._cores
        if not limit:
            self.restart()
        return limit

    def _balance(self, limit: float) -> float:
        """Bring the account up to date: seconds of processor time, negative where they are owed."""
        with self._lock:
            (last_s, last_used_s), self._last = self._last, (self._clock(), self._used_s())
            paid_s = limit * (self._last[0] - last_s)
            balance_s = self._balance_s + paid_s - (self._last[1] - last_used_s)
            self._balance_s = min(max(balance_s, -DEBT_S * limit), SAVED_S * limit)
            return self._balance_s
