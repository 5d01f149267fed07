"""The subscriptions: from three topics to synchronised triples."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import message_filters
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ism_ros.config import Settings
from ism_ros.node.conversion import Triple
from ism_ros.node.group_calls import GroupCalls
from ism_ros.node.losses import WINDOW_S, losses
from ism_ros.node.stamps import Order, StampOrder
from ism_ros.node.transport import given_overrides, is_overridden, loss_remedy, policy_name, subscription_events
from ism_ros.node.watch import Problem, TopicState, qos_incompatible

REMEMBERED_MESSAGES = 512
"""Of each topic, for telling losses: WINDOW_S at 100 Hz."""
COMPARED_STAMPS = 5
"""Of each topic, for telling how far apart stamps are that never match."""
TIME_JUMP = "stamps jumped back (a bag that starts again?): starting to match anew"
CLOCK_JUMP = "/clock jumped back (a bag or a simulation that starts again?): starting to match anew"


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
    arrivals: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_MESSAGES))
    order: StampOrder = field(default_factory=StampOrder)
    late_s: float = -float("inf")
    """When a stamp out of order came last (time.monotonic)."""

    @property
    def type_name(self) -> str:
        return f"sensor_msgs/msg/{self.message_type.__name__}"

    @property
    def topic(self) -> str:
        return str(self.subscription.topic_name)

    @property
    def last_arrival_s(self) -> float | None:
        return self.arrivals[-1][0] if self.arrivals else None

    def stamps_since(self, since_s: float) -> list[float]:
        """Stamps of the messages that arrived after `since_s` (time.monotonic)."""
        return [stamp_s for arrival_s, stamp_s in tuple(self.arrivals) if arrival_s >= since_s]


class Stream:
    """Open from construction to `close`. All its callbacks run in the group of `calls`.

    on_arrival: told every synchronised triple, none older than the one before. on_notice: told what is odd: messages
    that are lost, refused or cannot be synchronised, and jumps in time, which empty the synchroniser.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        calls: GroupCalls,
        on_arrival: Callable[[Arrival], None],
        on_notice: Callable[[Problem], None],
    ) -> None:
        self._node = node
        self._settings = settings
        self._calls = calls
        self._on_arrival = on_arrival
        self._on_notice = on_notice
        self._opened_s = time.monotonic()
        self._triples: deque[float] = deque(maxlen=REMEMBERED_MESSAGES)
        self._triple_order = StampOrder()
        self._synchronising_s = 0.0
        self._clock_jumped = False
        self._remedy = loss_remedy(get_rmw_implementation_identifier(), os.environ)
        self._is_open = False
        self._inputs: dict[str, Input] = {}
        self._incompatible_policies: dict[str, str] = {}
        image = {"raw": Image, "compressed": CompressedImage, "compressed_depth": CompressedImage}
        types: dict[str, Any] = {"rgb": image[settings.rgb_transport], "camera_info": CameraInfo}
        if settings.depth_transport != "none":
            types["depth"] = image[settings.depth_transport]
        for name, message_type in types.items():
            self._inputs[name] = self._subscribe(name, message_type)
        self._synchronise()
        self._clock_jumps = node.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False),
            post_callback=self._on_clock_jump,
        )
        self._is_open = True

    @property
    def remedy(self) -> str:
        """What to do where the transport loses images."""
        return self._remedy

    def close(self) -> None:
        """Takes nothing more; the subscriptions end between two callbacks of the group."""
        self._is_open = False
        self._clock_jumps.unregister()
        self._calls.call(self._unsubscribe)

    def _unsubscribe(self) -> None:
        for source in self._inputs.values():
            self._node.destroy_subscription(source.subscription)

    def follow_publishers(self) -> None:
        """Subscribes anew where the publishers that are there now call for another reliability. Call in the group."""
        if not self._is_open:
            return
        for name, source in self._inputs.items():
            wanted = self._reliability(source.topic, source.reliability)
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
                topic=source.topic,
                expected_type=source.type_name,
                publisher_types=tuple(p.topic_type for p in self._publishers(source.topic)),
                incompatible_policy=self._incompatible_policy(source),
                age_s=None if source.last_arrival_s is None else now - source.last_arrival_s,
                stamps_s=tuple(stamp_s for _, stamp_s in tuple(source.arrivals)[-COMPARED_STAMPS:]),
            )
            for name, source in self._inputs.items()
        ]

    def losses(self) -> list[Problem]:
        """What is lost of a stream that runs; empty in its first seconds, and while stamps come out of order.

        Those are said by themselves, and between them gaps mean nothing.
        """
        since_s = time.monotonic() - WINDOW_S
        if since_s < self._opened_s or any(source.late_s >= since_s for source in self._inputs.values()):
            return []
        stamps_s = {source.topic: source.stamps_since(since_s) for source in self._inputs.values()}
        triples = sum(triple_s >= since_s for triple_s in tuple(self._triples))
        return losses(stamps_s, triples, self._settings.slop, self._remedy)

    def _subscribe(self, name: str, message_type: Any, reliability: ReliabilityPolicy | None = None) -> Input:
        topic = self._node.resolve_topic_name(name)
        if reliability is None:
            reliability = self._reliability(topic, ReliabilityPolicy.BEST_EFFORT)
        qos = QoSProfile(depth=self._settings.queue_size, reliability=reliability)
        subscription = self._node.create_subscription(
            message_type,
            name,
            lambda message: self._receive(name, message),
            qos,
            callback_group=self._calls.group,
            event_callbacks=subscription_events(
                lambda event: self._on_incompatible(name, topic, event), lambda event: self._on_lost(topic, event)
            ),
            qos_overriding_options=given_overrides(self._node, topic, "subscription"),
        )
        # create_subscription writes what was overridden into the profile
        return Input(name, message_type, subscription, qos.reliability, message_filters.SimpleFilter())

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
            text = f"{source.topic} has a negative stamp and is ignored: check the driver's clock"
            self._on_notice(Problem("bad_stamp", text))
            return
        stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        self._incompatible_policies.pop(name, None)
        if self._clock_jumped:
            self._clock_jumped = False
            self._start_anew(CLOCK_JUMP)
        order = source.order.judge(stamp_s)
        if order is Order.JUMPED_BACK:
            # the synchroniser keeps the newest stamps, so that after a step back it would match nothing any more
            self._start_anew(TIME_JUMP)
            source.order.judge(stamp_s)
        elif order is Order.REPEATED:
            text = (
                f"{source.topic} repeats a stamp: two publishers on it, or a driver that does not set stamps: check "
                "for a second publisher; results of such frames cannot be told apart"
            )
            self._on_notice(Problem("stamp_repeated", text))
        elif order is Order.LATE:
            source.late_s = time.monotonic()
        source.arrivals.append((time.monotonic(), stamp_s))
        source.filter.signalMessage(message)
        self._synchronising_s += time.perf_counter() - began

    def _start_anew(self, text: str) -> None:
        """Forgets all that was before a jump in time."""
        for source in self._inputs.values():
            source.arrivals.clear()
            source.order.forget()
        self._triples.clear()
        self._triple_order.forget()
        self._synchronise()
        self._on_notice(Problem("time_jump", text))

    def _complete(self, *messages: Any) -> None:
        by_name = dict(zip(self._inputs, messages, strict=True))
        self._triples.append(time.monotonic())
        triple = Triple(by_name["rgb"], by_name.get("depth"), by_name["camera_info"])
        stamp = triple.rgb.header.stamp
        synchronising_s, self._synchronising_s = self._synchronising_s, 0.0
        if self._triple_order.judge(stamp.sec + stamp.nanosec * 1e-9) in (Order.LATE, Order.JUMPED_BACK):
            text = (
                f"{self._inputs['rgb'].topic} has stamps out of order: a frame older than the one before is left out; "
                "check for a second publisher on it"
            )
            self._on_notice(Problem("stamp_late", text))
            return
        self._on_arrival(Arrival(triple, time.perf_counter(), synchronising_s))

    def _on_clock_jump(self, jump: Any) -> None:
        # called wherever /clock is received: the next message, in the stream's group, acts on it
        self._clock_jumped = True

    def _on_lost(self, topic: str, event: Any) -> None:
        text = f"{event.total_count_change} messages on {topic} were lost in the transport: {self._remedy}"
        self._on_notice(Problem("messages_lost", text, event.total_count_change))

    def _on_incompatible(self, name: str, topic: str, event: Any) -> None:
        policy = self._incompatible_policies[name] = policy_name(event.last_policy_kind)
        self._on_notice(Problem("qos_incompatible", qos_incompatible(topic, policy)))

    def _incompatible_policy(self, source: Input) -> str:
        if source.reliability == ReliabilityPolicy.RELIABLE and not self._all_reliable(source.topic):
            return "reliability"
        return self._incompatible_policies.get(source.name, "")

    def _publishers(self, topic: str) -> Sequence[Any]:
        return self._node.get_publishers_info_by_topic(topic)

    def _all_reliable(self, topic: str) -> bool:
        return all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in self._publishers(topic))

    def _reliability(self, topic: str, without_publishers: ReliabilityPolicy) -> ReliabilityPolicy:
        if is_overridden(self._node, topic, "reliability"):
            return without_publishers
        if self._settings.reliability == "reliable":
            return ReliabilityPolicy.RELIABLE
        if self._settings.reliability == "best_effort":
            return ReliabilityPolicy.BEST_EFFORT
        if not self._publishers(topic):
            return without_publishers
        return ReliabilityPolicy.RELIABLE if self._all_reliable(topic) else ReliabilityPolicy.BEST_EFFORT
