"""What the filters ask of a message: its time."""

from __future__ import annotations

from typing import Any

from rclpy.time import Time


def get_time_from_message_header(message: Any) -> Time | None:
    """The stamp in the message's header, or None for a message without one."""
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    if stamp is None or hasattr(stamp, "nanoseconds"):
        return stamp
    return Time.from_msg(stamp)
