"""Which publishers' messages come on one topic: told from what the middleware says beside each message."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

WINDOW_S = 5.0
FEWEST_SWITCHES = 4
"""One switch is a driver that was started anew; two publishers take turns again and again."""


class Turns:
    """Counts how often another publisher than before has sent the message at hand.

    Publishers that are known but silent do not count, nor does one that ended and is still remembered.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._publisher: bytes | None = None
        self._number: int | None = None
        self._switches: deque[float] = deque(maxlen=FEWEST_SWITCHES)

    def took(self, info: Mapping[str, Any]) -> None:
        """A message has come. info: what rclpy passes on beside it."""
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
    def are_told(self) -> bool:
        """Whether the middleware says who has sent a message."""
        return self._publisher is not None or self._number is not None

    @property
    def are_mixed(self) -> bool:
        """Whether several publishers have taken turns within the last seconds."""
        return len(self._switches) == FEWEST_SWITCHES and self._clock() - self._switches[0] <= WINDOW_S
