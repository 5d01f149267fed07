"""Whether the node's clock, taken from /clock, moves."""

from __future__ import annotations

from rclpy.clock import Clock


class ClockWatch:
    """Compares the time with that of the call before; calls should be some tenths of a second apart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_ns: int | None = None

    def stands(self) -> bool:
        """Whether time has not moved since the last call; False at the first."""
        now_ns = self._clock.now().nanoseconds
        last_ns, self._last_ns = self._last_ns, now_ns
        return now_ns == last_ns
