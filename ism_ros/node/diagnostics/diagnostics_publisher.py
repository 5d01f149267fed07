"""What the node says of itself on /diagnostics, twice a second."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType

from ism_ros.node.camera_monitoring.missing_frames import Problem
from ism_ros.node.diagnostics.counters import Snapshot
from ism_ros.node.diagnostics.duplicate_names import namesakes
from ism_ros.node.diagnostics.status_messages import (
    Status,
    camera_values,
    diagnostic_array,
    process_values,
    segmentation_values,
)
from ism_ros.node.diagnostics.summaries import camera_verdict, objects_verdict, segmentation_verdict

if TYPE_CHECKING:
    from ism_ros.node.node import IsmNode

PERIOD_S = 0.5


class Report:
    """Looks at the node from a thread of its own, so that nothing the node does keeps it from saying so."""

    def __init__(self, node: IsmNode) -> None:
        self._node = node
        self._name = node.get_fully_qualified_name().lstrip("/")
        self._host = socket.gethostname()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # with use_sim_time the node's clock may stand still; the camera must be watched all the same
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(PERIOD_S, self._publish, MutuallyExclusiveCallbackGroup(), clock=steady)

    def _publish(self) -> None:
        began = time.perf_counter()
        node, stream, model = self._node, self._node.stream, self._node.model
        silence, is_gone = (None, False) if stream is None else node.camera.look(stream)
        namesake = namesakes(node)
        if namesake is not None:
            node.statistics.noticed(namesake.reason)
            node.warn(namesake.reason, namesake.text)
        if model is not None:
            node.statistics.recovered(model.recoveries.count)
        snapshot = node.statistics.snapshot()
        statuses = [
            self._camera(snapshot, silence, is_gone),
            self._segmentation(snapshot, silence is not None, "" if namesake is None else namesake.text),
            self._objects(snapshot),
        ]
        self._publisher.publish(diagnostic_array(node.get_clock().now().to_msg(), statuses))
        node.statistics.took("diagnostics", time.perf_counter() - began)

    def _camera(self, snapshot: Snapshot, silence: Problem | None, is_gone: bool) -> Status:
        node, rhythm, age_s = self._node, self._node.camera.rhythm, self._node.camera.stamp_age_s
        verdict = camera_verdict(node.state, silence, rhythm.had_frames, is_gone, rhythm.rate_hz, age_s, snapshot)
        values = camera_values(rhythm, age_s, snapshot)
        return Status(f"{self._name}: camera", node.resolve_topic_name("rgb"), verdict, values)

    def _segmentation(self, snapshot: Snapshot, no_frames: bool, namesake: str) -> Status:
        node, worker, model = self._node, self._node.worker, self._node.model
        device = model.device if model is not None else node.settings.device
        busy_s = 0.0 if worker is None else worker.busy_s
        verdict = segmentation_verdict(
            node.state, node.progress, node.load_error, no_frames, busy_s, snapshot, namesake
        )
        values = [
            ("state", node.state),
            ("progress", node.progress),
            *segmentation_values(snapshot, node.mailbox.dropped),
            ("device", device),
            *process_values(device),
        ]
        return Status(f"{self._name}: segmentation", self._host, verdict, values)

    def _objects(self, snapshot: Snapshot) -> Status:
        node, model = self._node, self._node.model
        ids, version = (model.library.ids, model.library.version) if model is not None else ((), 0)
        problem = node.object_services.problem
        known = model.library.objects if model is not None else ()
        doubts = [warning.text for one in known for warning in one.warnings]
        verdict = objects_verdict(node.state, ids, node.progress, problem, snapshot, doubts)
        values = [
            ("objects", str(len(ids))),
            ("version", str(version)),
            ("objects_problem", problem),
            ("objects_doubts", str(len(doubts))),
        ]
        return Status(f"{self._name}: objects", self._host, verdict, values)
