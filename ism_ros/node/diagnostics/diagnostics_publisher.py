"""Publishes the state of the node on /diagnostics, twice a second."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ism_ros.node.camera_monitoring.camera_monitor import CameraMonitor
from ism_ros.node.context import NodeContext
from ism_ros.node.diagnostics.counters import FrameCounters, FrameSnapshot
from ism_ros.node.diagnostics.duplicate_names import duplicate_name_event
from ism_ros.node.diagnostics.status_messages import (
    Status,
    camera_values,
    diagnostic_array,
    objects_values,
    process_values,
    search_values,
    segmentation_values,
)
from ism_ros.node.diagnostics.summaries import (
    ObjectsStatus,
    SegmentationStatus,
    camera_summary,
    objects_summary,
    segmentation_summary,
)
from ism_ros.node.event_log import EventSnapshot

PERIOD_S = 0.5
"""Time between two messages, seconds."""


@dataclass(frozen=True)
class NodeStatus:
    """What the node knows that is neither in its context nor counted.

    Attributes:
        load_error: Why it could not be configured, empty if it could.
        busy_s: Seconds for which the current frame has been processed, 0 if there is none.
        frames_dropped: Number of frames that were replaced by newer ones before they were processed.
        objects_problem: What is wrong with objects file or cache, empty if nothing.
        cpu_share: Share of all cores that the node uses.
    """

    load_error: str = ""
    busy_s: float = 0.0
    frames_dropped: int = 0
    objects_problem: str = ""
    cpu_share: float = 0.0


class DiagnosticsPublisher:
    """Publishes from a timer with a thread of its own, so that nothing that the node does can delay it."""

    def __init__(
        self,
        node: Node,
        context: NodeContext,
        camera: CameraMonitor,
        frames: FrameCounters,
        searches: FrameCounters,
        status: Callable[[], NodeStatus],
    ) -> None:
        """Create publisher and timer.

        Args:
            node: ROS node.
            context: State, settings, model and events.
            camera: What is known of the camera.
            frames: Counts and latencies of frames.
            searches: Of searches beside the following, with `tracking: pose`.
            status: Returns what else the node knows.
        """
        self._node = node
        self._context = context
        self._camera = camera
        self._frames = frames
        self._searches = searches
        self._status = status
        self._name = node.get_fully_qualified_name().lstrip("/")
        self._host = socket.gethostname()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # with use_sim_time the node's clock may stand still; the camera must be monitored all the same
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(PERIOD_S, self._publish, MutuallyExclusiveCallbackGroup(), clock=steady)

    def _publish(self) -> None:
        began_s = time.perf_counter()
        self._camera.update_clock()
        camera = self._camera.status()
        self._camera.report(camera)
        duplicate_name = self._check_name()
        model = self._context.model()
        if model is not None:
            self._frames.update_recoveries(model.recoveries.count)
        events, frames = self._context.events.snapshot(), self._frames.snapshot()
        statuses = [
            Status(
                f"{self._name}: camera",
                self._node.resolve_topic_name("rgb"),
                camera_summary(self._context.state(), camera, events, frames.is_idle),
                camera_values(camera, events),
            ),
            self._segmentation(camera.problem is not None, duplicate_name, events, frames),
            self._objects(events),
        ]
        self._publisher.publish(diagnostic_array(self._context.clock.now().to_msg(), statuses))
        self._frames.add_duration("diagnostics", time.perf_counter() - began_s)

    def _check_name(self) -> str:
        """Return a sentence about another node of this name, empty where there is none."""
        event = duplicate_name_event(self._node)
        if event is None:
            return ""
        self._context.events.count_event(event.reason)
        self._context.events.log(event.reason, event.text)
        return event.text

    def _segmentation(
        self, no_frames: bool, duplicate_name: str, events: EventSnapshot, frames: FrameSnapshot
    ) -> Status:
        context, node, model = self._context, self._status(), self._context.model()
        device = model.device if model is not None else context.settings().device
        status = SegmentationStatus(
            context.state(), context.progress.text, node.load_error, no_frames, node.busy_s, duplicate_name
        )
        values = [
            ("state", status.state),
            ("progress", status.progress),
            *segmentation_values(frames, events.failures, node.frames_dropped),
            *search_values(self._searches.snapshot()),
            ("device", device),
            ("cpu_share", f"{node.cpu_share:.3f}"),
            ("max_cpu", f"{context.settings().max_cpu:g}"),
            *process_values(device),
        ]
        return Status(f"{self._name}: segmentation", self._host, segmentation_summary(status, events, frames), values)

    def _objects(self, events: EventSnapshot) -> Status:
        model = self._context.model()
        library = model.library if model is not None else None
        status = ObjectsStatus(
            state=self._context.state(),
            ids=library.ids if library is not None else (),
            version=library.version if library is not None else 0,
            progress=self._context.progress.text,
            problem=self._status().objects_problem,
            warnings=[warning.text for known in library.objects for warning in known.warnings] if library else [],
        )
        return Status(f"{self._name}: objects", self._host, objects_summary(status, events), objects_values(status))
