"""How often frames come, and so after how long a silence is one."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

LEAST_PATIENCE_S, MOST_PATIENCE_S = 1.0, 5.0
PATIENCE_PERIODS = 3.0
"""A camera may be late by two frames, as when its auto exposure starts anew."""
WINDOW_FRAMES = 10
RATE_WINDOW_S = 5.0


class Rhythm:
    """The beat of arriving frames; thread-safe. It begins anew with `restart`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Forgets all frames; the silence begins now."""
        with self._lock:
            self._since_s = self._clock()
            self._arrived: deque[float] = deque(maxlen=1024)

    def frame(self) -> None:
        """A frame has come."""
        with self._lock:
            self._arrived.append(self._clock())

    @property
    def had_frames(self) -> bool:
        return bool(self._arrived)

    @property
    def age_s(self) -> float | None:
        """Seconds since the last frame, None before the first."""
        with self._lock:
            return self._clock() - self._arrived[-1] if self._arrived else None

    @property
    def quiet_s(self) -> float:
        """Seconds since the last frame, or since the start."""
        with self._lock:
            return self._clock() - (self._arrived[-1] if self._arrived else self._since_s)

    @property
    def patience_s(self) -> float:
        """After how long a silence something is wrong: three frames of this camera, but 1 to 5 s."""
        with self._lock:
            last = list(self._arrived)[-WINDOW_FRAMES:]
        if len(last) < 2:
            return LEAST_PATIENCE_S
        period_s = statistics.median(later - earlier for earlier, later in pairwise(last))
        return min(MOST_PATIENCE_S, max(LEAST_PATIENCE_S, PATIENCE_PERIODS * period_s))

    @property
    def rate_hz(self) -> float:
        """Frames a second over the last seconds."""
        with self._lock:
            now = self._clock()
            recent = sum(now - arrived <= RATE_WINDOW_S for arrived in self._arrived)
            return recent / min(RATE_WINDOW_S, max(now - self._since_s, 1e-3))
