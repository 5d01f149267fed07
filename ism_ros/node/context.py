"""What the parts of the node share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from rclpy.clock import Clock

from ism_ros.config.settings import Settings
from ism_ros.model import InstanceSegmentationModel
from ism_ros.node.event_log import EventLog, Logger
from ism_ros.node.progress import Progress


@dataclass(frozen=True)
class NodeContext:
    """All that a part of the node may know of the rest.

    Attributes:
        settings: Returns the settings that are in force.
        state: Returns the label of the lifecycle state: unconfigured, inactive, active, ...
        model: Returns the model, None while none is loaded.
        events: Counts, logs and shows what is noteworthy.
        progress: Shows what is being loaded or added.
        logger: The node's logger, for what is no event.
        clock: The node's clock, which follows /clock with use_sim_time.
        stopping: Set when the node is to end.
    """

    settings: Callable[[], Settings]
    state: Callable[[], str]
    model: Callable[[], InstanceSegmentationModel | None]
    events: EventLog
    progress: Progress
    logger: Logger
    clock: Clock
    stopping: threading.Event

    def age_s(self, stamp: Time) -> float:
        """Return the seconds since a stamp on the node's clock, which may be another one than the camera's."""
        return float(self.clock.now().nanoseconds - stamp.sec * 1_000_000_000 - stamp.nanosec) * 1e-9
