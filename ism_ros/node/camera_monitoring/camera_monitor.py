"""Monitors the camera: how often its frames come, how old they are, and why none comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from builtin_interfaces.msg import Time

from ism_ros.node.camera_monitoring.camera_status import CameraStatus
from ism_ros.node.camera_monitoring.clock_monitor import ClockMonitor
from ism_ros.node.camera_monitoring.frequency_monitor import FrequencyMonitor
from ism_ros.node.camera_monitoring.missing_frames import TopicState, all_topics_silent, why_no_frame
from ism_ros.node.context import NodeContext
from ism_ros.node.event_log import DiagnosticEvent

LOG_AFTER_S = 5.0
"""Seconds without a frame after which the log says why; /diagnostics says it sooner."""


class Subscriber(Protocol):
    """What the monitor needs to know of the subscriptions."""

    @property
    def drop_remedy(self) -> str:
        """What to do where the transport drops images."""

    def topics(self) -> Sequence[TopicState]:
        """Return what is known of each input."""

    def dropped_messages(self) -> Sequence[DiagnosticEvent]:
        """Return what is lost of a stream that runs."""


class CameraMonitor:
    """Registers every frame; one timer reads its status and has it report."""

    def __init__(self, context: NodeContext, subscriber: Callable[[], Subscriber | None]) -> None:
        """Start before the first frame.

        Args:
            context: The node's settings, clock and events.
            subscriber: Returns what is subscribed at the moment, None while the node is not active.
        """
        self._context = context
        self._subscriber = subscriber
        self._clock = ClockMonitor(context.clock)
        self._frequency = FrequencyMonitor()
        self._stamp_age_s: float | None = None
        self._reported_reason = ""

    def restart(self) -> None:
        """Forget all frames: the node becomes active now."""
        self._frequency.restart()
        self._stamp_age_s = None

    def frame_arrived(self, stamp: Time) -> None:
        """Register one frame by its stamp."""
        self._frequency.tick()
        self._stamp_age_s = self._context.age_s(stamp)

    def update_clock(self) -> None:
        """Read the node's clock, once a period of the timer."""
        self._clock.update()

    def status(self) -> CameraStatus:
        """Return what is known of the camera now."""
        frequency, subscriber = self._frequency, self._subscriber()
        silence_s, timeout_s = frequency.silence_s, round(frequency.timeout_s, 1)
        problem, is_gone = None, False
        dropped: tuple[DiagnosticEvent, ...] = ()
        if subscriber is not None and silence_s < timeout_s:
            dropped = tuple(subscriber.dropped_messages())
        elif subscriber is not None:
            topics, slop_s = subscriber.topics(), self._context.settings().slop
            problem = why_no_frame(
                topics, slop_s, timeout_s, subscriber.drop_remedy, self._clock.is_standing, silence_s
            )
            is_gone = all_topics_silent(topics, timeout_s)
        return CameraStatus(
            problem=problem,
            is_gone=is_gone,
            dropped=dropped,
            had_frames=frequency.had_frames,
            rate_hz=frequency.rate_hz,
            last_frame_age_s=frequency.last_frame_age_s,
            silence_s=silence_s,
            timeout_s=frequency.timeout_s,
            stamp_age_s=self._stamp_age_s,
        )

    def report(self, status: CameraStatus) -> None:
        """Report what `status` says: a silence is counted when it begins and logged when it lasts."""
        events, problem = self._context.events, status.problem
        for event in status.dropped:
            events.warn(event)
        if problem is None:
            self._reported_reason = ""
            return
        if problem.reason != self._reported_reason:
            events.count_event(problem.reason)
        self._reported_reason = problem.reason
        if status.silence_s >= LOG_AFTER_S:
            events.log(problem.reason, problem.text)
