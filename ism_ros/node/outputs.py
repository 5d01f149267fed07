"""The publishers of results."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, VisionInfo

from ism_ros.detections import Detections
from ism_ros.frame import Frame
from ism_ros.msg import InstanceMaskArray
from ism_ros.node.messages import detection_array, image_message, mask_array, mask_image
from ism_ros.overlay import OverlayStyle, draw_overlay

QUEUE = 5


class Outputs:
    """Publishes the results of each frame; masks and overlay are made only while someone listens."""

    def __init__(self, node: Node) -> None:
        self._node = node
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.detections = node.create_publisher(Detection2DArray, "~/detections", QUEUE)
        self.mask_image = node.create_publisher(Image, "~/mask_image", QUEUE)
        self.masks = node.create_publisher(InstanceMaskArray, "~/masks", QUEUE)
        self.overlay = node.create_publisher(Image, "~/overlay", QUEUE)
        self.vision_info = node.create_publisher(VisionInfo, "~/vision_info", latched)

    def publish(
        self, header: Header, frame: Frame, detections: Detections, inference_s: float, style: OverlayStyle
    ) -> None:
        """header: of the RGB message, which all results carry. style: of the overlay."""
        on_cpu = detections.to("cpu")
        self.detections.publish(detection_array(on_cpu, header))
        if self.mask_image.get_subscription_count():
            self.mask_image.publish(mask_image(on_cpu, header))
        if self.masks.get_subscription_count():
            self.masks.publish(mask_array(on_cpu, header, inference_s))
        if self.overlay.get_subscription_count():
            self.overlay.publish(image_message(draw_overlay(frame.rgb, on_cpu, style), "rgb8", header))

    def close(self) -> None:
        for publisher in (self.detections, self.mask_image, self.masks, self.overlay, self.vision_info):
            self._node.destroy_publisher(publisher)
