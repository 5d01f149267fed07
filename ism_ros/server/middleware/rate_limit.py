"""So many requests a minute for each client."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_CLIENTS = 10_000


class RateLimit:
    """A bucket of tokens a client, filled evenly; a minute's worth may be spent at once. For one thread.

    per_minute: 0 = no limit. now_s: a clock that never goes back.
    """

    def __init__(self, per_minute: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._now_s = now_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, cost: int = 1) -> int:
        """0 where `client` may go on, else in how many seconds it may try again.

        cost: tokens that are taken then, at most `per_minute`; 0 only looks whether there is one.
        """
        if not self._per_minute:
            return 0
        now_s = self._now_s()
        tokens, since_s = self._buckets.get(client, (float(self._per_minute), now_s))
        tokens = min(self._per_minute, tokens + (now_s - since_s) * self._per_minute / 60)
        needed = max(1, cost)
        wait_s = 0 if tokens >= needed else math.ceil((needed - tokens) * 60 / self._per_minute)
        self._buckets[client] = (tokens if wait_s else tokens - cost), now_s
        self._buckets.move_to_end(client)
        while len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return wait_s
