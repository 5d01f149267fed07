"""Detection of a clock that stands still, as /clock does while a bag is paused."""

from __future__ import annotations

from rclpy.clock import Clock


class ClockMonitor:
    """Compares the time at two updates.

    Attributes:
        is_standing: Whether the time was the same at the last two updates.
    """

    def __init__(self, clock: Clock) -> None:
        """Start without a reading.

        Args:
            clock: The node's clock.
        """
        self._clock = clock
        self._last_ns: int | None = None
        self.is_standing = False

    def update(self) -> None:
        """Read the clock; call every few tenths of a second."""
        now_ns = self._clock.now().nanoseconds
        self.is_standing = now_ns == self._last_ns
        self._last_ns = now_ns
