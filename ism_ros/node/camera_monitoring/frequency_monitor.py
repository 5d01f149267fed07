"""Frequency of arriving frames, and from it the time after which their absence is a fault."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

MIN_TIMEOUT_S, MAX_TIMEOUT_S = 1.0, 5.0
"""Bounds of the timeout, seconds."""
TIMEOUT_PERIODS = 3.0
"""Timeout in periods of the camera: it may be late by two frames, as when its auto exposure restarts."""
WINDOW_FRAMES = 10
"""Number of frames whose median distance is the period."""
RATE_WINDOW_S = 5.0
"""Time over which the rate is averaged, seconds."""


class FrequencyMonitor:
    """Counts frames as they arrive; may be used from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start before the first frame.

        Args:
            clock: Returns seconds that never run backwards.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Forget all frames."""
        with self._lock:
            self._since_s = self._clock()
            self._arrived: deque[float] = deque(maxlen=1024)

    def tick(self) -> None:
        """Register one frame."""
        with self._lock:
            self._arrived.append(self._clock())

    @property
    def had_frames(self) -> bool:
        """Whether a frame has come."""
        return bool(self._arrived)

    @property
    def last_frame_age_s(self) -> float | None:
        """Seconds since the last frame, None before the first."""
        with self._lock:
            return self._clock() - self._arrived[-1] if self._arrived else None

    @property
    def silence_s(self) -> float:
        """Seconds since the last frame, or since the start."""
        with self._lock:
            return self._clock() - (self._arrived[-1] if self._arrived else self._since_s)

    @property
    def timeout_s(self) -> float:
        """Seconds without a frame that are a fault: three periods of this camera, but 1 to 5 s."""
        with self._lock:
            last = list(self._arrived)[-WINDOW_FRAMES:]
        if len(last) < 2:
            return MIN_TIMEOUT_S
        period_s = statistics.median(later - earlier for earlier, later in pairwise(last))
        return min(MAX_TIMEOUT_S, max(MIN_TIMEOUT_S, TIMEOUT_PERIODS * period_s))

    @property
    def rate_hz(self) -> float:
        """Frames a second over the last RATE_WINDOW_S."""
        with self._lock:
            now_s = self._clock()
            recent = sum(now_s - arrived_s <= RATE_WINDOW_S for arrived_s in self._arrived)
            return recent / min(RATE_WINDOW_S, max(now_s - self._since_s, 1e-3))
