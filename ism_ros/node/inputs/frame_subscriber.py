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
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ism_ros.config.settings import Settings
from ism_ros.node.camera_monitoring.dropped_messages import TOLERATED_SHARE, losses, lost_share, window_s
from ism_ros.node.camera_monitoring.interleaved_publishers import Turns
from ism_ros.node.camera_monitoring.missing_frames import Problem, TopicState, qos_incompatible, two_publishers
from ism_ros.node.conversion.calibration import fits, rectification
from ism_ros.node.execution.group_calls import GroupCalls
from ism_ros.node.inputs.camera_info_matching import CameraInfos
from ism_ros.node.inputs.rgbd_messages import DepthSource, Triple
from ism_ros.node.inputs.stamp_check import Order, StampOrder
from ism_ros.node.inputs.static_transforms import StaticTransforms
from ism_ros.node.qos import given_overrides, is_overridden, loss_remedy, policy_name, subscription_events

REMEMBERED_MESSAGES = 512
"""Of each topic, for telling losses: the shortest window at 100 Hz."""
COMPARED_MESSAGES = 100
"""Of a topic, for telling whether one camera has sent them."""
COMPARED_STAMPS = 5
"""Of each topic, for telling how far apart stamps are that never match."""
TIME_JUMP = "stamps jumped back (a bag that starts again?): starting to match anew"
CAMERA_INFO_HELD = (
    "{topic} does not come with each image: the last camera_info is used for all; that is right for a camera that does "
    "not change, else publish one with each image, with its stamp"
)
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
    durability: DurabilityPolicy
    filter: message_filters.SimpleFilter
    arrivals: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_MESSAGES))
    order: StampOrder = field(default_factory=StampOrder)
    late_s: float = -float("inf")
    """When a stamp out of order came last (time.monotonic)."""
    turns: Turns = field(default_factory=Turns)

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
        self._rarity_told = False
        self._infos = CameraInfos(self._complete, _fits, settings.slop, settings.queue_size)
        self._depth_info: CameraInfo | None = None
        self._transforms = StaticTransforms(node, calls.group)
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
        self._depth_info_subscription = self._subscribe_depth_info() if "depth" in types else None
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
        self._transforms.close()
        for source in self._inputs.values():
            self._node.destroy_subscription(source.subscription)
        if self._depth_info_subscription is not None:
            self._node.destroy_subscription(self._depth_info_subscription)

    def follow_publishers(self) -> None:
        """Subscribes anew where the publishers that are there now call for another QoS. Call in the group."""
        if not self._is_open:
            return
        for name, source in self._inputs.items():
            wanted = self._reliability(source.topic, source.reliability)
            durability = self._durability(name, source.topic, source.durability)
            if (wanted, durability) != (source.reliability, source.durability):
                self._node.destroy_subscription(source.subscription)
                self._inputs[name] = self._subscribe(name, source.message_type, wanted, durability)
                self._synchronise()

    def topics(self) -> list[TopicState]:
        """What is known of each input."""
        now = time.monotonic()
        published = {name: self._publishers(source.topic) for name, source in self._inputs.items()}
        return [
            TopicState(
                input=name,
                topic=source.topic,
                expected_type=source.type_name,
                publisher_types=tuple(publisher.topic_type for publisher in published[name]),
                publisher_nodes=tuple(_node_name(publisher) for publisher in published[name]),
                incompatible_policy=self._incompatible_policy(source),
                age_s=None if source.last_arrival_s is None else now - source.last_arrival_s,
                stamps_s=tuple(stamp_s for _, stamp_s in tuple(source.arrivals)[-COMPARED_STAMPS:]),
                lasts=name == "camera_info",
            )
            for name, source in self._inputs.items()
        ]

    def losses(self) -> list[Problem]:
        """What is lost of a stream that runs; empty in its first seconds, and while stamps come out of order.

        Those are said by themselves, and between them gaps mean nothing. So it is with the images of two cameras on one
        topic, which are said as that.
        """
        mixed = [
            two_publishers(source.topic, source.name, [_node_name(p) for p in self._publishers(source.topic)])
            for source in self._inputs.values()
            if source.turns.are_mixed or self._look_mixed(source)
        ]
        if mixed:
            return mixed
        now_s = time.monotonic()
        arrivals_s = [[arrival_s for arrival_s, _ in tuple(source.arrivals)] for source in self._inputs.values()]
        seconds = window_s(arrivals_s, now_s)
        since_s = now_s - seconds
        if since_s < self._opened_s or any(source.late_s >= since_s for source in self._inputs.values()):
            return []
        stamps_s = {
            source.topic: source.stamps_since(since_s)
            for name, source in self._inputs.items()
            if name != "camera_info" or not self._infos.are_rare
        }
        triples = sum(triple_s >= since_s for triple_s in tuple(self._triples))
        return losses(stamps_s, triples, self._settings.slop, self._remedy, seconds)

    def _subscribe(
        self,
        name: str,
        message_type: Any,
        reliability: ReliabilityPolicy | None = None,
        durability: DurabilityPolicy | None = None,
    ) -> Input:
        topic = self._node.resolve_topic_name(name)
        if reliability is None:
            reliability = self._reliability(topic, ReliabilityPolicy.BEST_EFFORT)
        if durability is None:
            durability = self._durability(name, topic, DurabilityPolicy.VOLATILE)
        qos = QoSProfile(depth=self._settings.queue_size, reliability=reliability, durability=durability)
        subscription = self._node.create_subscription(
            message_type,
            name,
            lambda message, info: self._receive(name, message, info),
            qos,
            callback_group=self._calls.group,
            event_callbacks=subscription_events(
                lambda event: self._on_incompatible(name, topic, event), lambda event: self._on_lost(topic, event)
            ),
            qos_overriding_options=given_overrides(self._node, topic, "subscription"),
        )
        # create_subscription writes what was overridden into the profile
        return Input(name, message_type, subscription, qos.reliability, qos.durability, message_filters.SimpleFilter())

    def _look_mixed(self, source: Input) -> bool:
        """Where the middleware does not say who has sent a message: several publishers, and stamps as of no camera."""
        if source.turns.are_told or source.name == "camera_info" or len(self._publishers(source.topic)) < 2:
            return False
        return lost_share([stamp_s for _, stamp_s in tuple(source.arrivals)[-COMPARED_MESSAGES:]]) > TOLERATED_SHARE

    def _subscribe_depth_info(self) -> Subscription:
        """Where depth is not registered to colour, the depth camera's calibration; nobody need publish it."""
        return self._node.create_subscription(
            CameraInfo,
            "depth_camera_info",
            self._take_depth_info,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            callback_group=self._calls.group,
        )

    def _take_depth_info(self, message: CameraInfo) -> None:
        self._depth_info = message

    def _synchronise(self) -> None:
        """A fresh, empty synchroniser over the images; camera_info joins them afterwards."""
        self._infos.forget_images()
        for source in self._inputs.values():
            source.filter = message_filters.SimpleFilter()
        images = [source.filter for name, source in self._inputs.items() if name != "camera_info"]
        self._inputs["camera_info"].filter.registerCallback(self._take_info)
        size, slop_s = self._settings.queue_size, self._settings.slop
        if len(images) == 1:
            images[0].registerCallback(self._take_images)
            return
        self._synchronizer = (
            message_filters.ApproximateTimeSynchronizer(images, size, slop_s)
            if slop_s > 0  # the approximate one takes only what is closer than slop
            else message_filters.TimeSynchronizer(images, size)
        )
        self._synchronizer.registerCallback(self._take_images)

    def _take_info(self, message: CameraInfo) -> None:
        self._infos.add_info(message, _stamp_s(message))

    def _take_images(self, *messages: Any) -> None:
        self._infos.add_images(messages, _stamp_s(messages[0]))
        if self._infos.are_rare and not self._rarity_told:
            text = CAMERA_INFO_HELD.format(topic=self._inputs["camera_info"].topic)
            self._on_notice(Problem("camera_info_held", text))
        self._rarity_told = self._infos.are_rare

    def _receive(self, name: str, message: Any, info: Any) -> None:
        if not self._is_open:
            return
        began = time.perf_counter()
        source = self._inputs[name]
        if message.header.stamp.sec < 0:
            text = f"{source.topic} has a negative stamp and is ignored: check the driver's clock"
            self._on_notice(Problem("bad_stamp", text))
            return
        stamp_s = _stamp_s(message)
        source.turns.took(info)
        self._incompatible_policies.pop(name, None)
        if self._clock_jumped:
            self._clock_jumped = False
            self._start_anew(CLOCK_JUMP)
        # the stamp of a calibration tells nothing about the order of images
        order = Order.NEWER if name == "camera_info" else source.order.judge(stamp_s)
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

    def _complete(self, messages: Sequence[Any], camera_info: CameraInfo) -> None:
        rgb, depth = messages[0], messages[1] if len(messages) > 1 else None
        self._triples.append(time.monotonic())
        is_rectified = rectification(self._settings.rectified, self._inputs["rgb"].topic)
        triple = Triple(rgb, depth, camera_info, is_rectified, self._depth_source(rgb, depth))
        synchronising_s, self._synchronising_s = self._synchronising_s, 0.0
        if self._triple_order.judge(_stamp_s(rgb)) in (Order.LATE, Order.JUMPED_BACK):
            text = (
                f"{self._inputs['rgb'].topic} has stamps out of order: a frame older than the one before is left out; "
                "check for a second publisher on it"
            )
            self._on_notice(Problem("stamp_late", text))
            return
        self._on_arrival(Arrival(triple, time.perf_counter(), synchronising_s))

    def _depth_source(self, rgb: Any, depth: Any) -> DepthSource | None:
        """Where the depth camera is, if its images say that it is not that of the colour images."""
        if depth is None:
            return None
        names = self._inputs["rgb"].topic, self._inputs["depth"].topic
        frames = rgb.header.frame_id, depth.header.frame_id
        to_colour = self._transforms.between(frames[1], frames[0]) if all(frames) else None
        return DepthSource(*names, self._depth_info, to_colour)

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

    def _durability(self, name: str, topic: str, without_publishers: DurabilityPolicy) -> DurabilityPolicy:
        """Of a camera_info that was latched before this node was there, only who asks for it gets it."""
        if name != "camera_info" or is_overridden(self._node, topic, "durability"):
            return without_publishers
        publishers = self._publishers(topic)
        if not publishers:
            return without_publishers
        latched = all(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers)
        return DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE

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


def _stamp_s(message: Any) -> float:
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


def _fits(images: Sequence[Any], camera_info: CameraInfo) -> bool:
    """Whether a camera_info is for images of this size, which a compressed one does not say."""
    return not isinstance(images[0], Image) or fits(camera_info, (images[0].width, images[0].height))


def _node_name(publisher: Any) -> str:
    return f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
