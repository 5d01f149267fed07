"""The subscriptions: from three topics to synchronised triples."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import message_filters
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ism_ros.config import Settings
from ism_ros.node.conversion import Triple
from ism_ros.node.watch import Problem, TopicState

BACKWARD_JUMP_S = 1.0
"""A stamp so much older than the one before means that time was set back or a bag starts again."""


@dataclass(frozen=True)
class Arrival:
    """A triple, when it was complete (time.perf_counter) and what synchronising it cost."""

    triple: Triple
    completed_s: float
    synchronising_s: float


@dataclass
class Input:
    """One subscribed topic and what was seen of it."""

    name: str
    message_type: Any
    subscription: Subscription
    reliability: ReliabilityPolicy
    filter: message_filters.SimpleFilter
    messages: int = 0
    last_arrival_s: float | None = None
    stamps_s: deque[float] = field(default_factory=lambda: deque(maxlen=5))

    @property
    def type_name(self) -> str:
        return f"sensor_msgs/msg/{self.message_type.__name__}"


class Stream:
    """Open from construction to `close`. All its callbacks run in `group`, which must be mutually exclusive.

    on_arrival: told every synchronised triple. on_notice: told of messages that cannot be synchronised.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        group: CallbackGroup,
        on_arrival: Callable[[Arrival], None],
        on_notice: Callable[[Problem], None],
    ) -> None:
        self._node = node
        self._settings = settings
        self._group = group
        self._on_arrival = on_arrival
        self._on_notice = on_notice
        self._opened_s = time.monotonic()
        self._last_triple_s: float | None = None
        self._synchronising_s = 0.0
        self._is_open = False
        self._inputs: dict[str, Input] = {}
        image = {"raw": Image, "compressed": CompressedImage, "compressed_depth": CompressedImage}
        types: dict[str, Any] = {"rgb": image[settings.rgb_transport], "camera_info": CameraInfo}
        if settings.depth_transport != "none":
            types["depth"] = image[settings.depth_transport]
        for name, message_type in types.items():
            self._inputs[name] = self._subscribe(name, message_type)
        self._synchronise()
        self._is_open = True

    @property
    def quiet_s(self) -> float:
        """Seconds since the last synchronised triple, or since opening."""
        return time.monotonic() - (self._last_triple_s or self._opened_s)

    @property
    def had_frames(self) -> bool:
        return self._last_triple_s is not None

    def close(self) -> None:
        self._is_open = False
        for source in self._inputs.values():
            self._node.destroy_subscription(source.subscription)

    def follow_publishers(self) -> None:
        """Subscribes anew where the publishers that are there now call for another reliability. Call in `group`."""
        if not self._is_open:
            return
        for name, source in self._inputs.items():
            wanted = self._reliability(source.subscription.topic_name, source.reliability)
            if wanted != source.reliability:
                self._node.destroy_subscription(source.subscription)
                self._inputs[name] = self._subscribe(name, source.message_type, wanted)
                self._synchronise()

    def topics(self) -> list[TopicState]:
        """What is known of each input."""
        now = time.monotonic()
        return [
            TopicState(
                input=name,
                topic=source.subscription.topic_name,
                expected_type=source.type_name,
                publisher_types=tuple(p.topic_type for p in self._publishers(source.subscription.topic_name)),
                incompatible=source.reliability == ReliabilityPolicy.RELIABLE
                and not self._all_reliable(source.subscription.topic_name),
                age_s=None if source.last_arrival_s is None else now - source.last_arrival_s,
                stamps_s=tuple(source.stamps_s),
            )
            for name, source in self._inputs.items()
        ]

    def _subscribe(self, name: str, message_type: Any, reliability: ReliabilityPolicy | None = None) -> Input:
        if reliability is None:
            reliability = self._reliability(self._node.resolve_topic_name(name), ReliabilityPolicy.BEST_EFFORT)
        subscription = self._node.create_subscription(
            message_type,
            name,
            lambda message: self._receive(name, message),
            QoSProfile(depth=self._settings.queue_size, reliability=reliability),
            callback_group=self._group,
        )
        return Input(name, message_type, subscription, reliability, message_filters.SimpleFilter())

    def _synchronise(self) -> None:
        """A fresh, empty synchroniser over the inputs."""
        for source in self._inputs.values():
            source.filter = message_filters.SimpleFilter()
        filters, size, slop_s = (
            [s.filter for s in self._inputs.values()],
            self._settings.queue_size,
            self._settings.slop,
        )
        self._synchronizer = (
            message_filters.ApproximateTimeSynchronizer(filters, size, slop_s)
            if slop_s > 0  # the approximate one takes only what is closer than slop
            else message_filters.TimeSynchronizer(filters, size)
        )
        self._synchronizer.registerCallback(self._complete)

    def _receive(self, name: str, message: Any) -> None:
        if not self._is_open:
            return
        began = time.perf_counter()
        source = self._inputs[name]
        if message.header.stamp.sec < 0:
            text = f"{source.subscription.topic_name} has a negative stamp and is ignored: check the driver's clock"
            self._on_notice(Problem("bad_stamp", text))
            return
        stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        source.messages += 1
        source.last_arrival_s = time.monotonic()
        if source.stamps_s and stamp_s < source.stamps_s[-1] - BACKWARD_JUMP_S:
            # the synchroniser keeps the newest stamps, so that after a step back it would match nothing any more
            self._forget_stamps()
            self._on_notice(
                Problem("time_jump", "stamps jumped back (a bag that starts again?): starting to match anew")
            )
        source.stamps_s.append(stamp_s)
        source.filter.signalMessage(message)
        self._synchronising_s += time.perf_counter() - began

    def _forget_stamps(self) -> None:
        for source in self._inputs.values():
            source.stamps_s.clear()
        self._synchronise()

    def _complete(self, *messages: Any) -> None:
        by_name = dict(zip(self._inputs, messages, strict=True))
        self._last_triple_s = time.monotonic()
        triple = Triple(by_name["rgb"], by_name.get("depth"), by_name["camera_info"])
        self._on_arrival(Arrival(triple, time.perf_counter(), self._synchronising_s))
        self._synchronising_s = 0.0

    def _publishers(self, topic: str) -> Sequence[Any]:
        return self._node.get_publishers_info_by_topic(topic)

    def _all_reliable(self, topic: str) -> bool:
        return all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in self._publishers(topic))

    def _reliability(self, topic: str, without_publishers: ReliabilityPolicy) -> ReliabilityPolicy:
        if self._settings.reliability == "reliable":
            return ReliabilityPolicy.RELIABLE
        if self._settings.reliability == "best_effort":
            return ReliabilityPolicy.BEST_EFFORT
        if not self._publishers(topic):
            return without_publishers
        return ReliabilityPolicy.RELIABLE if self._all_reliable(topic) else ReliabilityPolicy.BEST_EFFORT
