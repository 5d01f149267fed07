"""Level and message of the three statuses in /diagnostics, from what is known of the node.

docs/diagnostics.md lists the messages; test/unit/node/diagnostics/test_diagnostics_docs.py compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from ism_ros.node.camera_monitoring.camera_status import CameraStatus
from ism_ros.node.diagnostics.counters import FrameSnapshot
from ism_ros.node.event_log import EventSnapshot

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)
SLOW_FRAME_S = 30.0
"""Duration of a frame from which on there is a warning: the model may hang. Seconds."""
CLOCK_TOLERANCE_S = 60.0
"""Largest age of a stamp, seconds: one further from the node's clock is of another clock, not late."""
EXPECTED_BEFORE_FIRST_FRAME = ("no_publishers", "topic_missing", "nothing_arrives", "clock_stands")
"""Reasons that are only a warning before the first frame: the camera may not have started yet."""
MAX_LISTED_IDS = 10
"""Number of object ids that a message lists."""


@dataclass(frozen=True)
class Summary:
    """Level and message of one status.

    Attributes:
        level: As in diagnostic_msgs/DiagnosticStatus.
        text: One sentence for the person who reads it.
    """

    level: bytes
    text: str


@dataclass(frozen=True)
class SegmentationStatus:
    """What is known of models and results, besides counts.

    Attributes:
        state: Label of the lifecycle state.
        progress: What is being loaded, empty if nothing.
        load_error: Why the node could not be configured, empty if it could.
        no_frames: Whether the camera gives no frames.
        busy_s: Seconds for which the current frame has been processed, 0 if there is none.
        duplicate_name: Sentence about another node with the name of this one, empty if there is none.
    """

    state: str
    progress: str = ""
    load_error: str = ""
    no_frames: bool = False
    busy_s: float = 0.0
    duplicate_name: str = ""


@dataclass(frozen=True)
class ObjectsStatus:
    """What is known of the objects.

    Attributes:
        state: Label of the lifecycle state.
        ids: Names of the objects in the library.
        version: Version of the library.
        progress: What is being added, empty if nothing.
        problem: What is wrong with the objects file or the cache, empty if nothing.
        warnings: Sentences about the objects' own files.
    """

    state: str
    ids: Sequence[str] = ()
    version: int = 0
    progress: str = ""
    problem: str = ""
    warnings: Sequence[str] = ()


def camera_summary(state: str, camera: CameraStatus, events: EventSnapshot, all_rejected: bool = False) -> Summary:
    """Summarise what comes in, the worst first.

    Args:
        state: Label of the lifecycle state.
        camera: What is known of the frames that arrive.
        events: What was rejected and warned about.
        all_rejected: Whether no frame of the last seconds could be used.
    """
    if state != "active":
        return Summary(OK, f"not listened to: the node is {state or 'starting'}")
    problem = camera.problem
    if problem is not None:
        if camera.had_frames and camera.is_gone:
            return Summary(STALE, problem.text)
        may_come = not camera.had_frames and problem.reason in EXPECTED_BEFORE_FIRST_FRAME
        return Summary(WARN if may_come else ERROR, problem.text)
    if events.recent_rejection:
        return Summary(ERROR if all_rejected else WARN, f"frame rejected: {events.recent_rejection}")
    if events.recent_warning:
        return Summary(WARN, events.recent_warning)
    age_s = camera.stamp_age_s
    if age_s is not None and abs(age_s) > CLOCK_TOLERANCE_S:
        return Summary(
            WARN,
            f"stamps are {abs(age_s):.0f} s {'behind' if age_s > 0 else 'ahead of'} this node's clock: "
            "keep the computers' clocks together by chrony or PTP, or set use_sim_time where a bag is played (--clock)",
        )
    if not camera.had_frames:
        return Summary(OK, "waiting for the first frame")
    return Summary(OK, f"{camera.rate_hz:.1f} frames a second arrive")


def segmentation_summary(status: SegmentationStatus, events: EventSnapshot, frames: FrameSnapshot) -> Summary:
    """Summarise models and results, the worst first."""
    if status.load_error:
        return Summary(ERROR, f"not configured: {status.load_error}; mend that and configure the node again")
    if status.duplicate_name:
        return Summary(WARN, status.duplicate_name)
    if status.state == "unconfigured":
        return Summary(OK, "unconfigured: configure and activate it, or set autostart")
    if status.state == "inactive":
        return Summary(OK, "inactive: activate it to answer frames")
    if status.state != "active":
        return Summary(OK, status.progress or status.state or "starting")
    if events.recent_failure:
        return Summary(ERROR, events.recent_failure)
    if status.busy_s > SLOW_FRAME_S:
        return Summary(
            WARN,
            f"one frame has taken {status.busy_s:.0f} s so far: set profile to a faster one or device to a GPU; "
            "if it never ends, restart the node",
        )
    if frames.recent_recovery:
        return Summary(
            WARN,
            "memory ran out and frames are worked on in smaller pieces, which is slower: close other programs that use "
            "the device, or set profile to a smaller one",
        )
    return _results_summary(status.no_frames, frames)


def _results_summary(no_frames: bool, frames: FrameSnapshot) -> Summary:
    if no_frames:
        return Summary(OK, "waiting for frames: see the status of the camera")
    if frames.processed == 0:
        return Summary(OK, "waiting for the first frame")
    rate = f"{frames.rate_hz:.1f} frames a second"
    miss = frames.best_rejected
    if miss is None:
        return Summary(OK, rate)
    return Summary(
        OK,
        f"{rate}, and nothing found in the last: nearest to it came {miss.class_id} with {miss.score:.2f}; if that "
        "is there, lower score_threshold, which may change while the node runs",
    )


def objects_summary(status: ObjectsStatus, events: EventSnapshot) -> Summary:
    """Summarise which objects are looked for, the worst first."""
    if status.state not in ("active", "inactive"):
        return Summary(OK, f"none yet: the node is {status.state or 'starting'}")
    problem = "; ".join(text for text in (events.recent_object_failure, status.problem) if text)
    if problem:
        return Summary(WARN, problem)
    if status.progress:
        return Summary(OK, status.progress)
    if not status.ids:
        return Summary(WARN, "no objects to look for: set objects_file, or call ~/add_object")
    if status.warnings:
        others = len(status.warnings) - 1
        more = f" (and {others} more such, see ~/list_objects)" if others else ""
        return Summary(WARN, f"{status.warnings[0]}{more}")
    hidden = len(status.ids) - MAX_LISTED_IDS
    more = f" and {hidden} more" if hidden > 0 else ""
    return Summary(OK, f"{len(status.ids)} known: {', '.join(status.ids[:MAX_LISTED_IDS])}{more}")
