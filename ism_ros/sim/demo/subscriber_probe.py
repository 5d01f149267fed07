"""What the demo hears of the node: detections, masks, overlay and diagnostics, by the stamp of their frame."""

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
class Heard:
    """What came of one frame. labels: (H, W) uint16, k = detections[k - 1]; None until it has come."""

    detections: Detection2DArray | None = None
    labels: NDArray[np.uint16] | None = None
    overlay: NDArray[np.uint8] | None = None
    heard_s: float = 0.0

    @property
    def complete(self) -> bool:
        return self.detections is not None and self.labels is not None


@dataclass
class Report:
    """The node's latest diagnostics: the worst sentence, and the values of all its statuses."""

    message: str = ""
    values: dict[str, str] = field(default_factory=dict)


class Listener(Node):
    """Subscribes to what the node `/ism` says: its diagnostics, and `topics`, all of them unless told otherwise."""

    def __init__(self, topics: Sequence[str] = ("detections", "mask_image", "overlay")) -> None:
        super().__init__("ism_demo")
        self.heard: dict[int, Heard] = {}
        self.report = Report()
        self._kinds: dict[str, tuple[type, Callable[[Any], None]]] = {
            "detections": (Detection2DArray, self._on_detections),
            "mask_image": (Image, self._on_mask_image),
            "masks": (InstanceMaskArray, lambda message: None),
            "overlay": (Image, self._on_overlay),
        }
        for topic in topics:
            self.hear(topic)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def hear(self, topic: str) -> Subscription:
        """Subscribes to one more of the node's topics."""
        kind, callback = self._kinds[topic]
        return self.create_subscription(kind, f"/ism/{topic}", callback, 10)

    @property
    def complete_frames(self) -> int:
        return sum(frame.complete for frame in self.heard.values())

    def _of(self, message: Detection2DArray | Image) -> Heard:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        frame = self.heard.setdefault(stamp, Heard())
        frame.heard_s = time.monotonic()
        return frame

    def _on_detections(self, message: Detection2DArray) -> None:
        self._of(message).detections = message

    def _on_mask_image(self, message: Image) -> None:
        pixels = np.frombuffer(message.data, np.uint16).reshape(message.height, message.step // 2)
        self._of(message).labels = pixels[:, : message.width].copy()

    def _on_overlay(self, message: Image) -> None:
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        # Only the newest picture is ever shown.
        for frame in self.heard.values():
            frame.overlay = None
        self._of(message).overlay = rows[:, : 3 * message.width].reshape(message.height, message.width, 3).copy()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        own = [status for status in message.status if status.name.startswith("ism: ")]
        if own:
            worst = max(own, key=lambda status: (status.level, "segmentation" in status.name))
            self.report = Report(worst.message, {pair.key: pair.value for status in own for pair in status.values})
