"""A subscription as the source of a chain of filters."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from .simple_filter import SimpleFilter


class Subscriber(SimpleFilter):
    """Passes on what a ROS subscription receives; what it lacks itself it takes from that subscription."""

    def __init__(
        self, node: Node, msg_type: type, topic: str, qos_profile: QoSProfile | int = 10, **kwargs: Any
    ) -> None:
        """Subscribe; `kwargs` (callback_group, event_callbacks, raw, ...) go to `create_subscription`."""
        super().__init__()
        self.node = node
        self.topic = topic
        self.sub = node.create_subscription(msg_type, topic, self.callback, qos_profile, **kwargs)

    def callback(self, msg: Any) -> None:
        """Signal one received message."""
        self.signalMessage(msg)

    def getTopic(self) -> str:  # noqa: N802
        """The topic as it was asked for, before remapping."""
        return self.topic

    def __getattr__(self, name: str) -> Any:
        if name == "sub":  # not there yet: create_subscription failed or is still at work
            raise AttributeError(name)
        return getattr(self.sub, name)
