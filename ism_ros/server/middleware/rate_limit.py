"""A limit on the requests of each client a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cachetools import LRUCache

MAX_CLIENTS = 10_000
"""Clients that are remembered; beyond, those that came longest ago are forgotten."""


class RateLimit:
    """A token bucket for each client, filled evenly; a minute's worth may be spent at once. Not thread-safe."""

    def __init__(self, per_minute: int, now_s: Callable[[], float] = time.monotonic) -> None:
        """Initialize.

        Args:
            per_minute: Requests a minute; 0 = no limit.
            now_s: A clock that never goes back, seconds.
        """
        self._per_minute = per_minute
        self._now_s = now_s
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(MAX_CLIENTS)

    def wait_s(self, client: str, cost: int = 1) -> int:
        """Take tokens from the bucket of a client, if there are enough.

        Args:
            client: Who asks.
            cost: Tokens that are taken, at most `per_minute`; 0 only checks whether there is one.

        Returns:
            0 where there were enough, else the seconds after which there will be.
        """
        if not self._per_minute:
            return 0
        now_s = self._now_s()
        tokens, since_s = self._buckets.get(client, (float(self._per_minute), now_s))
        tokens = min(self._per_minute, tokens + (now_s - since_s) * self._per_minute / 60)
        needed = max(1, cost)
        wait_s = 0 if tokens >= needed else math.ceil((needed - tokens) * 60 / self._per_minute)
        self._buckets[client] = (tokens if wait_s else tokens - cost), now_s
        return wait_s
