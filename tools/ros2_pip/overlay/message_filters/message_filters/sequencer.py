"""Messages in the order of their stamps."""

from __future__ import annotations

import threading
from bisect import insort_right
from typing import Any

from builtin_interfaces.msg import Time as TimeMsg
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from .simple_filter import SimpleFilter


def as_duration(value: Duration | float) -> Duration:
    """A duration, also from seconds."""
    return value if isinstance(value, Duration) else Duration(seconds=value)


class TimeSequencer(SimpleFilter):
    """Holds each message until it is `delay` old, and so passes late ones on in order.

    A message that comes after a younger one has gone out is dropped.
    """

    def __init__(
        self,
        input_filter: SimpleFilter | None,
        delay: Duration | float,
        update_rate: Duration | float,
        queue_size: int,
        node: Node,
        msg_stamp_attr: str = "header.stamp",
    ) -> None:
        """Delay and update period in seconds or as Duration; `queue_size` 0 keeps any number."""
        super().__init__()
        self.delay = as_duration(delay)
        self.update_rate = as_duration(update_rate)
        self.queue_size = queue_size
        self.node = node
        self.msg_stamp_attrs = msg_stamp_attr.split(".")
        self.lock = threading.Lock()
        self.messages: list[tuple[Time, Any]] = []
        self.last_time = Time()
        self.incoming_connection: int | None = None
        self.update_timer = node.create_timer(self.update_rate.nanoseconds / 1e9, self._dispatch)
        if input_filter is not None:
            self.connectInput(input_filter)

    def connectInput(self, input_filter: SimpleFilter) -> None:  # noqa: N802
        """Take messages from `input_filter`; RuntimeError when there is an input already."""
        if self.incoming_connection is not None:
            raise RuntimeError("Already connected to an input filter.")
        self.incoming_connection = input_filter.registerCallback(self._add)

    def shutdown(self) -> None:
        """Stop the timer."""
        self.update_timer.cancel()
        self.node.destroy_timer(self.update_timer)

    def _stamp(self, message: Any) -> Time | None:
        value = message
        for name in self.msg_stamp_attrs:
            value = getattr(value, name, None)
            if value is None:
                self.node.get_logger().warning("a message without a stamp is dropped")
                return None
        if not isinstance(value, TimeMsg):
            raise TypeError(f"{'.'.join(self.msg_stamp_attrs)} is a {type(value)}, not a {TimeMsg}")
        return Time.from_msg(value)

    def _add(self, message: Any) -> None:
        with self.lock:
            stamp = self._stamp(message)
            if stamp is None or stamp.nanoseconds < self.last_time.nanoseconds:
                return
            insort_right(self.messages, (stamp, message), key=lambda item: item[0].nanoseconds)
            if self.queue_size and len(self.messages) > self.queue_size:
                del self.messages[0]

    def _dispatch(self) -> None:
        now = self.node.get_clock().now()
        ripe = []
        with self.lock:
            while self.messages and self.messages[0][0] + self.delay <= now:
                self.last_time, message = self.messages.pop(0)
                ripe.append(message)
        for message in ripe:
            self.signalMessage(message)
