"""QoS of subscriptions that follows what the publishers offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from ism_ros.config.settings import Settings
from ism_ros.node.qos import is_overridden


class AdaptiveQos:
    """Chooses reliability and durability of a subscription from the graph, unless the user has set them."""

    def __init__(self, node: Node, settings: Settings) -> None:
        """Use the graph of `node` and the parameter `reliability` of `settings`."""
        self._node = node
        self._settings = settings

    def publishers(self, topic: str) -> Sequence[Any]:
        """Return the endpoint infos of the publishers on a topic."""
        return self._node.get_publishers_info_by_topic(topic)

    def all_reliable(self, topic: str) -> bool:
        """Return whether every publisher on a topic offers reliable."""
        return all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in self.publishers(topic))

    def reliability(self, topic: str, default: ReliabilityPolicy) -> ReliabilityPolicy:
        """Return the reliability to demand on a topic.

        Args:
            topic: Whole name.
            default: For a topic without publishers, or where a parameter overrides it anyway.
        """
        if is_overridden(self._node, topic, "reliability"):
            return default
        if self._settings.reliability == "reliable":
            return ReliabilityPolicy.RELIABLE
        if self._settings.reliability == "best_effort":
            return ReliabilityPolicy.BEST_EFFORT
        if not self.publishers(topic):
            return default
        return ReliabilityPolicy.RELIABLE if self.all_reliable(topic) else ReliabilityPolicy.BEST_EFFORT

    def durability(self, topic: str, is_camera_info: bool, default: DurabilityPolicy) -> DurabilityPolicy:
        """Return the durability to demand on a topic.

        A camera_info that was latched before this node started only reaches a subscription that is transient local.

        Args:
            topic: Whole name.
            is_camera_info: Whether it carries calibrations; images are always volatile.
            default: For a topic without publishers, or where a parameter overrides it anyway.
        """
        if not is_camera_info or is_overridden(self._node, topic, "durability"):
            return default
        publishers = self.publishers(topic)
        if not publishers:
            return default
        latched = all(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers)
        return DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
