"""Detection of several publishers whose messages are interleaved on one topic."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

WINDOW_S = 5.0
"""Time within which the switches of a topic count, seconds."""
MIN_SWITCHES = 4
"""Number of switches from which on messages are interleaved: one is a driver that was restarted."""


class InterleavedPublishers:
    """Counts on one topic how often a message is of another publisher than the one before.

    Publishers that are known but silent do not count, nor does one that ended and is still in the graph.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start before the first message.

        Args:
            clock: Returns seconds that never run backwards.
        """
        self._clock = clock
        self._publisher: bytes | None = None
        self._number: int | None = None
        self._switches: deque[float] = deque(maxlen=MIN_SWITCHES)

    def add(self, info: Mapping[str, Any]) -> None:
        """Register one message.

        Args:
            info: The message info that rclpy passes to a subscription's callback.
        """
        gid = info.get("publisher_gid")
        publisher = bytes(gid["data"]) if gid else None
        number = info.get("publication_sequence_number")
        if publisher is not None:
            is_other = self._publisher is not None and publisher != self._publisher
        else:  # before Kilted: each publisher counts its own messages
            is_other = number is not None and self._number is not None and number <= self._number
        self._publisher, self._number = publisher, number
        if is_other:
            self._switches.append(self._clock())

    @property
    def are_identified(self) -> bool:
        """Whether the middleware says which publisher has sent a message."""
        return self._publisher is not None or self._number is not None

    @property
    def are_interleaved(self) -> bool:
        """Whether messages of several publishers have alternated within the last WINDOW_S."""
        return len(self._switches) == MIN_SWITCHES and self._clock() - self._switches[0] <= WINDOW_S
