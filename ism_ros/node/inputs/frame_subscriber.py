"""The subscriptions: from rgb, depth and camera_info to synchronised frames."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ism_ros.config.settings import Settings
from ism_ros.node.camera_monitoring.dropped_messages import drop_remedy, dropped_message_events, lookback_s
from ism_ros.node.camera_monitoring.missing_frames import TopicState, incompatible_qos_text, two_publishers_event
from ism_ros.node.conversion.calibration import fits, rectification
from ism_ros.node.conversion.rgbd_messages import DepthSource, RgbdMessages
from ism_ros.node.event_log import DiagnosticEvent
from ism_ros.node.execution.group_calls import GroupCalls
from ism_ros.node.inputs.adaptive_qos import AdaptiveQos
from ism_ros.node.inputs.camera_info_matching import CameraInfoMatcher
from ism_ros.node.inputs.image_synchronizer import ImageSynchronizer
from ism_ros.node.inputs.input_topic import MAX_ARRIVALS, InputTopic, node_name
from ism_ros.node.inputs.stamp_check import StampCheck, StampOrder
from ism_ros.node.inputs.static_transforms import StaticTransforms
from ism_ros.node.qos import given_overrides, policy_name, subscription_events

IMAGE_TYPES = {"raw": Image, "compressed": CompressedImage, "compressed_depth": CompressedImage}
"""Message type of each transport."""
TIME_JUMP = "stamps jumped back (a bag that starts again?): synchronisation starts again"
"""Text of the event that an image is much older than the one before."""
CLOCK_JUMP = "/clock jumped back (a bag or a simulation that starts again?): synchronisation starts again"
"""Text of the event that the node's clock was set back."""
CAMERA_INFO_HELD = (
    "{topic} does not come with each image: the last camera_info is used for all; that is right for a camera that does "
    "not change, else publish one with each image, with its stamp"
)
"""Text of the event that camera_info is rarer than images."""


@dataclass(frozen=True)
class SyncedFrame:
    """The synchronised messages of one frame.

    Attributes:
        messages: The messages.
        completed_s: When the last of them was there (time.perf_counter).
        synchronisation_s: Duration of synchronising them, seconds.
    """

    messages: RgbdMessages
    completed_s: float
    synchronisation_s: float


class FrameSubscriber:
    """Subscribes from construction to `close`; all its callbacks run in the group of `calls`."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        calls: GroupCalls,
        on_frame: Callable[[SyncedFrame], None],
        warn: Callable[[DiagnosticEvent], None],
        on_time_jump: Callable[[], None] = lambda: None,
    ) -> None:
        """Subscribe.

        Args:
            node: ROS node.
            settings: Transports, queue size, slop and reliability.
            calls: Callback group, and calls between its callbacks.
            on_frame: Receives every synchronised frame, none older than the one before.
            warn: Receives events: messages that are lost, refused or cannot be synchronised.
            on_time_jump: Called when time has jumped back, which empties the synchroniser.
        """
        self._node = node
        self._settings = settings
        self._calls = calls
        self._on_frame = on_frame
        self._warn = warn
        self._on_time_jump = on_time_jump
        self._qos = AdaptiveQos(node, settings)
        self._opened_s = time.monotonic()
        self._frame_times_s: deque[float] = deque(maxlen=MAX_ARRIVALS)
        self._frame_stamp_check = StampCheck()
        self._synchronisation_s = 0.0
        self._has_clock_jumped = False
        self._were_infos_rare = False
        self._infos = CameraInfoMatcher(self._complete, _fits, settings.slop, settings.queue_size)
        self._depth_info: CameraInfo | None = None
        self._transforms = StaticTransforms(node, calls.group)
        self._drop_remedy = drop_remedy(get_rmw_implementation_identifier(), os.environ)
        self._is_open = False
        self._incompatible_policies: dict[str, str] = {}
        types: dict[str, Any] = {"rgb": IMAGE_TYPES[settings.rgb_transport], "camera_info": CameraInfo}
        if settings.depth_transport != "none":
            types["depth"] = IMAGE_TYPES[settings.depth_transport]
        images = [name for name in types if name != "camera_info"]
        self._synchronizer = ImageSynchronizer(images, settings.queue_size, settings.slop, self._add_images)
        self._inputs: dict[str, InputTopic] = {}
        for name, message_type in types.items():
            self._inputs[name] = self._subscribe(name, message_type)
        self._depth_info_subscription = self._subscribe_depth_info() if "depth" in types else None
        self._clock_jumps = node.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False),
            post_callback=self._on_clock_jump,
        )
        self._is_open = True

    @property
    def drop_remedy(self) -> str:
        """What to do where the transport drops images."""
        return self._drop_remedy

    def close(self) -> None:
        """Take no more messages; the subscriptions end between two callbacks of the group."""
        self._is_open = False
        self._clock_jumps.unregister()
        self._calls.call(self._unsubscribe)

    def follow_publishers(self) -> None:
        """Subscribe again where the publishers that are there now need another QoS; call in the group."""
        if not self._is_open:
            return
        for name, source in self._inputs.items():
            reliability = self._qos.reliability(source.topic, source.reliability)
            durability = self._qos.durability(source.topic, source.is_camera_info, source.durability)
            if (reliability, durability) != (source.reliability, source.durability):
                self._node.destroy_subscription(source.subscription)
                self._inputs[name] = self._subscribe(name, source.message_type, reliability, durability)
                self._reset_synchronisation()

    def topics(self) -> list[TopicState]:
        """Return what is known of each input."""
        return [
            source.state(self._qos.publishers(source.topic), self._incompatible_policy(source))
            for source in self._inputs.values()
        ]

    def dropped_messages(self) -> list[DiagnosticEvent]:
        """Return what is lost of a stream that runs.

        Empty in its first seconds, and while stamps come out of order: those are an event of their own, and between
        them gaps mean nothing. So it is with the images of two cameras on one topic, which are returned as that.
        """
        inputs = self._inputs.values()
        publishers = {source.name: self._qos.publishers(source.topic) for source in inputs}
        interleaved = [
            two_publishers_event(source.topic, source.name, [node_name(p) for p in publishers[source.name]])
            for source in inputs
            if source.has_interleaved_publishers(len(publishers[source.name]))
        ]
        if interleaved:
            return interleaved
        now_s = time.monotonic()
        seconds = lookback_s([source.arrivals_s() for source in inputs], now_s)
        since_s = now_s - seconds
        if since_s < self._opened_s or any(source.late_s >= since_s for source in inputs):
            return []
        stamps_s = {
            source.topic: source.stamps_since(since_s)
            for source in inputs
            if not (source.is_camera_info and self._infos.are_rare)
        }
        frames = sum(frame_s >= since_s for frame_s in tuple(self._frame_times_s))
        return dropped_message_events(stamps_s, frames, self._settings.slop, self._drop_remedy, seconds)

    # subscriptions

    def _subscribe(
        self,
        name: str,
        message_type: Any,
        reliability: ReliabilityPolicy | None = None,
        durability: DurabilityPolicy | None = None,
    ) -> InputTopic:
        topic = self._node.resolve_topic_name(name)
        if reliability is None:
            reliability = self._qos.reliability(topic, ReliabilityPolicy.BEST_EFFORT)
        if durability is None:
            durability = self._qos.durability(topic, name == "camera_info", DurabilityPolicy.VOLATILE)
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
        return InputTopic(name, message_type, subscription, qos.reliability, qos.durability)

    def _subscribe_depth_info(self) -> Subscription:
        """Subscribe to the depth camera's calibration, for depth that is not registered; nobody need publish it."""
        return self._node.create_subscription(
            CameraInfo,
            "depth_camera_info",
            self._receive_depth_info,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            callback_group=self._calls.group,
        )

    def _unsubscribe(self) -> None:
        self._transforms.close()
        for source in self._inputs.values():
            self._node.destroy_subscription(source.subscription)
        if self._depth_info_subscription is not None:
            self._node.destroy_subscription(self._depth_info_subscription)

    def _incompatible_policy(self, source: InputTopic) -> str:
        if source.reliability == ReliabilityPolicy.RELIABLE and not self._qos.all_reliable(source.topic):
            return "reliability"
        return self._incompatible_policies.get(source.name, "")

    # the way of a message

    def _receive(self, name: str, message: Any, info: Any) -> None:
        if not self._is_open:
            return
        began_s = time.perf_counter()
        source = self._inputs[name]
        if message.header.stamp.sec < 0:
            text = f"{source.topic} has a negative stamp and is ignored: check the driver's clock"
            self._warn(DiagnosticEvent("bad_stamp", text))
            return
        stamp_s = _stamp_s(message)
        source.publishers.add(info)
        self._incompatible_policies.pop(name, None)
        if self._has_clock_jumped:
            self._has_clock_jumped = False
            self._restart_after_jump(CLOCK_JUMP)
        if not source.is_camera_info:  # the stamp of a calibration tells nothing about the order of images
            self._check_stamp(source, stamp_s)
        source.arrivals.append((time.monotonic(), stamp_s))
        if source.is_camera_info:
            self._infos.add_info(message, stamp_s)
        else:
            self._synchronizer.add(name, message)
        self._synchronisation_s += time.perf_counter() - began_s

    def _receive_depth_info(self, message: CameraInfo) -> None:
        self._depth_info = message

    def _check_stamp(self, source: InputTopic, stamp_s: float) -> None:
        order = source.stamp_check.check(stamp_s)
        if order is StampOrder.JUMPED_BACK:
            # the synchroniser keeps the newest stamps, so that after a step back it would match nothing any more
            self._restart_after_jump(TIME_JUMP)
            source.stamp_check.check(stamp_s)
        elif order is StampOrder.REPEATED:
            text = (
                f"{source.topic} repeats a stamp: two publishers on it, or a driver that does not set stamps: check "
                "for a second publisher; results of such frames cannot be told apart"
            )
            self._warn(DiagnosticEvent("stamp_repeated", text))
        elif order is StampOrder.LATE:
            source.late_s = time.monotonic()

    def _add_images(self, *messages: Any) -> None:
        self._infos.add_images(messages, _stamp_s(messages[0]))
        are_rare = self._infos.are_rare
        if are_rare and not self._were_infos_rare:
            text = CAMERA_INFO_HELD.format(topic=self._inputs["camera_info"].topic)
            self._warn(DiagnosticEvent("camera_info_held", text))
        self._were_infos_rare = are_rare

    def _complete(self, images: Sequence[Any], camera_info: CameraInfo) -> None:
        rgb, depth = images[0], images[1] if len(images) > 1 else None
        self._frame_times_s.append(time.monotonic())
        is_rectified = rectification(self._settings.rectified, self._inputs["rgb"].topic)
        messages = RgbdMessages(rgb, depth, camera_info, is_rectified, self._depth_source(rgb, depth))
        synchronisation_s, self._synchronisation_s = self._synchronisation_s, 0.0
        if self._frame_stamp_check.check(_stamp_s(rgb)) in (StampOrder.LATE, StampOrder.JUMPED_BACK):
            text = (
                f"{self._inputs['rgb'].topic} has stamps out of order: a frame older than the one before is left out; "
                "check for a second publisher on it"
            )
            self._warn(DiagnosticEvent("stamp_late", text))
            return
        self._on_frame(SyncedFrame(messages, time.perf_counter(), synchronisation_s))

    def _depth_source(self, rgb: Any, depth: Any) -> DepthSource | None:
        """Return where the depth camera is, as far as its topic, frame id and tf say."""
        if depth is None:
            return None
        topics = self._inputs["rgb"].topic, self._inputs["depth"].topic
        frames = rgb.header.frame_id, depth.header.frame_id
        to_color = self._transforms.between(frames[1], frames[0]) if all(frames) else None
        return DepthSource(*topics, self._depth_info, to_color)

    # jumps in time, and events of the middleware

    def _restart_after_jump(self, text: str) -> None:
        """Forget all messages of before a jump in time."""
        for source in self._inputs.values():
            source.reset()
        self._frame_times_s.clear()
        self._frame_stamp_check.reset()
        self._reset_synchronisation()
        self._on_time_jump()
        self._warn(DiagnosticEvent("time_jump", text))

    def _reset_synchronisation(self) -> None:
        self._infos.clear_images()
        self._synchronizer.reset()

    def _on_clock_jump(self, jump: Any) -> None:
        # called wherever /clock is received: the next message, in the stream's group, acts on it
        self._has_clock_jumped = True

    def _on_lost(self, topic: str, event: Any) -> None:
        text = f"{event.total_count_change} messages on {topic} were lost in the transport: {self._drop_remedy}"
        self._warn(DiagnosticEvent("messages_lost", text, event.total_count_change))

    def _on_incompatible(self, name: str, topic: str, event: Any) -> None:
        policy = self._incompatible_policies[name] = policy_name(event.last_policy_kind)
        self._warn(DiagnosticEvent("qos_incompatible", incompatible_qos_text(topic, policy)))


def _stamp_s(message: Any) -> float:
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


def _fits(images: Sequence[Any], camera_info: CameraInfo) -> bool:
    """Return whether a camera_info is for images of this size, which a compressed one does not say."""
    return not isinstance(images[0], Image) or fits(camera_info, (images[0].width, images[0].height))
