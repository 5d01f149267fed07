"""A subscriber that records what the node publishes: detections, masks, overlay and diagnostics, by stamp."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from ism_ros.msg import InstanceMaskArray


@dataclass
class ReceivedFrame:
    """What was received for one frame; None until it arrives.

    Attributes:
        detections: The message of ~/detections.
        labels: (H, W) uint16 of ~/mask_image, k = detections[k - 1], 0 = background.
        overlay: (H, W, 3) uint8 RGB of ~/overlay; kept for the newest frame alone.
        received_s: When the latest of them arrived, seconds of time.monotonic().
    """

    detections: Detection2DArray | None = None
    labels: NDArray[np.uint16] | None = None
    overlay: NDArray[np.uint8] | None = None
    received_s: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether detections and mask image have both arrived."""
        return self.detections is not None and self.labels is not None


@dataclass
class NodeDiagnostics:
    """The node's latest diagnostics.

    Attributes:
        message: Message of its worst status.
        values: Keys and values of all its statuses.
    """

    message: str = ""
    values: dict[str, str] = field(default_factory=dict)


class SubscriberProbe(Node):
    """Subscriber of the node `/ism`.

    Attributes:
        frames: What was received, by stamp in nanoseconds.
        diagnostics: The node's latest diagnostics.
    """

    def __init__(self, topics: Sequence[str] = ("detections", "mask_image", "overlay")) -> None:
        """Subscribe to the diagnostics and to some of the node's topics.

        Args:
            topics: Any of detections, mask_image, masks and overlay.
        """
        super().__init__("ism_demo")
        self.frames: dict[int, ReceivedFrame] = {}
        self.diagnostics = NodeDiagnostics()
        self._kinds: dict[str, tuple[type, Callable[[Any], None]]] = {
            "detections": (Detection2DArray, self._on_detections),
            "mask_image": (Image, self._on_mask_image),
            "masks": (InstanceMaskArray, lambda message: None),
            "overlay": (Image, self._on_overlay),
        }
        for topic in topics:
            self.subscribe(topic)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def subscribe(self, topic: str) -> Subscription:
        """Subscribe to one more of the node's topics.

        Args:
            topic: detections, mask_image, masks or overlay.

        Returns:
            The subscription.
        """
        kind, callback = self._kinds[topic]
        return self.create_subscription(kind, f"/ism/{topic}", callback, 10)

    @property
    def complete_frames(self) -> int:
        """Number of frames of which detections and mask image have arrived."""
        return sum(frame.complete for frame in self.frames.values())

    def _frame_of(self, message: Detection2DArray | Image) -> ReceivedFrame:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        frame = self.frames.setdefault(stamp, ReceivedFrame())
        frame.received_s = time.monotonic()
        return frame

    def _on_detections(self, message: Detection2DArray) -> None:
        self._frame_of(message).detections = message

    def _on_mask_image(self, message: Image) -> None:
        pixels = np.frombuffer(message.data, np.uint16).reshape(message.height, message.step // 2)
        self._frame_of(message).labels = pixels[:, : message.width].copy()

    def _on_overlay(self, message: Image) -> None:
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        # Only the newest picture is ever shown.
        for frame in self.frames.values():
            frame.overlay = None
        self._frame_of(message).overlay = rows[:, : 3 * message.width].reshape(message.height, message.width, 3).copy()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        own = [status for status in message.status if status.name.startswith("ism: ")]
        if own:
            worst = max(own, key=lambda status: (status.level, "segmentation" in status.name))
            self.diagnostics = NodeDiagnostics(
                worst.message, {pair.key: pair.value for status in own for pair in status.values}
            )
