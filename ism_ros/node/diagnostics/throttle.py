"""Says the same thing only so often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """Lets each key through once every `period_s`; thread-safe."""

    def __init__(self, period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_s = period_s
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def passes(self, key: str) -> bool:
        """Whether `key` may be said now; if so, it counts as said."""
        with self._lock:
            now = self._clock()
            if now - self._last.get(key, -float("inf")) < self._period_s:
                return False
            self._last[key] = now
            return True
