"""What is known of the camera: how often its frames come, how old they are, and why none comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ism_ros.node.camera_monitoring.clock_monitor import ClockWatch
from ism_ros.node.camera_monitoring.frequency_monitor import Rhythm
from ism_ros.node.camera_monitoring.missing_frames import Problem, are_all_gone, why_no_frame
from ism_ros.node.inputs.frame_subscriber import Stream

if TYPE_CHECKING:
    from ism_ros.node.node import IsmNode

LOG_PATIENCE_S = 5.0
"""Without a frame for so long, the log says why; /diagnostics says it sooner."""


class CameraWatch:
    """stamp_age_s: the node's clock less the stamp of the last frame, None before the first."""

    def __init__(self, node: IsmNode) -> None:
        self._node = node
        self._clock = ClockWatch(node.get_clock())
        self._reason = ""
        self.rhythm = Rhythm()
        self.stamp_age_s: float | None = None

    def restart(self) -> None:
        """The stream begins now."""
        self.rhythm.restart()
        self.stamp_age_s = None

    def frame(self, stamp_age_s: float) -> None:
        """A frame has come."""
        self.rhythm.frame()
        self.stamp_age_s = stamp_age_s

    def look(self, stream: Stream) -> tuple[Problem | None, bool]:
        """Why no frame comes, once it is time to ask, and whether nothing at all comes; till then, what is lost.

        A silence is counted when it begins and said in the log when it lasts.
        """
        node, clock_stands = self._node, self._clock.stands()
        quiet_s, patience_s = self.rhythm.quiet_s, round(self.rhythm.patience_s, 1)
        if quiet_s < patience_s:
            self._reason = ""
            for loss in stream.losses():
                node.on_notice(loss)
            return None, False
        topics = stream.topics()
        problem = why_no_frame(topics, node.settings.slop, patience_s, stream.remedy, clock_stands, quiet_s)
        if problem.reason != self._reason:
            node.statistics.noticed(problem.reason)
        self._reason = problem.reason
        if quiet_s >= LOG_PATIENCE_S:
            node.warn(problem.reason, problem.text)
        return problem, are_all_gone(topics, patience_s)
