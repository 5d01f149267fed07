"""One subscribed topic and what was seen of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.subscription import Subscription

from ism_ros.node.camera_monitoring.dropped_messages import MAX_DROPPED_FRACTION, dropped_fraction
from ism_ros.node.camera_monitoring.interleaved_publishers import InterleavedPublishers
from ism_ros.node.camera_monitoring.missing_frames import TopicState
from ism_ros.node.inputs.stamp_check import StampCheck

MAX_ARRIVALS = 512
"""Number of messages whose arrival is remembered: the shortest window of dropped messages at 100 Hz."""
COMPARED_MESSAGES = 100
"""Number of messages that are compared to detect two cameras on one topic."""
COMPARED_STAMPS = 5
"""Number of stamps of each topic whose smallest difference is reported."""


@dataclass
class InputTopic:
    """A subscription.

    Attributes:
        name: rgb, depth or camera_info.
        message_type: Class of its messages.
        subscription: The subscription of rclpy.
        reliability: What the subscription demands.
        durability: What the subscription demands.
        arrivals: Arrival (time.monotonic) and stamp of the last messages, seconds.
        stamp_check: Order of the stamps.
        late_s: When the last stamp out of order arrived (time.monotonic).
        publishers: Whether messages of several publishers are interleaved.
    """

    name: str
    message_type: Any
    subscription: Subscription
    reliability: ReliabilityPolicy
    durability: DurabilityPolicy
    arrivals: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MAX_ARRIVALS))
    stamp_check: StampCheck = field(default_factory=StampCheck)
    late_s: float = -float("inf")
    publishers: InterleavedPublishers = field(default_factory=InterleavedPublishers)

    @property
    def topic(self) -> str:
        """Whole name of the topic."""
        return str(self.subscription.topic_name)

    @property
    def is_camera_info(self) -> bool:
        """Whether it carries calibrations, not images."""
        return self.name == "camera_info"

    def arrivals_s(self) -> list[float]:
        """Return when the last messages arrived (time.monotonic)."""
        return [arrival_s for arrival_s, _ in tuple(self.arrivals)]

    def stamps_since(self, since_s: float) -> list[float]:
        """Return the stamps of the messages that arrived after `since_s` (time.monotonic)."""
        return [stamp_s for arrival_s, stamp_s in tuple(self.arrivals) if arrival_s >= since_s]

    def reset(self) -> None:
        """Forget all messages: time has jumped."""
        self.arrivals.clear()
        self.stamp_check.reset()

    def state(self, publishers: Sequence[Any], incompatible_policy: str) -> TopicState:
        """Return what is known of the topic.

        Args:
            publishers: Endpoint infos of its publishers, as the graph has them.
            incompatible_policy: QoS policy that a publisher does not offer, else empty.
        """
        arrivals = tuple(self.arrivals)
        return TopicState(
            input=self.name,
            topic=self.topic,
            expected_type=f"sensor_msgs/msg/{self.message_type.__name__}",
            publisher_types=tuple(publisher.topic_type for publisher in publishers),
            publisher_nodes=tuple(node_name(publisher) for publisher in publishers),
            incompatible_policy=incompatible_policy,
            age_s=time.monotonic() - arrivals[-1][0] if arrivals else None,
            stamps_s=tuple(stamp_s for _, stamp_s in arrivals[-COMPARED_STAMPS:]),
            is_persistent=self.is_camera_info,
        )

    def has_interleaved_publishers(self, publisher_count: int) -> bool:
        """Return whether messages of several publishers are interleaved.

        Where the middleware does not say who has sent a message, several publishers and stamps with gaps mean it.

        Args:
            publisher_count: Number of publishers in the graph.
        """
        if self.publishers.are_interleaved:
            return True
        if self.publishers.are_identified or self.is_camera_info or publisher_count < 2:
            return False
        stamps_s = [stamp_s for _, stamp_s in tuple(self.arrivals)[-COMPARED_MESSAGES:]]
        return dropped_fraction(stamps_s) > MAX_DROPPED_FRACTION


def node_name(publisher: Any) -> str:
    """Return the full name of the node of an endpoint info."""
    return f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
