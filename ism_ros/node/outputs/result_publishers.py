"""The publishers of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, Detection3DArray, VisionInfo
from visualization_msgs.msg import MarkerArray

from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.msg import InstanceMaskArray
from ism_ros.node.conversion.frame_conversion import in_published_pixels, published_rgb
from ism_ros.node.event_log import DiagnosticEvent
from ism_ros.node.execution.group_calls import GroupCalls
from ism_ros.node.outputs.detection_messages import (
    detection_array,
    image_message,
    mask_array,
    mask_image,
    poses_of,
    vision_info,
)
from ism_ros.node.outputs.messages_3d import detection_array_3d, instance_transforms, marker_array, point_cloud
from ism_ros.node.qos import given_overrides, policy_name, publisher_events
from ism_ros.objects.library import ObjectLibrary
from ism_ros.visualization import OverlayStyle, draw_overlay

QUEUE_SIZE = 5
"""Depth of the publishers' queues."""


class ResultPublishers:
    """Publishes the results of each frame; all but `~/detections` are made only while someone subscribes.

    Attributes:
        detections: Publisher of `~/detections`.
        mask_image: Publisher of `~/mask_image`.
        masks: Publisher of `~/masks`.
        overlay: Publisher of `~/overlay`.
        detections_3d: Publisher of `~/detections_3d`.
        points: Publisher of `~/points`.
        markers: Publisher of `~/markers`.
        vision_info: Publisher of `~/vision_info`, latched.
        transforms: Publisher of `/tf`, or None.
    """

    def __init__(
        self, node: Node, calls: GroupCalls, warn: Callable[[DiagnosticEvent], None], with_tf: bool = False
    ) -> None:
        """Create the publishers.

        Args:
            node: ROS node.
            calls: Callback group of their events, and calls between its callbacks.
            warn: Receives an event for subscribers whose QoS does not fit, which get nothing.
            with_tf: Whether there is a publisher of /tf.
        """
        self._node = node
        self._calls = calls
        self._warn = warn
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.detections = self._publisher(Detection2DArray, "~/detections")
        self.mask_image = self._publisher(Image, "~/mask_image")
        self.masks = self._publisher(InstanceMaskArray, "~/masks")
        self.overlay = self._publisher(Image, "~/overlay")
        self.detections_3d = self._publisher(Detection3DArray, "~/detections_3d")
        self.points = self._publisher(PointCloud2, "~/points")
        self.markers = self._publisher(MarkerArray, "~/markers")
        self.vision_info = self._publisher(VisionInfo, "~/vision_info", latched)
        self.transforms = self._publisher(TFMessage, "/tf", QoSProfile(depth=100)) if with_tf else None

    @property
    def topics(self) -> list[str]:
        """Whole names of the topics."""
        return [publisher.topic_name for publisher in self._publishers]

    def publish(
        self,
        header: Header,
        frame: Frame,
        detections: Detections,
        inference_s: float,
        style: OverlayStyle,
        lost: Sequence[tuple[int, str]] = (),
        with_tf: bool = False,
    ) -> None:
        """Publish the results of one frame.

        Args:
            header: Header of the color image, which all results carry.
            frame: The frame.
            detections: On any device.
            inference_s: Duration of inference, seconds.
            style: Style of the overlay.
            lost: (id, class id) of instances that were followed and are not seen in this frame.
            with_tf: Whether poses are published on /tf, too, as frames below that of the camera, where that is wanted.
        """
        on_cpu, undistorted = in_published_pixels(frame, detections.to("cpu"))
        poses = poses_of(on_cpu)
        # what a program waits for comes before what is for the eye
        self.detections.publish(detection_array(on_cpu, header, poses))
        if self.transforms is not None and with_tf:
            self.transforms.publish(TFMessage(transforms=instance_transforms(on_cpu, header, poses)))
        if self.detections_3d.get_subscription_count():
            self.detections_3d.publish(detection_array_3d(on_cpu, header, poses))
        if self.mask_image.get_subscription_count():
            self.mask_image.publish(mask_image(on_cpu, header))
        if self.masks.get_subscription_count():
            self.masks.publish(mask_array(on_cpu, header, inference_s, lost, poses))
        if self.points.get_subscription_count():
            self.points.publish(point_cloud(frame, undistorted, header))
        if self.overlay.get_subscription_count():
            self.overlay.publish(image_message(draw_overlay(published_rgb(frame), on_cpu, style), "rgb8", header))
        if self.markers.get_subscription_count():
            self.markers.publish(marker_array(on_cpu, header, poses))

    def publish_vision_info(self, stamp: Time, library: ObjectLibrary, settings: Settings) -> None:
        """Publish which objects are looked for, for those who subscribe later as well."""
        self.vision_info.publish(vision_info(library, settings, Header(stamp=stamp)))

    def close(self) -> None:
        """Destroy the publishers, between two callbacks of the group."""
        self._calls.call(self._destroy)

    def _destroy(self) -> None:
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)

    @property
    def _publishers(self) -> tuple[Publisher, ...]:
        return (
            self.detections,
            self.mask_image,
            self.masks,
            self.overlay,
            self.detections_3d,
            self.points,
            self.markers,
            self.vision_info,
            *([] if self.transforms is None else [self.transforms]),
        )

    def _publisher(self, message_type: Any, name: str, qos: QoSProfile | None = None) -> Publisher:
        topic = self._node.resolve_topic_name(name)

        def on_incompatible(event: Any) -> None:
            policy = policy_name(event.last_policy_kind)
            text = (
                f"a subscriber of {topic} demands a {policy} that is not offered, and gets nothing: change it there, "
                f"or set qos_overrides.{topic}.publisher.{policy}"
            )
            self._warn(DiagnosticEvent("subscriber_incompatible", text))

        return self._node.create_publisher(
            message_type,
            name,
            qos or QoSProfile(depth=QUEUE_SIZE),
            callback_group=self._calls.group,
            event_callbacks=publisher_events(on_incompatible),
            qos_overriding_options=given_overrides(self._node, topic, "publisher"),
        )
