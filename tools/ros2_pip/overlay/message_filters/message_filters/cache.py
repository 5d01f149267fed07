"""The last few messages, by time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import ROSClock
from rclpy.logging import get_logger
from rclpy.time import Time

from .message_traits import get_time_from_message_header
from .simple_filter import SimpleFilter

TimeGetter = Callable[[Any], Time | None]


def arrival_stamp(logger_name: str, allow_headerless: bool) -> Time | None:
    """The time to use for a message without a stamp: now, or None (with a warning) when not allowed."""
    if allow_headerless:
        return ROSClock().now()
    get_logger(logger_name).warning(
        "a message without header.stamp is ignored; allow_headerless=True would take its arrival time"
    )
    return None


class Cache(SimpleFilter):
    """Keeps the last `cache_size` messages of an input, and passes all of them on."""

    def __init__(
        self,
        f: SimpleFilter,
        cache_size: int = 1,
        allow_headerless: bool = False,
        time_getter: TimeGetter = get_time_from_message_header,
    ) -> None:
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self.time_getter = time_getter
        self.cache_msgs: list[Any] = []
        self.cache_times: list[Time] = []
        self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:  # noqa: N802
        """Take messages from `f`."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        """Keep a message, drop the first one when there are too many, and signal the new one."""
        stamp = self.time_getter(msg)
        if stamp is None:
            stamp = arrival_stamp("message_filters_cache", self.allow_headerless)
            if stamp is None:
                return
        self.cache_times.append(stamp)
        self.cache_msgs.append(msg)
        if len(self.cache_msgs) > self.cache_size:
            del self.cache_msgs[0], self.cache_times[0]
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:  # noqa: N802
        """The messages of a closed interval of time."""
        assert from_stamp <= to_stamp
        return [msg for msg, time in self._items() if from_stamp <= time <= to_stamp]

    def getElemAfterTime(self, stamp: Time) -> Any | None:  # noqa: N802
        """The first kept message at or after a time, or None."""
        return next((msg for msg, time in self._items() if time >= stamp), None)

    def getElemBeforeTime(self, stamp: Time) -> Any | None:  # noqa: N802
        """The last kept message at or before a time, or None."""
        return next((msg for msg, time in reversed(self._items()) if time <= stamp), None)

    def getLatestTime(self) -> Time | None:  # noqa: N802
        """The time of the last message, or None."""
        return self.cache_times[-1] if self.cache_times else None

    # The name that the public package had for years, letter by letter.
    getLastestTime = getLatestTime  # noqa: N815

    def getOldestTime(self) -> Time | None:  # noqa: N802
        """The time of the first kept message, or None."""
        return self.cache_times[0] if self.cache_times else None

    def getLast(self) -> Any | None:  # noqa: N802
        """The last message, or None."""
        latest = self.getLatestTime()
        return None if latest is None else self.getElemAfterTime(latest)

    def _items(self) -> list[tuple[Any, Time]]:
        return list(zip(self.cache_msgs, self.cache_times, strict=True))
